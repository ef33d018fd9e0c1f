"""The command sockets of a running HAProxy, reached through its master process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.alb.config import MASTER_SOCKET

# HAProxy takes a command with its payload in one buffer of 16384 bytes.
LARGEST_PAYLOAD = 8192


class RuntimeFailure(RuntimeError):
    """HAProxy did not take a command, or is not there to take it."""


class Master:
    """Talks to the processes of one HAProxy through the socket in its directory.

    The master hands commands to any of its workers, also to an old one that only finishes its connections: their own
    sockets are gone after a reload.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ask(self, command: str, worker: int | None = None, timeout: float = 5.0) -> str:
        """Return the answer to a command, of the master or of the worker with a pid.

        timeout: seconds without any byte of an answer. Raises RuntimeFailure when no answer comes.
        """
        text = f"@!{worker} {command}\n" if worker else f"{command}\n"
        # Through /proc, because the path of a UNIX socket may have 107 characters only.
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout)
                connection.connect(f"/proc/self/fd/{directory}/{MASTER_SOCKET}")
                connection.sendall(text.encode())
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError as error:
            raise RuntimeFailure(f"no answer to {command.splitlines()[0]!r}: {error}") from error
        finally:
            os.close(directory)
        return answer.decode().strip()

    def workers(self) -> tuple[int | None, list[int]]:
        """Return the pid of the worker that takes connections, and those of the ones that finish theirs."""
        current, old, section = None, [], ""
        for line in self.ask("show proc").splitlines():
            fields = line.split()
            if line.startswith("#"):
                section = line
            elif len(fields) > 1 and fields[1] == "worker":
                if section == "# workers":
                    current = int(fields[0])
                else:
                    old.append(int(fields[0]))
        return current, old

    def change(self, worker: int, command: str) -> None:
        """Run a command that changes a worker; raises RuntimeFailure with its words when it refuses."""
        answer = self.ask(command, worker)
        # Silence is consent, except that a changed address is told.
        if answer and not answer.startswith(("IP changed", "port changed", "no need to change", "nothing changed")):
            raise RuntimeFailure(f"{command.splitlines()[0]}: {answer.splitlines()[0]}")

    def replace_map(self, worker: int, name: str, lines: Iterable[str]) -> None:
        """Replace all of a map at once: a look-up sees it as it was or as it is to be.

        Raises RuntimeFailure when the worker refuses.
        """
        answer = self.ask(f"prepare map {name}", worker)
        if not answer.startswith("New version created: "):
            raise RuntimeFailure(f"prepare map {name}: {answer}")
        version = answer.rpartition(" ")[2]
        for payload in _payloads(lines):
            self.change(worker, f"add map @{version} {name} <<\n{payload}")
        self.change(worker, f"commit map @{version} {name}")


def _payloads(lines: Iterable[str]) -> Iterator[str]:
    payload = ""
    for line in lines:
        if len(payload) + len(line) >= LARGEST_PAYLOAD:
            yield payload
            payload = ""
        payload += f"{line}\n"
    if payload:
        yield payload
