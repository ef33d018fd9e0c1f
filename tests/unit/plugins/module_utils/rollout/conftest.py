"""A load balancer in memory, as alb_traffic_info and alb_traffic see and move it."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import plan

BLUE, GREEN = "arn:blue", "arn:green"
NOW = datetime(2026, 1, 31, 8, 0, 0, tzinfo=UTC)
STEPS = [{"weight": 10, "pause": 60}, {"weight": 50, "pause": 60}, {"weight": 100, "pause": 0}]


def make_owner(name: str = "alice", **changes: Any) -> dict[str, Any]:
    """An owner on another machine unless told otherwise."""
    fixed = {"host": f"{name}-host", "pid": 1, "started": 1, "boot_id": name, "pid_namespace": "p", "job": None}
    return {"name": name, **fixed, **changes}


def make_request(**changes: Any) -> plan.Request:
    """A request to roll 1.1 out."""
    values: dict[str, Any] = {
        "application": "app",
        "environment": "demo",
        "version": "1.1",
        "steps": copy.deepcopy(STEPS),
        "bake": 600,
        "lease_ttl": 300,
        "on_unfinished": "resume",
        "force": False,
        "owner": make_owner(),
        "owner_is_dead": False,
        "rollout_id": "r1",
    }
    return plan.Request(**{**values, **changes})


def make_traffic(*weights: dict[str, int], empty: bool = False) -> dict[str, Any]:
    """What alb_traffic_info says of rules with these weights."""
    weights = weights or ({BLUE: 1},)
    shares = [plan.shares(item) for item in weights]
    whole = {next(iter(share)) for share in shares if len(share) == 1}
    consistent = all(share == shares[0] for share in shares)
    colors = {BLUE: "blue", GREEN: "green"}
    return {
        "forwards": [
            {"arn": f"rule-{n}", "kind": "rule", "actions": [{"Type": "forward", "n": n}], "weights": dict(item)}
            for n, item in enumerate(weights)
        ],
        "target_groups": {"blue": {"arn": BLUE}, "green": {"arn": GREEN}},
        "live_color": colors[whole.pop()] if consistent and len(whole) == 1 else None,
        "consistent": consistent,
        "empty": empty,
    }


def begun(**changes: Any) -> dict[str, Any]:
    """The record of a rollout that has just begun, its token 1."""
    record = plan.begin(None, make_request(**changes), make_traffic(), NOW).record
    assert record is not None
    return record


def at(step: int, state: str, **changes: Any) -> dict[str, Any]:
    """The record of a rollout that has come that far."""
    record = begun(**changes)
    record["position"] = {"step": step, "state": state}
    record["status"] = "shifting"
    return record


@pytest.fixture
def record() -> dict[str, Any]:
    """See :func:`begun`."""
    return begun()
