"""What the data plane should do, computed from moto's memory, and the threads that make the nodes follow it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from lab.aws.overlay.target_health import serving

log = logging.getLogger(__name__)

TURN = 0.2  # seconds between looks at the control plane when nothing calls for one earlier

State = dict[str, Any]
Health = dict[str, dict[tuple[str, int], bool]]


class Node(Protocol):
    """A load balancer node, as lab.alb.node has it."""

    def apply(self, state: State) -> None:
        """Do what a state says."""

    def close(self) -> None:
        """Stop."""


def group_id(arn: str) -> str:
    """Return the short name of a target group; `group_dimension` turns it back."""
    return "-".join(arn.rpartition(":")[2].split("/")[1:])


def configuration(balancer: Any, backend: Any, certificate: Callable[[str], str | None]) -> State:
    """Return the state of the contract for one load balancer, targets still without the say of their health.

    certificate: returns the PEM (certificate, chain and key) for a certificate's ARN, None when it has none.
    """
    groups: dict[str, Any] = {}
    listeners = [
        {
            "arn": listener.arn,
            "port": int(listener.port),
            "protocol": listener.protocol,
            "certificate_pem": certificate(listener.certificate) if listener.certificate else None,
            "rules": [found for rule in listener.rules.values() if (found := _rule(rule, backend, groups)) is not None],
        }
        for listener in balancer.listeners.values()
    ]
    return {"listeners": listeners, "groups": groups}


def with_health(state: State, health: Health) -> State:
    """Return a state whose targets say "on" or "drain" by their present health; an unknown target counts as healthy."""
    groups = {}
    for name, group in state["groups"].items():
        serves = health.get(name, {})
        targets = []
        for target in group["targets"]:
            place = target["address"], target["port"]
            on = target["registered"] and serves.get(place, True)
            targets.append({"address": place[0], "port": place[1], "traffic": "on" if on else "drain"})
        groups[name] = group | {"targets": targets}
    return {"listeners": state["listeners"], "groups": groups}


def health_of(backend: Any) -> Health:
    """Return for each group which of its targets get new requests."""
    return {group_id(group.arn): serving(group.targets.values()) for group in backend.target_groups.values()}


class Follower:
    """One node, following the control plane with a lag, in a thread of its own."""

    def __init__(self, make: Callable[[], Node], lag: Callable[[], float], address: str = "") -> None:
        self.address = address
        self._make = make
        self._lag = lag
        self._pending: deque[tuple[float, State]] = deque()
        self._newest: State | None = None
        self._due: State | None = None
        self._health: Health = {}
        self._wake = threading.Condition()
        self._closed = False
        self.applied: State | None = None
        self.applied_at = 0.0
        self.failure = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def offer(self, state: State, health: Health) -> None:
        """Tell what the control plane wants now: the state after the lag, the health at once."""
        with self._wake:
            if state != self._newest:
                self._newest = state
                self._pending.append((time.monotonic(), state))
            self._health = health
            self._wake.notify()

    def close(self) -> None:
        """Stop the node."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(10)

    def report(self) -> dict[str, Any]:
        """Return what the node does and what it still has to take in."""
        with self._wake:
            return {
                "address": self.address,
                "lag": self._lag(),
                "pending": len(self._pending),
                "applied_at": self.applied_at,
                "failure": self.failure,
                "state": without_keys(self.applied),
            }

    def _next(self) -> State | None:
        """Return the state to apply now; None when it is time to stop."""
        with self._wake:
            while not self._closed:
                now = time.monotonic()
                # The lag counts from the API's answer, so that changing the lag moves what is still pending.
                while self._pending and now >= self._pending[0][0] + self._lag():
                    self._due = self._pending.popleft()[1]
                if self._due is not None:
                    wanted = with_health(self._due, self._health)
                    if wanted != self.applied:
                        return wanted
                waiting = self._pending[0][0] + self._lag() - now if self._pending else 1.0
                self._wake.wait(min(max(waiting, 0.01), 1.0))
        return None

    def _run(self) -> None:
        node: Node | None = None
        while (wanted := self._next()) is not None:
            try:
                node = node or self._make()
                node.apply(wanted)
                self.applied, self.applied_at, self.failure = wanted, time.time(), ""
            except Exception as error:
                if self.failure != (text := f"{type(error).__name__}: {error}"):
                    log.exception("a node does not follow")
                self.failure = text
                time.sleep(0.5)
        if node is not None:
            node.close()


