"""Control a running lab's AWS from a test or a script."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode


class Control:
    """The /lab/… API of the server at an endpoint. Methods raise ValueError with the server's reason for a refusal."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint.rstrip("/")

    def settings(self, **values: float) -> dict[str, float]:
        """Change settings (lab.aws.settings) and return all of them."""
        return self._ask("POST", "settings", document=values)

    def fault(self, kind: str, **options: Any) -> int:
        """Add a fault (lab.aws.overlay.faults) and return its number."""
        return self._ask("POST", "faults", document={"kind": kind, **options})["faults"][0]["id"]

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are set, with how often each matched and befell."""
        return self._ask("GET", "faults")["faults"]

    def clear_faults(self, number: int | None = None) -> None:
        """Remove one fault, or all."""
        self._ask("DELETE", "faults", {} if number is None else {"id": number})

    @contextmanager
    def faulty(self, kind: str, **options: Any) -> Iterator[int]:
        """Have a fault while the block runs."""
        number = self.fault(kind, **options)
        try:
            yield number
        finally:
            self.clear_faults(number)

    def mark(self) -> int:
        """Move the journal's mark to its end; return it."""
        return self._ask("POST", "journal/mark")["mark"]

    def journal(self, since: int | None = None, **filters: Any) -> list[dict[str, Any]]:
        """Return the calls after a number (the mark unless given); filters: service, action, resource, mutating."""
        query = {name: int(value) if isinstance(value, bool) else value for name, value in filters.items()}
        return self._ask("GET", "journal", query | ({} if since is None else {"since": since}))["entries"]

    def nodes(self) -> dict[str, Any]:
        """Return what the load balancers' nodes do, by load balancer ARN and node."""
        return self._ask("GET", "nodes")

    def requests(self, events: Iterable[dict[str, Any]]) -> int:
        """Count requests as if the data plane had served them (the event of lab.alb); return how many."""
        return self._ask("POST", "requests", document=list(events))["counted"]

    def arrange_snapshot(self, arn: str, age: float = 0, tags: dict[str, str] | None = None) -> None:
        """Give an RDS snapshot an age in seconds, or tags as only AWS itself sets them."""
        self._ask("POST", "rds/snapshots", document={"arn": arn, "age": age, "tags": tags or {}})

    def rds_host(self, address: str) -> list[str]:
        """Have RDS instances run on a host that `lab rds up` made; return the major versions that it has."""
        return self._ask("POST", "rds/host", document={"address": address})["majors"]

    def _ask(self, method: str, path: str, query: dict[str, Any] | None = None, document: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.endpoint}/lab/{path}?{urlencode(query or {})}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode(errors="replace").strip()) from error
