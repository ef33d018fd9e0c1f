# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alb_target_health does."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import waiters
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import require_region
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import lease, owner


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """The module's result. In check mode each group is read once, and success is never claimed.

    :raises FenceLost: when the rollout is somebody else's.
    :raises Failure: when the demand is not met in time, or cannot be met by waiting.
    """
    aws = connect("elbv2", NORMAL)
    require_region(params["target_groups"], aws.region)
    if check_mode:
        groups = {arn: waiters.read_health(aws, arn, params) for arn in params["target_groups"]}
        return {"changed": False, "stable": False, "groups": groups, "polls": 1, "waited": 0.0}
    return {
        "changed": False,
        "stable": True,
        **waiters.wait_for_health(aws, params, connect.clock, _keeper(connect, params)),
    }


def _keeper(connect: Connector, params: dict):
    """What to do in each round, so that the rollout stays ours while we wait for its targets."""
    controller = owner.find_controller()
    kept = lease.Lease(connect, params["fence"]) if params["fence"] else None

    def keep():
        lease.require_controller(controller)
        if kept:
            kept.keep()

    return keep