def without_keys(state: State | None) -> State | None:
    """Return a state that can be shown: without the certificates' private keys."""
    if state is None:
        return None
    listeners = [
        listener | {"certificate_pem": "(set)" if listener["certificate_pem"] else None}
        for listener in state["listeners"]
    ]
    return {"listeners": listeners, "groups": state["groups"]}


def certificate_pem(account: str, region: str, arn: str) -> str | None:
    """Return certificate, chain and key of a certificate imported into ACM or IAM; None when moto has no key for it."""
    from moto.acm.models import acm_backends
    from moto.iam.models import iam_backends

    found = acm_backends[account][region]._certificates.get(arn)
    if found is not None:
        parts = [found.cert, found.chain, found.key]
    else:
        found = iam_backends[account]["aws"].get_certificate_by_arn(arn)
        if found is None:
            return None
        parts = [found.cert_body, found.cert_chain, found.private_key]
    texts = [part.decode() if isinstance(part, bytes) else part for part in parts]
    return "".join(text.strip() + "\n" for text in texts if text) if texts[2] else None


def _rule(rule: Any, backend: Any, groups: dict[str, Any]) -> State | None:
    action = rule.actions[-1]
    conditions: dict[str, list[Any]] = {"paths": [], "hosts": [], "headers": []}
    for condition in rule.conditions:
        if not _condition(condition, conditions):
            log.warning("the lab does not know conditions on %s: rule %s is left out", condition.get("Field"), rule.arn)
            return None
    state: State = {
        "arn": rule.arn,
        "priority": None if rule.is_default else int(rule.priority),
        "conditions": conditions,
        "forward": [],
        "fixed": None,
        "stickiness_seconds": None,
    }
    if action.type == "forward":
        config = action.data["ForwardConfig"]
        for entry in config["TargetGroups"]:
            if (group := backend.target_groups.get(entry["TargetGroupArn"])) is not None:
                name = group_id(group.arn)
                state["forward"].append({"group": name, "weight": entry["Weight"]})
                groups[name] = _group(group)
        if config["TargetGroupStickinessConfig"].get("Enabled"):
            state["stickiness_seconds"] = config["TargetGroupStickinessConfig"]["DurationSeconds"]
    elif action.type == "fixed-response":
        fixed = action.data["FixedResponseConfig"]
        state["fixed"] = {
            "status": int(fixed["StatusCode"]),
            "body": fixed.get("MessageBody", ""),
            "content_type": fixed.get("ContentType", "text/plain"),
        }
    else:
        text = f"the lab's load balancer does not do {action.type}\n"
        state["fixed"] = {"status": 501, "body": text, "content_type": "text/plain"}
    return state


def _condition(condition: dict[str, Any], found: dict[str, list[Any]]) -> bool:
    match condition.get("Field"):
        case "path-pattern":
            found["paths"] += condition["Values"]
        case "host-header":
            found["hosts"] += condition["Values"]
        case "http-header":
            config = condition["HttpHeaderConfig"]
            found["headers"].append({"name": config["HttpHeaderName"], "values": list(config["Values"])})
        case _:
            return False
    return True


def _group(group: Any) -> State:
    attributes = group.attributes
    sticky = attributes.get("stickiness.enabled") == "true" and attributes.get("stickiness.type") == "lb_cookie"
    seconds = int(attributes.get("stickiness.lb_cookie.duration_seconds", 86400))
    return {
        "protocol_version": group.protocol_version or "HTTP1",
        "targets": [
            {"address": target.id, "port": target.port, "registered": target.gone_at is None}
            for target in group.targets.values()
        ],
        "stickiness_seconds": seconds if sticky else None,
    }
