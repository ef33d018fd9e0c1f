"""A journal of every call, in memory and in `aws-journal.jsonl`, so that tests can count what was asked of AWS."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from typing import Any

from lab.aws import calls
from lab.aws.calls import Call, Response
from lab.aws.core import Lab, Proceed

KEPT = 200_000  # entries in memory; the file has all of them


class Journal:
    """Numbered entries; `mark` is the number from which on tests count unless they say otherwise."""

    def __init__(self, path: Any) -> None:
        self._file = path.open("a", buffering=1)
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._count = 0
        self._mark = 0

    def add(self, entry: dict[str, Any]) -> None:
        """Append an entry and give it the next number."""
        with self._lock:
            self._count += 1
            entry = {"seq": self._count, **entry}
            self._entries.append(entry)
            self._file.write(json.dumps(entry) + "\n")

    def mark(self) -> int:
        """Move the mark to the end and return it."""
        with self._lock:
            self._mark = self._count
            return self._mark

    def entries(self, since: int | None = None) -> list[dict[str, Any]]:
        """Return the entries after a number, by default after the mark."""
        with self._lock:
            start = self._mark if since is None else since
            return [entry for entry in self._entries if entry["seq"] > start]


def install(lab: Lab) -> None:
    """Write down every call with its time, resource, outcome and latency."""
    journal = Journal(lab.state / "aws-journal.jsonl")

    def write_down(call: Call, proceed: Proceed) -> Response:
        at, started = time.time(), time.monotonic()
        response = proceed(call)
        journal.add(
            {
                "at": round(at, 6),
                "service": call.service,
                "action": call.action or f"{call.method} {call.path}",
                "mutating": call.mutating,
                "resource": call.resource,
                "parameters": call.parameters,
                "region": call.region,
                "status": 0 if response.cut else response.status,
                "error": calls.error_code(call, response),
                "applied": response.applied and response.status < 400,
                "fault": response.fault,
                "seconds": round(time.monotonic() - started, 6),
                "client": call.environ.get("REMOTE_ADDR", ""),
            }
        )
        return response

    def read(query: dict[str, str], _document: Any) -> dict[str, Any]:
        entries = journal.entries(int(query["since"]) if "since" in query else None)
        for name in ("service", "action", "resource"):
            if name in query:
                entries = [entry for entry in entries if entry[name] == query[name]]
        if "mutating" in query:
            wanted = query["mutating"] in ("1", "true")
            entries = [entry for entry in entries if entry["mutating"] is wanted]
        return {"entries": entries}

    lab.layer(write_down)
    lab.route("GET", "/journal", read)
    lab.route("POST", "/journal/mark", lambda _query, _document: {"mark": journal.mark()})
