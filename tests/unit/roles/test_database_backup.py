# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that takes backups on a host."""

from __future__ import annotations

import fcntl
import importlib.util
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """It, beside the code that it judges with, on a primary."""
    monkeypatch.syspath_prepend(CHECKOUT / "plugins" / "module_utils" / "pgbackrest")
    path = CHECKOUT / "roles" / "pgbackrest" / "files" / "database_backup.py"
    spec = importlib.util.spec_from_file_location("database_backup", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "is_standby", lambda _settings: False)
    return module


def test_a_repository_that_is_gone_keeps_the_others_from_nothing(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_options: Any) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(program.subprocess, "run", run)
    monkeypatch.setattr(program, "pgbackrest", lambda *_arguments: "[]")
    gone = {"number": 1, "directory": str(tmp_path / "gone")}
    with pytest.raises(program.Refusal, match="repository 1 to be readable"):
        program.backup({"stanza": "main", "repositories": [gone, {"number": 2, "directory": ""}]}, "full")
    assert [command[2] for command in commands] == ["--repo=2"]


def test_a_dump_under_way_is_left_alone(program: ModuleType, tmp_path: Path) -> None:
    under_way = tmp_path / ".incomplete-of-another"
    under_way.mkdir()
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(program.Refusal, match="no other dump"):
            program.dump({"dump_path": str(tmp_path)})
    finally:
        os.close(held)
    assert under_way.exists()
