# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is waited for. The loop itself is :func:`common.poll.poll`."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import api, plan, transformations
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll

# AWS needs a moment to notice that a group was attached; until then its targets still say that it is not in use.
ATTACH_GRACE = 30.0


def read_forwards(aws: Aws, arns: list) -> dict:
    """Action lists by ARN, in at most two calls for any number of listeners and rules.

    :raises Failure: when one does not exist, or is a default rule, which only its listener's ARN can change.
    """
    rules = [arn for arn in arns if transformations.kind_of(arn) == "rule"]
    listeners = [arn for arn in arns if transformations.kind_of(arn) == "listener"]
    found = {}
    if rules:
        for rule in api.describe_rules(aws, rules):
            if rule.get("IsDefault"):
                raise Failure(
                    "rules that are not a listener's default",
                    rule["RuleArn"],
                    "Give the ARN of the listener instead.",
                )
            found[rule["RuleArn"]] = transformations.actions_of(rule)
    if listeners:
        for listener in api.describe_listeners(aws, listeners):
            found[listener["ListenerArn"]] = transformations.actions_of(listener)
    missing = [arn for arn in arns if arn not in found]
    if missing:
        raise Failure(f"{', '.join(missing)} to exist", "no such listener or rule", "Correct the ARN, or the region.")
    return found


def wait_for_weights(aws: Aws, wanted: dict, timeout: float, clock: Clock) -> dict:
    """Read until every ARN forwards as wanted, or until the time is over.

    :param wanted: ``{arn: {"weights", "stickiness"}}``.
    :returns: what was read last where it differs; empty when all is as wanted.
    """
    different: dict = {}

    def look(_elapsed):
        different.clear()
        for arn, actions in read_forwards(aws, list(wanted)).items():
            found = transformations.forward_of(actions) if transformations.forward_index(actions) is not None else {}
            if found != wanted[arn]:
                different[arn] = found
        return None if different else True

    poll(look, lambda calls: 0.5 * calls, timeout, clock)
    return different


def wait_for_targets(aws: Aws, group_arn: str, keys: set, state: str, timeout: float, clock: Clock) -> list:
    """Wait until targets are gone (absent), or healthy or in a group that no load balancer uses (present).

    :param keys: ``{(id, port)}``.
    :returns: all targets of the group as read last.
    :raises Failure: when the time is over.
    """
    seen: list = []

    def look(_elapsed):
        seen[:] = transformations.targets_from_boto(api.describe_target_health(aws, group_arn))
        named = [target for target in seen if (target["id"], target["port"]) in keys]
        if state == "absent":
            waiting = [target for target in named if target["state"] != "unused"]
        else:
            settled = [target for target in plan.staying(named) if target["state"] in ("healthy", "unused")]
            waiting = keys - {(target["id"], target["port"]) for target in settled}
        return None if waiting else True

    if poll(look, 2.0, timeout, clock) is None:
        wanted = "gone" if state == "absent" else "healthy"
        raise Failure(
            f"{len(keys)} targets of {group_arn} to be {wanted} within {timeout:g} s",
            _states(seen),
            "A target is gone after the group's deregistration delay, and healthy after passing its health checks.",
            targets=seen,
        )
    return seen


def wait_for_health(aws: Aws, demand: dict, clock: Clock, keep) -> dict:
    """Poll each group once a round until all have met the demand in ``stable_polls`` rounds on end.

    :param demand: the options of alb_target_health.
    :param keep: called before each round; raises to stop.
    :returns: ``{"groups": {arn: …}, "polls", "waited"}``.
    :raises Failure: at once when waiting cannot help, or when the time is over.
    """
    arns, groups = demand["target_groups"], {}
    streak = polls = 0

    def look(elapsed):
        nonlocal streak, polls
        keep()
        polls += 1
        for arn in arns:
            groups[arn] = read_health(aws, arn, demand)
            stop_if_hopeless(aws, arn, groups[arn], elapsed, polls)
        streak = streak + 1 if all(group["met"] for group in groups.values()) else 0
        return elapsed if streak >= demand["stable_polls"] else None

    waited = poll(look, plan.poll_interval(demand["interval"], len(arns)), demand["timeout"], clock)
    if waited is None:
        slow = [f"{arn}: {_found(group)}" for arn, group in groups.items() if not group["met"]] or [
            "not stable for long enough"
        ]
        raise Failure(
            f"{_demand(demand)} in {demand['stable_polls']} polls on end within {demand['timeout']:g} s",
            "; ".join(slow),
            "See the application's log on the targets and what their health check path answers, or allow more time.",
            groups=groups,
        )
    return {"groups": groups, "polls": polls, "waited": round(waited, 1)}


def read_health(aws: Aws, arn: str, demand: dict) -> dict:
    """Targets of one group and how they stand against the demand, in one call."""
    targets = transformations.targets_from_boto(api.describe_target_health(aws, arn))
    judged = plan.judge_health(targets, demand["min_healthy"], demand["min_healthy_percent"])
    return {**judged, "targets": targets}


def stop_if_hopeless(aws: Aws, arn: str, group: dict, elapsed: float, polls: int) -> None:
    """Refuse to wait for what cannot heal.

    A group that was attached a moment ago still says that it is not in use; it gets a second look, and, when a load
    balancer is known to use it, :data:`ATTACH_GRACE` seconds.

    :raises Failure: when waiting cannot help.
    """
    if group["met"] or not group["out_of_reach"]:
        return
    if group["total"] == 0:
        raise Failure(
            f"targets in {arn}",
            "none that is not draining",
            "Register targets first (alb_targets).",
            groups={arn: group},
        )
    if group["unattached"]:
        if polls < 2:
            return
        used_by = transformations.target_group_from_boto(api.describe_target_groups(aws, [arn])[0])["load_balancers"]
        if used_by and elapsed < ATTACH_GRACE:
            return
        raise Failure(
            f"{arn} to be used by a listener or rule",
            "Target.NotInUse: no forward action names it, so it is never health-checked",
            "Attach it at weight 0 first (alb_traffic).",
            groups={arn: group},
        )
    raise Failure(
        f"{group['required']} of {group['total']} targets in {arn} to become healthy",
        _states(group["hopeless"]),
        _remedy(group["hopeless"]),
        groups={arn: group},
    )


_REMEDIES = {
    "Target.InvalidState": "Start these instances, or register others.",
    "Target.IpUnusable": "Register addresses that no load balancer uses itself.",
    "Target.HealthCheckDisabled": "Enable health checks on the target group.",
    "Target.NotInUse": "Enable the Availability Zone of these targets on the load balancer, or use targets elsewhere.",
    "Target.NotRegistered": "Register these targets.",
}


def _remedy(targets: list) -> str:
    return " ".join(_REMEDIES[reason] for reason in sorted({target["reason"] for target in targets}))


def _demand(demand: dict) -> str:
    return f"at least {demand['min_healthy']} targets and {demand['min_healthy_percent']} % of them healthy"


def _found(group: dict) -> str:
    return f"{group['healthy']} of {group['total']} healthy, {group['required']} required ({_states(group['targets'])})"


def _states(targets: list) -> str:
    return ", ".join(
        f"{target['id']}:{target['port']} {target['state']}" + (f" {target['reason']}" if target["reason"] else "")
        for target in targets
    )
