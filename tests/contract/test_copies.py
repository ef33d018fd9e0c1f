"""No two places say the same thing at length: what is needed twice is written once and called."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from contract import tree

# Lines in a row that two places may share; documentation and imports are not counted.
YAML_LINES = 8
PYTHON_LINES = 8
TEST_LINES = 12


def yaml_lines(text: str) -> list[str]:
    """The lines of a YAML file that say something: names and comments aside."""
    lines = (re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "---", "- name:"))]


def python_blocks(text: str) -> Iterator[list[str]]:
    """The bodies of functions without their docstrings, comments and layout."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield [line.strip() for part in body for line in ast.unparse(part).splitlines()]


def shared(blocks: dict[str, list[list[str]]], length: int) -> dict[tuple[str, str], list[str]]:
    """Pairs of files that share a run of at least `length` lines, with the first run that they share."""
    places: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for name, parts in blocks.items():
        for lines in parts:
            for start in range(len(lines) - length + 1):
                places[tuple(lines[start : start + length])].add(name)
    found: dict[tuple[str, str], list[str]] = {}
    for lines, names in places.items():
        first, *others = sorted(names)
        for other in others:
            found.setdefault((first, other), list(lines))
    return found


def python_files(*folders: str) -> dict[str, list[list[str]]]:
    paths = [path for path in tree.files() if path.suffix == ".py" and tree.relative(path).startswith(folders)]
    return {tree.relative(path): list(python_blocks(path.read_text())) for path in paths}


def yaml_files() -> dict[str, list[list[str]]]:
    paths: list[Path] = [*tree.task_files(), *tree.PLAYBOOKS]
    paths += [path for path in tree.files() if tree.relative(path).startswith("molecule/") and path.suffix == ".yml"]
    return {tree.relative(path): [yaml_lines(path.read_text())] for path in paths}


def test_no_near_copies_in_yaml():
    assert not shared(yaml_files(), YAML_LINES)


def test_no_near_copies_in_python():
    assert not shared(python_files("plugins/", "lab/", "app/", "benchmarks/"), PYTHON_LINES)


def test_no_near_copies_in_tests():
    assert not shared(python_files("tests/"), TEST_LINES)


# The checks themselves can fail.


def test_a_copied_task_is_found_whatever_its_name():
    task = "- name: {} | Lay the file\n  ansible.builtin.template:\n    src: a\n    dest: b\n    mode: '0644'\n"
    blocks = {"a.yml": [yaml_lines(task.format("a"))], "b.yml": [yaml_lines("---\n# why\n" + task.format("b"))]}
    assert shared(blocks, 4) == {("a.yml", "b.yml"): ["ansible.builtin.template:", "src: a", "dest: b", "mode: '0644'"]}
    assert not shared(blocks, 5)


def test_a_copied_function_is_found_whatever_its_layout():
    first = "def a(x):\n    'Says a.'\n    y = [1,2]\n    return y # why\n"
    second = "def b(x):\n    y = [\n        1,\n        2,\n    ]\n    return y\n"
    blocks = {"a.py": list(python_blocks(first)), "b.py": list(python_blocks(second))}
    assert shared(blocks, 2) == {("a.py", "b.py"): ["y = [1, 2]", "return y"]}
