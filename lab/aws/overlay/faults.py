"""Faults on demand: throttling, refusals, errors, latency and lost answers, per service, action and resource."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from lab.aws import calls
from lab.aws.calls import Call, Response
from lab.aws.core import Lab, Proceed

KINDS = {
    "throttle": "refuse as the service does when calls come too fast",
    "deny": "refuse as IAM does",
    "error": "fail on the server's side; the call has no effect",
    "latency": "wait `seconds`, then do the call",
    "slow_answer": "do the call, wait `seconds`, then answer",
    "lost_call": "wait `seconds`, then break the connection; the call has no effect",
    "lost_answer": "do the call, then break the connection",
}
WAITING = ("latency", "slow_answer")


@dataclass
class Fault:
    """One fault and the calls that it befalls.

    service, action, resource: patterns as in a shell (`*`, `?`); action may be a list.
    probability: share of the matching calls that it befalls. seed: makes those choices repeatable.
    skip: matching calls let through first. count: calls that it befalls at most.
    rate and burst: befall only calls beyond a token bucket of `burst` tokens that gains `rate` per second.
    code, message, status: what the answer says, where the kind's own is not wanted. seconds: how long to wait; the wait
    ends when the fault is removed.
    """

    kind: str
    service: str = "*"
    action: str | list[str] = "*"
    resource: str = "*"
    probability: float = 1.0
    seed: int | None = None
    skip: int = 0
    count: int | None = None
    rate: float | None = None
    burst: float = 1.0
    seconds: float = 0.0
    code: str | None = None
    message: str | None = None
    status: int | None = None
    id: int = 0
    matched: int = 0
    befallen: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)
    _tokens: float = 0.0
    _filled: float = 0.0
    _removed: threading.Event = field(default_factory=threading.Event, repr=False)

    @classmethod
    def parse(cls, document: Any) -> Fault:
        """Return the fault that a JSON object describes; raises ValueError saying what is wrong with it."""
        if not isinstance(document, dict):
            raise ValueError("a fault is a JSON object")
        settable = {entry.name for entry in fields(cls)} - {"id", "matched", "befallen"}
        if unknown := {name for name in document if name not in settable or name.startswith("_")}:
            raise ValueError(f"unknown in a fault: {', '.join(sorted(unknown))}")
        if document.get("kind") not in KINDS:
            raise ValueError(f"kind must be one of: {', '.join(KINDS)}")
        fault = cls(**document)
        for name in ("probability", "skip", "burst", "seconds"):
            if not isinstance(getattr(fault, name), int | float):
                raise ValueError(f"{name} must be a number")
        if not 0 <= fault.probability <= 1:
            raise ValueError("probability must be from 0 to 1")
        if fault.kind in WAITING and fault.seconds <= 0:
            raise ValueError(f"{fault.kind} needs seconds above 0")
        if fault.seed is not None:
            fault._random.seed(fault.seed)
        fault._tokens, fault._filled = fault.burst, time.monotonic()
        return fault

    def described(self) -> dict[str, Any]:
        """Return the fault as JSON has it, with how often it matched and befell."""
        return {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}

    def wait(self) -> None:
        """Hold a call up for the fault's seconds."""
        self._removed.wait(self.seconds)

    def remove(self) -> None:
        """Let the calls go on that it holds up."""
        self._removed.set()

    def matches(self, call: Call) -> bool:
        """Whether a call is one of those it may befall."""
        actions = [self.action] if isinstance(self.action, str) else self.action
        return (
            fnmatchcase(call.service, self.service)
            and any(fnmatchcase(call.action, action) for action in actions)
            and fnmatchcase(call.resource, self.resource)
        )

    def befalls(self, now: float) -> bool:
        """Decide on a matching call at a monotonic time, and remember it."""
        self.matched += 1
        if self.matched <= self.skip or (self.count is not None and self.befallen >= self.count):
            return False
        if self.rate is not None:
            self._tokens = min(self.burst, self._tokens + (now - self._filled) * self.rate)
            self._filled = now
            if self._tokens >= 1:
                self._tokens -= 1
                return False
        if self._random.random() >= self.probability:
            return False
        self.befallen += 1
        return True


