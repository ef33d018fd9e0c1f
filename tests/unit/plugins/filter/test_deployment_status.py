# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads first."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.filter.deployment_status import deployment_status

OWNER = {"name": "alice", "host": "deploy-1"}


def group(**more: Any) -> dict[str, Any]:
    return {"weight": 0, "attached": True, "healthy": 2, "total": 2, "targets": [], **more}


def traffic(**more: Any) -> dict[str, Any]:
    groups = {"blue": group(weight=100), "green": group()}
    return {"load_balancer": {"name": "shop"}, "live_color": "blue", "target_groups": groups, **more}


def record(**more: Any) -> dict[str, Any]:
    lease = {"owner": OWNER, "expires_at": "2026-01-31T08:01:00Z"}
    return {
        "rollout_id": "r1",
        "version": "1.1.0",
        "status": "shifting",
        "steps": [{"weight": 10}, {"weight": 100}],
        "position": {"step": 0, "state": "applied"},
        "lease": lease,
        "colors": {"blue": {"version": "1.0.0"}, "green": {"version": "1.1.0"}},
        **more,
    }


def test_live_color_and_weights_come_first():
    assert deployment_status(traffic(), record(status="succeeded", lease=None)) == [
        "shop: blue 1.0.0 is live",
        "blue: 1.0.0, weight 100, 2 of 2 targets healthy",
        "green: 1.1.0, weight 0, 2 of 2 targets healthy",
        "rollout r1 to 1.1.0: succeeded",
    ]


@pytest.mark.parametrize(
    ("position", "where"),
    [
        (None, "no traffic moved yet"),
        ({"step": -1, "state": "intended"}, "attaching"),
        ({"step": 1, "state": "applied"}, "step 2 of 2"),
    ],
)
def test_an_unfinished_rollout_is_told_with_its_owner(position: dict[str, Any] | None, where: str):
    last = deployment_status(traffic(), record(position=position))[-1]
    assert last == f"rollout r1 to 1.1.0: shifting, {where}, owned by alice on deploy-1 until 2026-01-31T08:01:00Z"


def test_an_abandoned_rollout_says_what_to_do():
    assert "run deploy.yml again to resume it, or rollback.yml" in deployment_status(traffic(), record(lease=None))[-1]


def test_without_a_record_versions_are_unknown():
    lines = deployment_status(traffic())
    assert lines[0] == "shop: blue of unknown version is live"
    assert lines[-1] == "rollout: none recorded"


def test_what_is_not_in_order_is_told():
    ill = {"id": "i-1", "port": 80, "state": "unhealthy", "reason": None}
    groups = {"blue": group(weight=None, targets=[ill], healthy=1), "green": group(attached=False)}
    told = deployment_status(traffic(live_color=None, target_groups=groups, problems=["the listeners differ"]))
    assert told == [
        "shop: traffic is split between the colours",
        "blue: version unknown, weight differs between listeners, 1 of 2 targets healthy",
        "  i-1:80 is unhealthy (no reason given)",
        "green: version unknown, not attached, 2 of 2 targets healthy",
        "rollout: none recorded",
        "problem: the listeners differ",
    ]
