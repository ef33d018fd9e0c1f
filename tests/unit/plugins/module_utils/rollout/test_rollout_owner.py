from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import owner


def fake_process(proc: Path, pid: int, parent: int, *arguments: str, state: str = "S", started: int = 7) -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = [state, str(parent), *["0"] * 17, str(started), "0"]
    (proc / str(pid) / "stat").write_text(f"{pid} (a) b (c) {' '.join(fields)}")
    (proc / str(pid) / "cmdline").write_bytes(b"\0".join(item.encode() for item in arguments) + b"\0")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    fake_process(tmp_path, 1, 0, "/sbin/init")
    fake_process(tmp_path, 10, 1, "bash", "-c", "ansible-playbook deploy.yml")
    fake_process(tmp_path, 11, 10, "/usr/bin/python3", "/venv/bin/ansible-playbook", "deploy.yml", started=42)
    fake_process(tmp_path, 12, 11, "/usr/bin/python3", "/venv/bin/ansible-playbook", "deploy.yml")
    fake_process(tmp_path, 13, 12, "/usr/bin/python3", "/home/x/AnsiballZ_rollout.py")
    return tmp_path


def test_the_controller_is_the_topmost_playbook(proc: Path) -> None:
    assert owner.find_controller(proc, 13) == {"pid": 11, "started": 42}


def test_without_a_playbook_or_without_proc_there_is_none(proc: Path) -> None:
    assert owner.find_controller(proc, 10) is None
    assert owner.find_controller(proc / "none", 13) is None


@pytest.mark.parametrize(
    ("pid", "started", "gone"), [(11, 42, False), (11, 43, True), (2**22 + 1, 1, True), (os.getpid(), 1, False)]
)
def test_gone(proc: Path, pid: int, started: int, gone: bool) -> None:
    """Running; the number given away again; no such process; hidden by hidepid, yet there."""
    assert owner.is_gone({"pid": pid, "started": started}, proc) is gone


def test_a_zombie_is_gone(proc: Path) -> None:
    fake_process(proc, 20, 1, "", state="Z", started=3)
    assert owner.is_gone({"pid": 20, "started": 3}, proc)


def test_a_real_process_lives_and_dies() -> None:
    process = subprocess.Popen(["sleep", "60"])
    status = {"pid": process.pid, "started": owner._status(owner.PROC, process.pid)["started"]}
    assert not owner.is_gone(status)
    process.kill()
    while not owner.is_gone(status):  # not yet waited for: it becomes a zombie
        pass
    process.wait()
    assert owner.is_gone(status)


@pytest.mark.parametrize("key", ["host", "boot_id", "pid_namespace"])
def test_owners_elsewhere_cannot_be_seen_and_never_count_as_dead(key: str) -> None:
    here = {"host": "h", "boot_id": "b", "pid_namespace": "n", "pid": 1, "started": 1}
    dead = {**here, "pid": 2**22 + 1}
    assert owner.is_dead(dead, here)
    assert not owner.is_dead({**dead, key: "other"}, here)
    assert not owner.is_dead({**dead, "pid": None}, here)


def test_identity(proc: Path) -> None:
    me = owner.identify(environment={"AWX_HOST": "https://awx", "JOB_ID": "7"})
    assert me["job"] == "https://awx/#/jobs/playbook/7"
    assert me["boot_id"] and me["pid_namespace"] and me["host"] and me["name"]
    assert owner.identify(proc, {})["job"] is None


def test_description() -> None:
    shown = {"name": "alice", "host": "h", "pid": 4711, "job": "https://awx/7"}
    assert owner.describe(shown) == "alice on h (process 4711, job https://awx/7)"
    assert owner.describe({"name": "alice", "host": "h", "pid": None, "job": None}) == "alice on h"
