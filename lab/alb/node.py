"""One node of a load balancer: an HAProxy process that follows the wanted state."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.alb import config
from lab.alb.access_log import Receiver, parse
from lab.alb.runtime import Master, RuntimeFailure

log = logging.getLogger(__name__)

State = dict[str, Any]

PATIENCE = 10.0  # seconds until HAProxy has started, reloaded or ended
LOG_FILE = "haproxy.log"


class NodeError(RuntimeError):
    """The node cannot do what the state says."""


class Node:
    """A node of a load balancer.

    Weights and targets move in the running process, without a reload: connections stay, and also a keep-alive
    connection follows the new weights with its next request. Listeners, rules, certificates and new groups need a
    reload, which drops no connection either. When HAProxy dies it is started again with the newest state.

    A rule whose weights are all 0 answers 503, as one whose group has no targets does.
    """

    def __init__(
        self, name: str, address: str, runtime_dir: Path | str, on_request: Callable[[dict[str, Any]], None]
    ) -> None:
        """Prepare a node; HAProxy starts with the first state.

        name: for messages. address: the IP address to listen on. runtime_dir: a directory for this node alone.
        on_request: is called with an event for each access log line, from a thread of this node.
        """
        self.name = name
        self.address = address
        self.restarts = 0  # how often HAProxy died and was started again
        self.reloads = 0
        self._directory = Path(runtime_dir)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._on_request = on_request
        self._lock = threading.RLock()
        self._master = Master(self._directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()
        # What HAProxy was told.
        self._state: State | None = None
        self._layout: config.Layout = ()
        self._structure: dict[str, str] = {}
        self._arns: dict[str, str] = {}
        self._log = Receiver(self._on_line)

    def apply(self, state: State) -> None:
        """Make HAProxy do what a state of the control plane says; quick when nothing changed.

        state: {"listeners": […], "groups": {…}} as the control plane computes it; optionally "idle_timeout_seconds"
        (60 when absent). Raises ValueError for a state that makes no sense, NodeError when HAProxy cannot follow;
        the node then goes on with the state before.
        """
        with self._lock:
            if self._closed.is_set():
                raise NodeError(f"load balancer node {self.name} is closed")
            running = self._process is not None and self._process.poll() is None
            if running and state == self._state:
                return
            layout = config.lay_out(self._layout, state["groups"])
            if not running:
                self._start(state, layout)
            elif config.structure(state, layout, self.address, self._log.port) == self._structure:
                self._move(state, layout)
            else:
                self._reload(state, layout)

    def close(self) -> None:
        """End HAProxy with all its connections; leaves no process."""
        with self._lock:
            self._closed.set()
            process, self._process = self._process, None
            if process is not None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
            self._kill_strays()
            if process is not None:
                process.wait()
        self._log.close()

    def _start(self, state: State, layout: config.Layout) -> None:
        self._kill_strays()
        files = config.files(state, layout, self.address, self._log.port)
        self._write(files)
        self._check()
        for listener in state["listeners"]:
            self._require_free(listener["port"])
        command = [_program(), "-W", "-S", f"unix@./{config.MASTER_SOCKET},mode,600", "-f", config.CONFIGURATION]
        with (self._directory / LOG_FILE).open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a terminal's Ctrl-C is for its owner, who closes the node
            )
        try:
            self._await_worker(process, None)
        except NodeError:
            process.kill()
            process.wait()
            self._kill_strays()
            raise
        self._process = process
        self._done(state, layout)
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _reload(self, state: State, layout: config.Layout) -> None:
        files = config.files(state, layout, self.address, self._log.port)
        assert self._state is not None
        listening = {listener["port"] for listener in self._state["listeners"]}
        for listener in state["listeners"]:
            if listener["port"] not in listening:
                self._require_free(listener["port"])
        self._write(files)
        self._check()
        before, _old = self._master.workers()
        with suppress(RuntimeFailure):  # the answer is lost where the master replaces itself before it gives it
            self._master.ask("reload")
        assert self._process is not None
        self._await_worker(self._process, before)
        self.reloads += 1
        old_layout = self._layout
        self._done(state, layout)
        self._tell_old(self._master.workers()[1], old_layout)

    def _move(self, state: State, layout: config.Layout) -> None:
        old_state, old_layout = self._state, self._layout
        assert old_state is not None
        self._done(state, layout)
        try:
            current, old = self._master.workers()
            if current is None:
                raise RuntimeFailure("HAProxy has no worker")
            self._change(current, old_state, old_layout)
        except RuntimeFailure as failure:
            log.warning("load balancer node %s: %s; reloading", self.name, failure)
            self._reload(state, layout)
            return
        self._tell_old(old, old_layout)

    def _change(self, worker: int, old_state: State, old_layout: config.Layout) -> None:
        """Bring a worker from an old state to the present one.

        In this order a group never has weight without its new targets, or loses its targets before its weight.
        """
        assert self._state is not None
        for command in config.enabling(old_layout, self._layout):
            self._master.change(worker, command)
        known = config.maps(old_state, old_layout)
        for name, lines in config.maps(self._state, self._layout).items():
            if lines != known.get(name):
                self._master.replace_map(worker, name, lines)
        for command in config.disabling(old_layout, self._layout):
            self._master.change(worker, command)

    def _tell_old(self, workers: list[int], old_layout: config.Layout) -> None:
        """End the requests of targets that are gone also in old processes; these may not know all slots."""
        for worker in workers:
            for command in config.disabling(old_layout, self._layout):
                with suppress(RuntimeFailure):
                    self._master.change(worker, command)

    def _done(self, state: State, layout: config.Layout) -> None:
        self._state, self._layout = state, layout
        self._structure = config.structure(state, layout, self.address, self._log.port)
        # Requests that the old process finishes may still tell of a listener that is gone.
        self._arns |= {config.inner_name(listener["port"]): listener["arn"] for listener in state["listeners"]}

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Start HAProxy again when it dies, until the node is closed."""
        process.wait()
        pause = 0.1
        while not self._closed.is_set():
            with self._lock:
                if self._closed.is_set() or self._process is not process:
                    return
                assert self._state is not None
                log.warning(
                    "load balancer node %s: haproxy ended (%s), starting it again", self.name, process.returncode
                )
                try:
                    self._start(self._state, self._layout)
                    self.restarts += 1
                    return
                except (NodeError, OSError) as error:
                    log.error("%s", error)
            self._closed.wait(pause)
            pause = min(pause * 2, 5.0)

    def _await_worker(self, process: subprocess.Popen[bytes], before: int | None) -> None:
        """Wait until a worker other than `before` answers."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(RuntimeFailure):
                current, _old = self._master.workers()
                if current is None and before is not None:
                    break  # the master could not start a new one, and says so in its log
                if current not in (None, before):
                    self._master.ask("show info", current)
                    return
            time.sleep(0.01)
        raise NodeError(f"load balancer node {self.name}: haproxy does not start: {self._complaint()}")

    def _complaint(self) -> str:
        lines = (self._directory / LOG_FILE).read_text(errors="replace").splitlines()
        return " / ".join([line for line in lines if "[ALERT]" in line][-3:] or lines[-3:] or ["it says nothing"])

    def _write(self, files: dict[str, str]) -> None:
        for path in self._directory.iterdir():
            if path.suffix in (".map", ".pem", ".body") and path.name not in files:
                path.unlink()
        for name, text in files.items():
            new = self._directory / f"{name}.new"
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)
            new.write_text(text)
            new.rename(self._directory / name)

    def _check(self) -> None:
        checked = subprocess.run(
            [_program(), "-c", "-q", "-f", config.CONFIGURATION], cwd=self._directory, capture_output=True, text=True
        )
        if checked.returncode:
            raise NodeError(f"load balancer node {self.name}: haproxy refuses its configuration: {checked.stderr}")

    def _require_free(self, port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.address, port))
                probe.listen()
            except OSError as error:
                place = f"{self.address}:{port}"
                reason = (
                    "another process listens there"
                    if error.errno == errno.EADDRINUSE
                    else os.strerror(error.errno or 0)
                )
                raise NodeError(f"load balancer node {self.name} cannot listen on {place}: {reason}") from error

    def _kill_strays(self) -> None:
        """Kill each HAProxy that works in our directory: what a killed master or a killed lab left behind."""
        deadline = time.monotonic() + PATIENCE
        while strays := [pid for pid in _haproxies() if _directory_of(pid) == self._directory.resolve()]:
            if time.monotonic() > deadline:
                raise NodeError(f"load balancer node {self.name}: haproxy does not end: pids {strays}")
            for pid in strays:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _on_line(self, line: str, at: float) -> None:
        if event := parse(line, at, self._arns, self._target):
            self._on_request(event)

    def _target(self, backend: str, slot: str) -> str | None:
        for number, each in enumerate(self._layout):
            for index, content in enumerate(each.slots):
                if (backend, slot) == (config.backend_name(number), config.slot_name(index)) and content.address:
                    return f"{content.address}:{content.port}"
        return None


def _program() -> str:
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NodeError("haproxy is not installed; expected Debian's package haproxy (make setup installs it)")
    return found


def _haproxies() -> list[int]:
    """Return the pids of all living HAProxy processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                name, _paren, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                if name == "haproxy" and rest.split()[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def _directory_of(pid: int) -> Path | None:
    with suppress(OSError):
        # A directory that was removed under it, and made again for us, is ours too.
        return Path(str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(" (deleted)"))
    return None
