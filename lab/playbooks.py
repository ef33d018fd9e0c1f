"""Runs the collection's playbooks against the lab, as an operator would, and tells what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab import settings

# Where each ansible-core is installed; the two others borrow the collections of the first.
CORES = {"default": ".venv", "oldest": ".venv-oldest", "newest": ".venv-newest"}
COLLECTIONS = ".ansible/collections:" + str(next((settings.ROOT / ".venv" / "lib").glob("python3*/site-packages")))


@dataclass
class Result:
    """What one run of a playbook came to.

    changed: tasks that changed something, over all hosts. errors: messages of failed tasks, in their order.
    tasks: names of the tasks that ran on at least one host. results: (task name, host, result) of every task.
    """

    rc: int | None = None
    changed: int = 0
    errors: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    results: list[tuple[str, str, dict]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def of(self, task: str) -> dict:
        """Return the last result of a task by the end of its name; raises KeyError when it did not run."""
        for name, _host, result in reversed(self.results):
            if name.endswith(task) and not result.get("skipped"):
                return result
        raise KeyError(task)


class Playbook:
    """A playbook that runs in a process group of its own, so that it can be killed whole."""

    def __init__(
        self,
        name: str,
        variables: dict | None = None,
        *arguments: str,
        inventory: str = "inventories/demo",
        core: str = "default",
        environment: dict[str, str] | None = None,
        log: Path | None = None,
        on_event: Callable[[dict], None] = lambda event: None,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.result = Result()
        self._on_event, self._on_text = on_event, on_text
        self._log = log.open("w") if log else None
        path = name if name.endswith(".yml") else f"playbooks/{name}.yml"
        binaries = settings.ROOT / CORES[core] / "bin"
        command = [
            str(binaries / "ansible-playbook"),
            path,
            "-i",
            inventory,
            "-e",
            json.dumps(variables or {}),
            *arguments,
        ]
        self.process = subprocess.Popen(
            command,
            cwd=settings.ROOT,
            env={
                **os.environ,
                **settings.environment(),
                "PATH": f"{binaries}:{os.environ['PATH']}",
                "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS,
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl",
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> Result:
        """Read the run to its end and return what it came to; it does not outlive whoever waits for it."""
        try:
            return self._read()
        except BaseException:
            self.kill()
            raise

    def _read(self) -> Result:
        for line in self.process.stdout:
            if self._log:
                self._log.write(line)
                self._log.flush()
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and "_event" in event:
                self._take(event)
                self._on_event(event)
            elif line.strip():
                self.result.text.append(line.rstrip())
                self._on_text(line.rstrip())
        self.result.rc = self.process.wait()
        if self._log:
            self._log.close()
        return self.result

    def kill(self) -> None:
        """kill -9 for the controller and everything that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def kill_when(self, condition: Callable[[], bool], patience: float, grace: float = 0) -> bool:
        """Kill the run ``grace`` seconds after the condition holds, or when it does not within ``patience`` seconds.

        :returns: whether the condition came to hold while the run lived.
        """
        reading = threading.Thread(target=self.wait)  # a pipe that nobody reads would stop the run
        reading.start()
        deadline = time.monotonic() + patience
        try:
            while not (came := condition()) and reading.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(grace if came else 0)
        finally:
            if reading.is_alive():
                self.kill()
            reading.join()
        return came

    def _take(self, event: dict) -> None:
        kind = event["_event"]
        if kind in ("v2_runner_on_ok", "v2_runner_on_failed", "v2_runner_on_unreachable", "v2_runner_on_skipped"):
            name = event["task"]["name"]
            for host, result in event["hosts"].items():
                self.result.results.append((name, host, result))
                if kind != "v2_runner_on_skipped" and name not in self.result.tasks:
                    self.result.tasks.append(name)
                if kind in ("v2_runner_on_failed", "v2_runner_on_unreachable"):
                    self.result.errors.append(str(result.get("msg") or result))
        elif kind == "v2_playbook_on_stats":
            self.result.changed = sum(host["changed"] for host in event["stats"].values())


def run(name: str, variables: dict | None = None, *arguments: str, **options) -> Result:
    """Run a playbook of ``playbooks/`` by its name and return what it came to."""
    return Playbook(name, variables, *arguments, **options).wait()
