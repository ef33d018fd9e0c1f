"""What lies in this checkout, read the way the contract tests need it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/tasks"))
MODULES = sorted(path for path in (ROOT / "plugins" / "modules").glob("*.py") if path.stem != "__init__")
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))

# Keys that ansible-core documents for every module, or adds itself.
COMMON_RETURN = {
    *("changed", "deprecations", "diff", "exception", "failed", "invocation", "msg", "skipped", "warnings"),
}

# Keys of a task that are not its action.
_KEYWORDS = {
    *("action", "always", "any_errors_fatal", "args", "async", "become", "become_user", "block", "changed_when"),
    *("check_mode", "connection", "delay", "delegate_facts", "delegate_to", "diff", "environment", "failed_when"),
    *("ignore_errors", "ignore_unreachable", "listen", "loop", "loop_control", "module_defaults", "name", "no_log"),
    *(
        "notify",
        "poll",
        "register",
        "rescue",
        "retries",
        "run_once",
        "tags",
        "throttle",
        "timeout",
        "until",
        "vars",
        "when",
    ),
}


def module(name: str) -> Path:
    """The file of one of our modules."""
    return ROOT / "plugins" / "modules" / f"{name}.py"


class _Loader(yaml.SafeLoader):
    """Reads Ansible's own tags as what they hold."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    """The YAML of a file."""
    return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def files() -> tuple[Path, ...]:
    """All files that are, or would be, under version control."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    paths = (ROOT / name for name in names.split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def text(path: Path) -> str | None:
    """A file's text; None when it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def flatten(tasks: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    """Every task, those in blocks too; a block comes before its tasks."""
    for task in tasks or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from flatten(task.get(part))


def task_files() -> list[Path]:
    """The task and handler files of all roles."""
    return sorted(path for role in ROLES for folder in ("tasks", "handlers") for path in (role / folder).rglob("*.yml"))


def all_tasks() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every task of roles and playbooks with its file."""
    for path in task_files():
        for task in flatten(load(path)):
            yield path, task
    for path in PLAYBOOKS:
        for play in load(path):
            for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                for task in flatten(play.get(part)):
                    yield path, task


def action(task: dict[str, Any]) -> tuple[str, Any] | None:
    """The module of a task and its arguments; None for a block."""
    for key, value in task.items():
        if key not in _KEYWORDS and not key.startswith("with_"):
            return key, value
    return None


_BLOCK = re.compile(r'^ *(DOCUMENTATION|EXAMPLES|RETURN) = r?("""|\'\'\')(.*?)\2', re.DOTALL | re.MULTILINE)


def documentation(path: Path) -> dict[str, Any]:
    """The documentation blocks of a plugin as parsed YAML, with the options of our own documentation fragments."""
    blocks = {name: yaml.safe_load(body) for name, _quotes, body in _BLOCK.findall(path.read_text(encoding="utf-8"))}
    head = blocks.get("DOCUMENTATION") or {}
    fragments = head.get("extends_documentation_fragment", [])
    for name in [fragments] if isinstance(fragments, str) else fragments:
        if name.startswith("techcorp.rag_admin."):
            shared = documentation(ROOT / "plugins" / "doc_fragments" / f"{name.split('.')[2]}.py")["DOCUMENTATION"]
            head["options"] = shared.get("options", {}) | head.get("options", {})
    return blocks