def install(lab: Lab) -> None:
    """Let each call pass the faults that are set through /lab/faults."""
    faults: dict[int, Fault] = {}
    lock = threading.Lock()
    numbers = iter(range(1, 1 << 62))

    def befall(call: Call, proceed: Proceed) -> Response:
        with lock:
            now = time.monotonic()
            hits = [fault for fault in faults.values() if fault.matches(call) and fault.befalls(now)]
        for fault in hits:
            if fault.kind == "latency":
                fault.wait()
        for fault in hits:
            if fault.kind in ("throttle", "deny", "error"):
                response = _refusal(fault, call)
                response.fault = fault.id
                return response
            if fault.kind == "lost_call":
                fault.wait()
                return Response(0, [], b"", error="lost call", fault=fault.id, applied=False, cut=True)
        response = proceed(call)
        for fault in hits:
            response.fault = fault.id
            if fault.kind == "slow_answer":
                fault.wait()
        if any(fault.kind == "lost_answer" for fault in hits):
            response.cut = True
            response.error = response.error or "lost answer"
        return response

    def add(_query: dict[str, str], document: Any) -> dict[str, Any]:
        added = [Fault.parse(entry) for entry in (document if isinstance(document, list) else [document])]
        with lock:
            for fault in added:
                fault.id = next(numbers)
                faults[fault.id] = fault
        return {"faults": [fault.described() for fault in added]}

    def show(_query: dict[str, str], _document: Any) -> dict[str, Any]:
        with lock:
            return {"faults": [fault.described() for fault in faults.values()], "kinds": KINDS}

    def remove(query: dict[str, str], _document: Any) -> dict[str, Any]:
        with lock:
            gone = [int(query["id"])] if "id" in query else list(faults)
            removed = [faults.pop(number) for number in gone if number in faults]
        for fault in removed:
            fault.remove()
        return {"removed": [fault.id for fault in removed]}

    lab.layer(befall)
    lab.route("GET", "/faults", show)
    lab.route("POST", "/faults", add)
    lab.route("DELETE", "/faults", remove)


def _refusal(fault: Fault, call: Call) -> Response:
    code, message, status = {"throttle": _throttling, "deny": _denial, "error": _failure}[fault.kind](call)
    return calls.error(call, fault.code or code, fault.message or message, fault.status or status)


def _throttling(call: Call) -> tuple[str, str, int]:
    if call.service == "s3":
        return "SlowDown", "Please reduce your request rate.", 503
    if call.service == "ec2":
        return "RequestLimitExceeded", "Request limit exceeded.", 503
    if call.protocol == "query" or call.service in calls.QUERY_CODES:
        return "Throttling", "Rate exceeded", 400
    return "ThrottlingException", "Rate exceeded", 400


def _denial(call: Call) -> tuple[str, str, int]:
    permission = f"{call.signing_name}:{call.action}"
    if call.action == "HeadObject":
        permission = "s3:GetObject"
    if call.service == "ec2":
        return "UnauthorizedOperation", f"You are not authorized to perform this operation: {permission}.", 403
    what = f"{permission} on resource: {call.resource or '*'}"
    message = (
        f"User: arn:aws:iam::123456789012:user/lab is not authorized to perform: {what} "
        f"because no identity-based policy allows the {permission} action"
    )
    if call.protocol == "query" or call.service in (*calls.QUERY_CODES, "s3"):
        return "AccessDenied", message, 403
    return "AccessDeniedException", message, 400


def _failure(call: Call) -> tuple[str, str, int]:
    if call.service == "s3":
        return "InternalError", "We encountered an internal error. Please try again.", 500
    if call.service == "ec2":
        return "InternalError", "An internal error has occurred", 500
    return "InternalFailure", "The request processing has failed because of an unknown error.", 500
