"""What may know of what: the collection knows neither the lab nor the application, the repository not this machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from contract import tree

# The lab's networks, its names, its folder.
LAB = re.compile(r"\b10\.213\.|\b127\.77\.|\.lab\b|\blab[/:.]|\bthe lab\b|\blab\b", re.IGNORECASE)
APPLICATION = re.compile(r"rag-admin")
# Where an application's name may stand: it is a default or an example there.
MAY_NAME_THE_APPLICATION = re.compile(
    r"roles/[^/]+/(defaults/|meta/argument_specs\.yml|README\.md)|playbooks/demo\.yml"
)
PUBLIC = {"pypi.org", "files.pythonhosted.org", "deb.debian.org", "security.debian.org", "localhost", "127.0.0.1"}


def shipped() -> list[Path]:
    """What operators get: roles, playbooks, plugins, meta."""
    folders = ("roles/", "playbooks/", "plugins/", "meta/")
    return [path for path in tree.files() if tree.relative(path).startswith(folders)]


def without_documentation(path: Path) -> str:
    """A file's text; of a plugin that without its documentation, whose examples may name an application."""
    text = tree.text(path) or ""
    if path.suffix == ".py":
        text = re.sub(
            r'^(DOCUMENTATION|EXAMPLES|RETURN) = r?("""|\'\'\').*?\2', "", text, flags=re.DOTALL | re.MULTILINE
        )
    return text


def hits(pattern: re.Pattern[str], text: str) -> list[str]:
    """Lines that match; the collection's own name and addresses of its repository do not."""
    return [line.strip() for line in text.splitlines() if pattern.search(re.sub(r"ansible-rag-admin", "", line))]


def machine_words() -> set[str]:
    """Names that belong to this machine: its paths, and the hosts that its package clients are set up with."""
    words = {f"{tree.ROOT}/", f"{tree.ROOT.parent}/main"}
    settings = [
        os.environ.get(name, "")
        for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "GOPROXY", "PIP_FIND_LINKS")
    ]
    pip = subprocess.run(
        [tree.ROOT / ".venv/bin/python", "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True
    )
    settings.append(pip.stdout)
    for folder in (Path("/etc/apt"), Path("/etc/apt/sources.list.d")):
        settings += [
            path.read_text(errors="replace") for path in folder.glob("*") if path.suffix in {".list", ".sources"}
        ]
    hosts = {urlsplit(url).hostname for url in re.findall(r"https?://[^\s'\"|,]+", "\n".join(settings))}
    return {word for word in words | {host for host in hosts - PUBLIC if host} if len(word) > 4}


def words_in(words: set[str], text: str) -> list[str]:
    return sorted(word for word in words if word in text)


def test_the_collection_does_not_know_the_lab():
    found = {tree.relative(path): hits(LAB, tree.text(path) or "") for path in shipped()}
    assert not {path: lines for path, lines in found.items() if lines}


def test_the_collection_does_not_know_the_application():
    paths = [path for path in shipped() if not MAY_NAME_THE_APPLICATION.match(tree.relative(path))]
    found = {tree.relative(path): hits(APPLICATION, without_documentation(path)) for path in paths}
    assert not {path: lines for path, lines in found.items() if lines}


def test_nothing_tells_of_this_machine():
    words = machine_words()
    found = {tree.relative(path): words_in(words, tree.text(path) or "") for path in tree.files()}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("path", tree.PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_can_be_run_by_full_name(path: Path):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", path.stem), "a hyphen breaks techcorp.rag_admin.<playbook>"


@pytest.mark.parametrize("path", tree.PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_are_lists_of_roles(path: Path):
    """A playbook has plays with roles or imports; a task of its own would be logic that no role has."""
    for play in tree.load(path):
        if "import_playbook" in play or "ansible.builtin.import_playbook" in play:
            continue
        actions = [
            tree.action(task) for part in ("pre_tasks", "tasks", "post_tasks") for task in tree.flatten(play.get(part))
        ]
        names = {done[0] for done in actions if done}
        assert names <= {"ansible.builtin.import_role", "ansible.builtin.include_role"}, play["name"]


def test_pages_are_short():
    limits = {"README.md": 120, "CONTRIBUTING.md": 120} | {
        tree.relative(path): 40 for path in (tree.ROOT / "docs/adr").glob("*.md")
    }
    lengths = {name: len((tree.ROOT / name).read_text().splitlines()) for name in limits}
    assert not {name: length for name, length in lengths.items() if length > limits[name]}


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((tree.ROOT / "docs/adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


# The checks themselves can fail.


@pytest.mark.parametrize(
    "line", ["host: 10.213.77.1", "when: is_lab | bool # the lab", "path: .lab/tls", "from lab.settings import X"]
)
def test_knowledge_of_the_lab_is_found(line: str):
    assert hits(LAB, f"a\n{line}\n") == [line]


@pytest.mark.parametrize("line", ["label: collaboration", "available: true", "slab.conf", "the labels"])
def test_other_words_are_not_the_lab(line: str):
    assert not hits(LAB, line)


def test_the_name_of_the_application_is_found():
    assert hits(APPLICATION, "name: rag-admin-blue\nx: rag_admin\nurl: https://e.org/ansible-rag-admin") == [
        "name: rag-admin-blue"
    ]


def test_documentation_may_name_an_application(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text('EXAMPLES = r"""\n- name: rag-admin\n"""\nNAME = "rag-admin"\n')
    assert hits(APPLICATION, without_documentation(path)) == ['NAME = "rag-admin"']


def test_words_of_this_machine_are_found():
    assert words_in({f"{tree.ROOT}/"}, f"cd {tree.ROOT}/lab") == [f"{tree.ROOT}/"]
