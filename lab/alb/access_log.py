"""Takes HAProxy's access log and tells of each request."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from lab.alb.config import LOG_MARK

log = logging.getLogger(__name__)

Event = dict[str, Any]

CLIENT_CLOSED = 460  # what AWS writes when the client went away before an answer
BUFFER = 8 * 2**20  # bytes
SO_RCVBUFFORCE = 33  # not in Python's socket module


def parse(line: str, at: float, listeners: dict[str, str], slots: Callable[[str, str], str | None]) -> Event | None:
    """Return the event of a log line, None for a line about something else than a request.

    at: when the line came, in seconds since the epoch; listeners: the ARN for each frontend's name;
    slots: returns "ip:port" of a backend's server slot, for requests whose connection has no address.
    """
    fields = line.split()
    if len(fields) != 11 or fields[0] != LOG_MARK or fields[1] not in listeners:
        return None
    _mark, frontend, backend, group, server, target, status, reason, first_byte, total, answered = fields
    if target.startswith("-"):
        target = slots(backend, server) or ""
    # The time to the first byte is what AWS calls TargetResponseTime.
    milliseconds = first_byte if answered != "-" and int(first_byte) >= 0 else total
    return {
        "group": group if group != "-" else None,
        "target": target or None,
        "status": CLIENT_CLOSED if int(status) < 0 else int(status),
        "origin": "lb" if answered == "-" else "target",
        "reason": reason,
        "seconds": int(milliseconds) / 1000,
        "listener": listeners[frontend],
        "at": at,
    }


class Receiver:
    """A UDP socket on loopback for log lines, and a thread that reads it.

    UDP, because a UNIX datagram socket holds ten messages by Linux's default and HAProxy drops what does not fit.
    """

    def __init__(self, on_line: Callable[[str, float], None]) -> None:
        self._on_line = on_line
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The UDP port of 127.0.0.1."""
        return self._socket.getsockname()[1]

    def close(self) -> None:
        """Stop after the lines that have come so far."""
        if self._thread.is_alive():
            self._socket.sendto(b"", self._socket.getsockname())
            self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        while data := self._socket.recv(65536):
            try:
                self._on_line(data.decode(errors="replace"), time.time())
            except Exception:
                log.exception("an access log line was lost: %r", data)
