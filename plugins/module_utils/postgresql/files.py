# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of settings that one run owns, and a copy of the whole configuration in which it is tried."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll

HEADER = "# Managed by Ansible: the next run takes back what is changed here.\n"
LOCK_SECONDS = 60
_ENTRY = re.compile(r"\s*([A-Za-z_][\w.$]*)(?:\s*=\s*|\s+)('(?:[^'\\]|''|\\.)*'|[^\s#']+)\s*(?:#.*)?")
_INCLUDE = re.compile(r"(\s*)(include|include_if_exists|include_dir)(?:\s*=\s*|\s+)'([^']+)'", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(.)|''")


def parse(text: str) -> tuple[dict, list]:
    """Read a file of settings.

    :return: the texts of the settings by their names in lower case, the last of each; and the lines that are none.
    """
    found, strange = {}, []
    for line in text.split("\n"):
        entry = _ENTRY.fullmatch(line)
        if entry and not entry[1].lower().startswith("include"):
            found[entry[1].lower()] = _unquoted(entry[2])
        elif line.strip() and not line.lstrip().startswith("#"):
            strange.append(line)
    return found, strange


def render(settings: dict) -> str:
    """Write the file of settings, whose values are texts."""
    return HEADER + "".join(f"{name} = {_quoted(settings[name])}\n" for name in sorted(settings))


def _unquoted(text: str) -> str:
    if not text.startswith("'"):
        return text
    return _ESCAPE.sub(lambda match: match[1] or "'", text[1:-1])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def read(path: Path) -> str | None:
    """The text of a file, None when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def place(path: Path, main: Path) -> int:
    """The line of the main file that includes the folder of ``path``.

    :raises Failure: when there is none.
    """
    for number, line in enumerate((read(main) or "").split("\n"), 1):
        match = _INCLUDE.match(line)
        if match and match[2].lower() == "include_dir" and main.parent / match[3] == path.parent:
            return number
    raise Failure(
        f"{main} to read the folder of {path}",
        "no include_dir for it",
        f"Add the line include_dir = '{path.parent.name}' to {main}.",
    )


def follows(path: Path, main: Path, place_in_main: int, other: str, line: int) -> bool:
    """Whether PostgreSQL reads another file's line after ``path``, so that it wins."""
    found = Path(other)
    if found.name == "postgresql.auto.conf":
        return True
    if found.parent == path.parent:
        return found.name.encode() > path.name.encode()
    return found == main and line > place_in_main


def candidate(folder: Path, path: Path, main: Path, text: str) -> Path:
    """Write the configuration as it would be with ``text`` in ``path`` to a folder; return its main file."""
    tried = folder / path.name
    tried.write_text(text, encoding="utf-8")
    number = place(path, main)
    lines = (read(main) or "").split("\n")
    for index, line in enumerate(lines):
        match = _INCLUDE.match(line)
        if index == number - 1:
            parts = {part for part in path.parent.glob("*.conf") if not part.name.startswith(".")} | {path}
            ordered = sorted(parts, key=lambda part: part.name.encode())
            lines[index] = "\n".join(f"include '{tried if part == path else part}'" for part in ordered)
        elif match:
            lines[index] = f"{match[2]} '{main.parent / match[3]}'"
    copy = folder / main.name
    copy.write_text("\n".join(lines), encoding="utf-8")
    return copy


def write(path: Path, text: str) -> None:
    """Replace a file at once and for good: after a loss of power it is the old or the new one, whole."""
    # PostgreSQL does not read names in a folder that begin with a dot. What a killed run left goes.
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        os.fchmod(descriptor, 0o640)
        handle.write(text)
        handle.flush()
        os.fsync(descriptor)
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked(folder: Path, clock: Clock):
    """Keep other runs away from a folder.

    :raises Failure: when another holds it for a minute, or it is not there.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Failure(
            f"the folder {folder}", error.strerror, "Make the cluster first, and see that path names it."
        ) from error
    try:
        if not poll(lambda _elapsed: _try_lock(descriptor), 0.2, LOCK_SECONDS, clock):
            raise Failure(
                f"{folder} to be free within {LOCK_SECONDS} s",
                "another run that still works",
                "Run again after it.",
            )
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return True
