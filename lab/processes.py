"""Processes of the lab: started as daemons, recognised for certain, stopped whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lab import settings


def boot_id() -> str:
    """Return the id of this boot of the machine; pids mean nothing beyond it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def owner(pid: int) -> str | None:
    """Return the state directory of the lab that started a process; None for a process that no lab started."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = settings.OWNER_VARIABLE.encode() + b"="
    return next((entry[len(prefix) :].decode() for entry in entries if entry.startswith(prefix)), None)


def owned() -> Iterator[tuple[int, str]]:
    """Yield the pid and owner of each process that any lab started."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := owner(int(entry.name))) and start_time(int(entry.name)):
            yield int(entry.name), found


def command_line(pid: int) -> str:
    """Return a process's command line, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def start(name: str, command: list[str], environment: dict[str, str], version: str = "") -> int:
    """Start a daemon with its log in LOGS and its pid in PIDS; return the pid.

    version: what of the code it runs, for `version_of` to tell later.
    """
    settings.LOGS.mkdir(parents=True, exist_ok=True)
    settings.PIDS.mkdir(parents=True, exist_ok=True)
    with (settings.LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=settings.ROOT,
            env={**os.environ, **environment, settings.OWNER_VARIABLE: str(settings.RUNTIME)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = {"pid": process.pid, "start_time": start_time(process.pid), "boot_id": boot_id(), "version": version}
    (settings.PIDS / f"{name}.json").write_text(json.dumps(record))
    return process.pid


def running(name: str) -> int | None:
    """Return the pid of a daemon that `start` started, None when it is gone, whatever has its pid now."""
    try:
        record = json.loads((settings.PIDS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    alive = record["boot_id"] == boot_id() and record["start_time"] == start_time(record["pid"]) is not None
    return record["pid"] if alive else None


def version_of(name: str) -> str:
    """Return the version with which a daemon was started."""
    return json.loads((settings.PIDS / f"{name}.json").read_text()).get("version", "")


def stop(pids: Iterable[int], patience: float = 5) -> None:
    """End processes: SIGTERM, and SIGKILL for those still there after `patience` seconds."""
    waiting = {pid: started for pid in pids if (started := start_time(pid))}
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for pid in waiting:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while waiting and time.monotonic() < deadline:
            waiting = {pid: started for pid, started in waiting.items() if start_time(pid) == started}
            time.sleep(0.02)


def stop_all(state: str, daemons: Iterable[str] = ()) -> list[int]:
    """End all processes of the lab with this state directory: named daemons first, then what they left behind."""
    if first := [pid for name in daemons if (pid := running(name))]:
        stop(first)
    rest = [pid for pid, found in owned() if found == state]
    stop(rest, patience=2)
    return [*first, *rest]


def listener(address: str, port: int) -> int | None:
    """Return the pid of the process that listens on an address and port, None when there is none."""
    output = subprocess.run(
        ["ss", "-Hltnp", f"src {address}:{port} or src 0.0.0.0:{port}"], check=False, capture_output=True, text=True
    ).stdout
    _before, found, after = output.partition("pid=")
    return int(after.split(",")[0]) if found else None
