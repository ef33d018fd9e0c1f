# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One function per call of the Elastic Load Balancing API; the only place of this package that calls it."""

from __future__ import annotations

import functools

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws


def _all_pages(aws: Aws, method: str, resource: str, key: str, **params) -> list:
    items: list = []
    while True:
        answer = aws.read(method, resource, **params)
        items.extend(answer.get(key, []))
        if not answer.get("NextMarker"):
            return items
        params["Marker"] = answer["NextMarker"]


def describe_load_balancer(aws: Aws, name_or_arn: str) -> dict:
    """The load balancer of that name or ARN."""
    given = {"LoadBalancerArns" if name_or_arn.startswith("arn:") else "Names": [name_or_arn]}
    return aws.read("describe_load_balancers", name_or_arn, **given)["LoadBalancers"][0]


def describe_listeners_of(aws: Aws, load_balancer_arn: str) -> list:
    """Every listener of a load balancer."""
    return _all_pages(aws, "describe_listeners", load_balancer_arn, "Listeners", LoadBalancerArn=load_balancer_arn)


def describe_listeners(aws: Aws, arns: list) -> list:
    """The listeners with these ARNs, in one call."""
    return _all_pages(aws, "describe_listeners", ", ".join(arns), "Listeners", ListenerArns=list(arns))


def describe_rules_of(aws: Aws, listener_arn: str) -> list:
    """Every rule of a listener."""
    return _all_pages(aws, "describe_rules", listener_arn, "Rules", ListenerArn=listener_arn)


def describe_rules(aws: Aws, arns: list) -> list:
    """The rules with these ARNs, in one call."""
    return _all_pages(aws, "describe_rules", ", ".join(arns), "Rules", RuleArns=list(arns))


def modify_listener(aws: Aws, arn: str, actions: list, guard=None) -> None:
    """Replace the default actions of a listener, calling ``guard`` before each attempt. Without one, there is one."""
    write = functools.partial(aws.write, before=guard) if guard else aws.write_once
    write("modify_listener", arn, ListenerArn=arn, DefaultActions=actions)


def modify_rule(aws: Aws, arn: str, actions: list, guard=None) -> None:
    """Replace the actions of a rule; see :func:`modify_listener`."""
    write = functools.partial(aws.write, before=guard) if guard else aws.write_once
    write("modify_rule", arn, RuleArn=arn, Actions=actions)


def describe_target_groups(aws: Aws, names_or_arns: list) -> list:
    """Target groups by names or by ARNs (not a mixture), in one call."""
    key = "TargetGroupArns" if names_or_arns[0].startswith("arn:") else "Names"
    resource = ", ".join(names_or_arns)
    return _all_pages(aws, "describe_target_groups", resource, "TargetGroups", **{key: list(names_or_arns)})


def describe_target_group_attributes(aws: Aws, arn: str) -> list:
    """Attributes of a target group, ``[{"Key", "Value"}]``."""
    return aws.read("describe_target_group_attributes", arn, TargetGroupArn=arn)["Attributes"]


def describe_target_health(aws: Aws, arn: str) -> list:
    """Health of every target of a group. One call, however many targets there are."""
    return aws.read("describe_target_health", arn, TargetGroupArn=arn)["TargetHealthDescriptions"]


def register_targets(aws: Aws, arn: str, targets: list, guard=None) -> None:
    """Register all these targets with a group, calling ``guard`` before each attempt."""
    aws.write("register_targets", arn, before=guard, TargetGroupArn=arn, Targets=targets)


def deregister_targets(aws: Aws, arn: str, targets: list, guard=None) -> None:
    """Begin to drain and remove all these targets from a group, calling ``guard`` before each attempt."""
    aws.write("deregister_targets", arn, before=guard, TargetGroupArn=arn, Targets=targets)
