# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alb_targets does."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import api, plan, transformations, waiters
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb.guard import Guard
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure, require_region
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """The module's result.

    :raises FenceLost: when the rollout is somebody else's.
    :raises Failure: when targets that serve would be purged, a call fails, or the wait is over.
    """
    aws = connect("elbv2", NORMAL)
    group, wanted = _resolve(aws, params["target_group"], params["targets"])
    current = transformations.targets_from_boto(api.describe_target_health(aws, group))
    planned = plan.plan_targets(current, wanted, params["state"], params["purge"])
    if planned["deregister"] and params["purge"] and params["forwards"]:
        require_region(params["forwards"], aws.region)
        plan.require_no_traffic(group, waiters.read_forwards(aws, params["forwards"]), planned["deregister"])
    if check_mode:
        if planned["register"]:
            connect.log.plan("RegisterTargets", group)
        if planned["deregister"]:
            connect.log.plan("DeregisterTargets", group)
    else:
        _apply(aws, group, planned, Guard(connect, params["fence"]))
        if params["wait"] and wanted:
            keys = {(target["id"], target["port"]) for target in wanted}
            current = waiters.wait_for_targets(aws, group, keys, params["state"], params["wait_timeout"], connect.clock)
    return {
        "changed": bool(planned["register"] or planned["deregister"]),
        "diff": {"before": planned["before"], "after": planned["after"]},
        "target_group_arn": group,
        "registered": planned["register"],
        "deregistered": planned["deregister"],
        "targets": current,
    }


def _apply(aws: Aws, group: str, planned: dict, guard: Guard) -> None:
    if planned["register"]:
        api.register_targets(aws, group, transformations.targets_to_boto(planned["register"]), guard)
    if planned["deregister"]:
        api.deregister_targets(aws, group, transformations.targets_to_boto(planned["deregister"]), guard)


def _resolve(aws: Aws, name_or_arn: str, targets: list) -> tuple:
    """The group's ARN, and the targets with their ports; no call when both are given."""
    is_arn = name_or_arn.startswith("arn:")
    if is_arn:
        require_region([name_or_arn], aws.region)
    if is_arn and all(target["port"] for target in targets):
        return name_or_arn, targets
    found = api.describe_target_groups(aws, [name_or_arn])
    if not found:
        raise Failure(f"a target group {name_or_arn} in {aws.region}", "none", "Correct target_group, or create it.")
    group = transformations.target_group_from_boto(found[0])
    return group["arn"], [{**target, "port": target["port"] or group["port"]} for target in targets]
