"""One truth about what the collection needs: galaxy.yml, requirements.yml, the pinned package and the code agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from contract import tree

BUILT_IN = {"ansible.builtin", "techcorp.rag_admin"}
RANGE = re.compile(r">=(\d+)\.(\d+)\.(\d+),<(\d+)\.0\.0")


def range_problem(wanted: str, installed: str) -> str | None:
    """Why a range does not begin at the tested version and end before the next major one."""
    match = RANGE.fullmatch(wanted)
    if not match:
        return f"'{wanted}' is not of the form >=X.Y.Z,<N.0.0"
    low, next_major = ".".join(match.groups()[:3]), int(match.group(4))
    if low != installed:
        return f"begins at {low}, but {installed} is what is tested"
    if next_major != int(match.group(1)) + 1:
        return f"ends at {next_major}.0.0, expected {int(match.group(1)) + 1}.0.0"
    return None


def collections_in(values: Any) -> set[str]:
    """The collections of full names that are used as actions, roles, lookups, filters or tests anywhere in YAML."""
    if isinstance(values, dict):
        return set().union(*(collections_in(part) for pair in values.items() for part in pair))
    if isinstance(values, list):
        return set().union(*map(collections_in, values))
    if isinstance(values, str):
        return {
            match.rsplit(".", 1)[0]
            for match in re.findall(r"(?<![\w./-])([a-z]\w+\.[a-z]\w+\.[a-z]\w+)(?![\w.-]*[./])", values)
        }
    return set()


def dependencies() -> dict[str, str]:
    return tree.load(tree.ROOT / "galaxy.yml")["dependencies"]


def installed(name: str) -> str:
    [packages] = tree.ROOT.glob(".venv/lib/python3*/site-packages/ansible_collections")
    return json.loads((packages / name.replace(".", "/") / "MANIFEST.json").read_text())["collection_info"]["version"]


def known_collections() -> set[str]:
    [packages] = tree.ROOT.glob(".venv/lib/python3*/site-packages/ansible_collections")
    return {f"{path.parent.parent.name}.{path.parent.name}" for path in packages.glob("*/*/MANIFEST.json")}


def shipped_yaml() -> list[Path]:
    return [
        *tree.task_files(),
        *tree.PLAYBOOKS,
        *(path for role in tree.ROLES for path in (role / "meta").glob("main.yml")),
    ]


def used_collections() -> set[str]:
    """Collections that roles, playbooks and plugins really use."""
    used = set().union(*(collections_in(tree.load(path)) for path in shipped_yaml()))
    for path in (tree.ROOT / "plugins").rglob("*.py"):
        used |= {f"{a}.{b}" for a, b in re.findall(r"ansible_collections\.(\w+)\.(\w+)", path.read_text())}
    return used & known_collections()


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), re.MULTILINE))


def test_requirements_are_galaxy_dependencies():
    wanted = tree.load(tree.ROOT / "requirements.yml")["collections"]
    assert {entry["name"]: entry["version"] for entry in wanted} == dependencies()


def test_ranges_begin_at_the_tested_versions():
    problems = {name: range_problem(wanted, installed(name)) for name, wanted in dependencies().items()}
    assert not {name: problem for name, problem in problems.items() if problem}


def test_dependencies_are_those_that_are_used():
    assert used_collections() == set(dependencies())


def test_oldest_core_is_the_one_that_is_tested():
    required = tree.load(tree.ROOT / "meta" / "runtime.yml")["requires_ansible"]
    [oldest] = re.findall(r"^oldest_core=([\d.]+)", (tree.ROOT / "lab" / "setup.sh").read_text(), re.MULTILINE)
    assert required == f">={'.'.join(oldest.split('.')[:2])}.0"


def test_python_requirements_hold_for_the_tested_versions():
    pinned = pins(tree.ROOT / "requirements-dev.txt")
    for line in (tree.ROOT / "requirements.txt").read_text().splitlines():
        if match := re.match(r"([\w-]+)>=([\d.]+)", line):
            name, low = match.groups()
            if name in pinned:
                assert tuple(map(int, low.split("."))) <= tuple(map(int, pinned[name].split("."))), name
        else:
            assert not line or line.startswith("#"), f"'{line}' names no oldest version"


def untold(released: dict[str, Any], added: dict[str, str]) -> list[str]:
    """Modules, filters and roles that are in a released version and not in its change log."""
    told = set()
    for release in released.values():
        lists = [release.get("modules", []), *release.get("plugins", {}).values(), *release.get("objects", {}).values()]
        told |= {entry["name"] for entries in lists for entry in entries}
    return sorted(name for name, version in added.items() if version in released and name not in told)


def test_the_change_log_names_all_that_was_released():
    plugins = [*tree.MODULES, *(tree.ROOT / "plugins" / "filter").glob("*.py")]
    added = {path.stem: str(tree.documentation(path)["DOCUMENTATION"]["version_added"]) for path in plugins}
    for role in tree.ROLES:
        spec = tree.load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]
        added[role.name] = str(spec["version_added"])
    released = tree.load(tree.ROOT / "changelogs" / "changelog.yaml")["releases"]
    assert tree.load(tree.ROOT / "galaxy.yml")["version"] in released
    assert not untold(released, added)


# The checks themselves can fail.


def test_what_the_change_log_leaves_out_is_found():
    released = {"1.0.0": {"modules": [{"name": "a"}], "plugins": {"filter": [{"name": "b"}]}}}
    assert untold(released, {"a": "1.0.0", "b": "1.0.0", "c": "1.0.0", "later": "1.1.0"}) == ["c"]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (">=1.2.3,<2.0.0", None),
        ("*", "'*' is not of the form >=X.Y.Z,<N.0.0"),
        (">=1.2.0,<2.0.0", "begins at 1.2.0, but 1.2.3 is what is tested"),
        (">=1.2.3,<3.0.0", "ends at 3.0.0, expected 2.0.0"),
    ],
)
def test_a_wrong_range_is_found(wanted: str, problem: str | None):
    assert range_problem(wanted, "1.2.3") == problem


def test_collections_are_found_in_actions_roles_and_templates():
    play = {"roles": [{"role": "a.b.c"}], "tasks": [{"d.e.f": {"g": "{{ x | h.i.j }}"}, "when": "k is l.m.n"}]}
    assert collections_in(play) == set()  # one-letter names are not names
    play = {"roles": ["aa.bb.cc"], "tasks": [{"dd.ee.ff": {"x": "{{ x | hh.ii.jj }} 10.0.0.1 /etc/a.bb.conf.d/x"}}]}
    assert collections_in(play) == {"aa.bb", "dd.ee", "hh.ii"}
