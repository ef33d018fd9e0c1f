# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the shapes of boto3 to ours and back; pure.

Shapes of boto3 stop here. The one exception is a list of actions: it is carried through unread, because it has to be
put back as it was.
"""

from __future__ import annotations

import copy

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure, arn_parts

_INTEGERS = frozenset(("DurationSeconds", "Order", "SessionTimeout", "Weight"))
_BOOLEANS = frozenset(("Enabled", "UseExistingClientSecret"))


def kind_of(arn: str) -> str:
    """``listener`` (its default action moves) or ``rule``.

    :raises Failure: when it is the ARN of something else.
    """
    resource = arn_parts(arn)["resource"]
    if resource.startswith("listener-rule/"):
        return "rule"
    if resource.startswith("listener/"):
        return "listener"
    raise Failure(
        "the ARN of a listener or a listener rule", arn, "Give one that alb_traffic_info returns in forwards."
    )


def actions_of(resource: dict) -> list:
    """The actions of a rule, or the default actions of a listener."""
    return resource["Actions"] if "Actions" in resource else resource.get("DefaultActions", [])


def forward_index(actions: list):
    """Where the forward action is in the list, or None when there is none."""
    found = [index for index, action in enumerate(actions) if action.get("Type") == "forward"]
    return found[0] if found else None


def weights_of(action: dict) -> dict:
    """Weight of each target group of a forward action, by ARN.

    A group alone needs no weight: AWS then says 1.
    """
    groups = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
    if not groups and action.get("TargetGroupArn"):
        groups = [{"TargetGroupArn": action["TargetGroupArn"]}]
    weights = {}
    for group in groups:
        weight = group.get("Weight")
        weights[group["TargetGroupArn"]] = 1 if weight is None else int(weight)
    return weights


def stickiness_of(action: dict) -> dict:
    """``enabled`` and ``duration`` (seconds, null when it is not enabled) of a forward action."""
    config = (action.get("ForwardConfig") or {}).get("TargetGroupStickinessConfig") or {}
    enabled = _boolean(config.get("Enabled", False))
    return {"enabled": enabled, "duration": int(config["DurationSeconds"]) if enabled else None}


def forward_of(actions: list) -> dict:
    """``weights`` and ``stickiness`` of the forward action in a list that has one."""
    action = actions[forward_index(actions)]
    return {"weights": weights_of(action), "stickiness": stickiness_of(action)}


def with_forward(actions: list, weights: dict, stickiness: dict) -> list:
    """The same actions with other weights and stickiness; all else stays, and so does the order of the groups."""
    index = forward_index(actions)
    known = [arn for arn in weights_of(actions[index]) if arn in weights]
    added = sorted(arn for arn in weights if arn not in known)
    config = {"Enabled": stickiness["enabled"]}
    if stickiness["enabled"]:
        config["DurationSeconds"] = stickiness["duration"]
    changed = copy.deepcopy(actions)
    changed[index]["ForwardConfig"] = {
        "TargetGroups": [{"TargetGroupArn": arn, "Weight": weights[arn]} for arn in known + added],
        "TargetGroupStickinessConfig": config,
    }
    return writable(changed)


def writable(actions: list) -> list:
    """What AWS returned as actions, as it accepts them.

    Numbers and booleans that became strings on their way through templates are restored; a top-level target group
    beside a list of groups is dropped, since AWS refuses two statements of the same; and because AWS never returns the
    client secret of an OpenID action, it is told to keep the one it has.
    """
    actions = _typed(copy.deepcopy(actions))
    for action in actions:
        if (action.get("ForwardConfig") or {}).get("TargetGroups"):
            action.pop("TargetGroupArn", None)
        oidc = action.get("AuthenticateOidcConfig")
        if oidc and not oidc.get("ClientSecret"):
            oidc["UseExistingClientSecret"] = True
    return actions


def _typed(value, key=None):
    if isinstance(value, dict):
        return {name: _typed(item, name) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if key in _INTEGERS:
        return int(value)
    if key in _BOOLEANS:
        return _boolean(value)
    return value


def _boolean(value) -> bool:
    return value.lower() == "true" if isinstance(value, str) else bool(value)


def load_balancer_from_boto(load_balancer: dict) -> dict:
    """``arn``, ``name``, ``dns_name``, ``vpc_id``, ``scheme``."""
    return {
        "arn": load_balancer["LoadBalancerArn"],
        "name": load_balancer["LoadBalancerName"],
        "dns_name": load_balancer.get("DNSName"),
        "vpc_id": load_balancer.get("VpcId"),
        "scheme": load_balancer.get("Scheme"),
    }


def target_group_from_boto(group: dict) -> dict:
    """What does not change while a target group lives, and ``load_balancers``: the ARNs of those that use it."""
    return {
        "arn": group["TargetGroupArn"],
        "name": group["TargetGroupName"],
        "vpc_id": group.get("VpcId"),
        "protocol": group.get("Protocol"),
        "protocol_version": group.get("ProtocolVersion"),
        "port": group.get("Port"),
        "target_type": group.get("TargetType"),
        "load_balancers": list(group.get("LoadBalancerArns") or []),
    }


def deregistration_delay_of(attributes: list):
    """Seconds that a target drains, or None when the group does not say."""
    for attribute in attributes:
        if attribute["Key"] == "deregistration_delay.timeout_seconds":
            return int(attribute["Value"])
    return None


def target_from_boto(description: dict) -> dict:
    """``id``, ``port``, ``state``, ``reason`` (AWS's code, null when healthy) and ``description`` of a target."""
    health = description.get("TargetHealth", {})
    return {
        "id": description["Target"]["Id"],
        "port": description["Target"].get("Port"),
        "state": health.get("State"),
        "reason": health.get("Reason"),
        "description": health.get("Description"),
    }


def targets_from_boto(descriptions: list) -> list:
    """All targets of a group in a stable order."""
    return sorted(
        (target_from_boto(item) for item in descriptions), key=lambda target: (target["id"], target["port"] or 0)
    )


def targets_to_boto(targets: list) -> list:
    """Targets as RegisterTargets and DeregisterTargets take them."""
    result = []
    for target in targets:
        item = {"Id": target["id"], "Port": target["port"]}
        if target.get("availability_zone"):
            item["AvailabilityZone"] = target["availability_zone"]
        result.append(item)
    return result
