# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a rollout, and whether that process still lives."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

PROC = Path("/proc")
_COMMANDS = ("ansible-playbook", "ansible")


def identify(proc: Path = PROC, environment: dict | None = None) -> dict:
    """``name``, ``host``, ``pid``, ``started``, ``boot_id``, ``pid_namespace`` and ``job`` of whoever runs this.

    The process is the topmost ansible-playbook above us, since modules and workers come and go. Where it cannot be
    found (no /proc, a module that runs on another machine), ``pid`` and what belongs to it are null, and only the
    lease's expiry can free it.

    :param environment: the process's own by default.

    :returns: ``started`` in clock ticks since boot, ``job`` as the address of an AWX job or null.
    """
    controller = find_controller(proc) or {"pid": None, "started": None}
    environment = os.environ if environment is None else environment
    awx, job = environment.get("AWX_HOST"), environment.get("JOB_ID")
    return {
        "name": _user_name(),
        "host": socket.gethostname(),
        **controller,
        "boot_id": _read(proc / "sys/kernel/random/boot_id"),
        "pid_namespace": _link(proc / "self/ns/pid"),
        "job": f"{awx}/#/jobs/playbook/{job}" if awx and job else None,
    }


def find_controller(proc: Path = PROC, pid: int | None = None) -> dict | None:
    """``pid`` and ``started`` of the topmost ansible-playbook among our ancestors, or None.

    :param pid: where to begin; ourselves by default.
    """
    found = None
    pid = os.getpid() if pid is None else pid
    while pid and pid > 0:
        status = _status(proc, pid)
        if status is None:
            break
        if _is_ansible(proc, pid):
            found = {"pid": pid, "started": status["started"]}
        pid = status["parent"]
    return found


def is_gone(controller: dict, proc: Path = PROC) -> bool:
    """Whether that process of this machine has surely ended. A number that was given to another process counts too."""
    status = _status(proc, controller["pid"])
    if status is None:
        # Absent, or hidden from us (mount option hidepid): a signal tells.
        try:
            os.kill(controller["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False
    return status["state"] in "ZX" or status["started"] != controller["started"]


def same(one: dict, other: dict) -> bool:
    """Whether both are one and the same ansible-playbook process. False where the process is not known."""
    return (
        one.get("pid") is not None
        and _place(one) == _place(other)
        and all(one.get(key) == other.get(key) for key in ("pid", "started"))
    )


def is_dead(owner: dict, here: dict, proc: Path = PROC) -> bool:
    """Whether an owner has surely ended. Always False for owners that we cannot see: other machines and containers."""
    return is_visible(owner, here) and is_gone(owner, proc)


def is_visible(owner: dict, here: dict) -> bool:
    """Whether that owner is a process of the machine, boot and container that we run in."""
    return owner.get("pid") is not None and owner.get("boot_id") is not None and _place(owner) == _place(here)


def describe(owner: dict) -> str:
    """For people: ``alice on deploy-1 (process 4711, job https://…)``."""
    details = [f"process {owner['pid']}"] if owner.get("pid") else []
    details += [f"job {owner['job']}"] if owner.get("job") else []
    return f"{owner.get('name')} on {owner.get('host')}" + (f" ({', '.join(details)})" if details else "")


def _place(owner: dict) -> tuple:
    return tuple(owner.get(key) for key in ("host", "boot_id", "pid_namespace"))


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container that runs as a number without a name
        return str(os.getuid())


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def _status(proc: Path, pid: int) -> dict | None:
    text = _read(proc / str(pid) / "stat")
    if not text:
        return None
    # The second field is the command in brackets and may itself hold blanks and brackets.
    fields = text.rpartition(")")[2].split()
    return {"state": fields[0], "parent": int(fields[1]), "started": int(fields[19])}


def _is_ansible(proc: Path, pid: int) -> bool:
    try:
        arguments = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # "ansible-playbook …", or an interpreter with at most a few options before the script.
    return any(Path(argument.decode(errors="replace")).name in _COMMANDS for argument in arguments[:3])
