# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alb_traffic_info reads."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import api, plan, transformations
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure, require_region
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """The module's result; it is the same in check mode.

    Calls: one for the load balancer, one for its listeners, one for each listener whose rules are asked for, one for
    all target groups, and two for each target group. Neither targets nor rules add to them, page limits aside.

    :raises Failure: when something does not exist, or with ``validate`` when traffic could not be moved.
    """
    aws = connect("elbv2", NORMAL)
    given = [params["load_balancer"], *params["target_groups"].values()]
    require_region([item for item in given if item.startswith("arn:")], aws.region)
    load_balancer = transformations.load_balancer_from_boto(api.describe_load_balancer(aws, params["load_balancer"]))
    forwards, problems = read_forwards(aws, load_balancer, params["listeners"])
    groups = read_target_groups(aws, params["target_groups"])
    problems += plan.find_problems(load_balancer, forwards, groups)
    summary = plan.describe_traffic(forwards, groups)
    for group in groups.values():
        group["attached"] = bool(forwards) and all(group["arn"] in item["weights"] for item in forwards)
        group["weight"] = forwards[0]["weights"].get(group["arn"], 0) if summary["consistent"] else None
    if params["validate"] and problems:
        raise Failure(
            f"{load_balancer['name']} to be ready to move traffic between {', '.join(params['target_groups'])}",
            f"{len(problems)} problems" if len(problems) > 1 else "a problem",
            "; ".join(problems) + ". Nothing was changed.",
            problems=problems,
        )
    return {
        "changed": False,
        "load_balancer": load_balancer,
        "forwards": forwards,
        "target_groups": groups,
        "problems": problems,
        **summary,
    }


def read_forwards(aws: Aws, load_balancer: dict, wanted: list) -> tuple:
    """The forwards that ``wanted`` (``[{"port", "priorities"}]``) names, and what is missing, as sentences."""
    listeners = {item["Port"]: item for item in api.describe_listeners_of(aws, load_balancer["arn"])}
    forwards, problems = [], []
    for want in wanted:
        listener = listeners.get(want["port"])
        if listener is None:
            ports = ", ".join(str(port) for port in sorted(listeners)) or "none"
            problems.append(
                f"expected a listener on port {want['port']} of {load_balancer['name']}; found listeners on: {ports}:"
                " correct the port, or create the listener"
            )
        elif not want["priorities"]:
            forwards.append(_forward(listener, want["port"], None))
        else:
            found, missing = _rules(aws, listener, want)
            forwards += found
            problems += missing
    return forwards, problems


def _rules(aws: Aws, listener: dict, want: dict) -> tuple:
    rules = {rule["Priority"]: rule for rule in api.describe_rules_of(aws, listener["ListenerArn"])}
    forwards, problems = [], []
    for priority in want["priorities"]:
        rule = rules.get(str(priority))
        if rule is None:
            problems.append(
                f"expected {plan.describe_forward(want['port'], priority)}; found rules: {', '.join(sorted(rules))}:"
                " correct the priority, or create the rule"
            )
        else:
            forwards.append(_forward(rule, want["port"], priority))
    return forwards, problems


def _forward(resource: dict, port: int, priority) -> dict:
    actions = transformations.actions_of(resource)
    forward = {"weights": {}, "stickiness": {"enabled": False, "duration": None}}
    if transformations.forward_index(actions) is not None:
        forward = transformations.forward_of(actions)
    return {
        "arn": resource["ListenerArn"] if priority is None else resource["RuleArn"],
        "kind": "listener" if priority is None else "rule",
        "port": port,
        "priority": priority,
        "actions": actions,
        **forward,
    }


def read_target_groups(aws: Aws, wanted: dict) -> dict:
    """The target groups (``{color: name or ARN}``) with their targets."""
    found = {}
    for by_arn in (True, False):
        asked = sorted({item for item in wanted.values() if item.startswith("arn:") == by_arn})
        for group in api.describe_target_groups(aws, asked) if asked else []:
            found[group["TargetGroupArn" if by_arn else "TargetGroupName"]] = group
    groups = {}
    for color, name in wanted.items():
        if name not in found:
            raise Failure(f"a target group {name} in {aws.region}", "none", "Correct target_groups, or create it.")
        group = transformations.target_group_from_boto(found[name])
        del group["load_balancers"]
        group["deregistration_delay"] = transformations.deregistration_delay_of(
            api.describe_target_group_attributes(aws, group["arn"])
        )
        targets = transformations.targets_from_boto(api.describe_target_health(aws, group["arn"]))
        judged = plan.judge_health(targets, 0, 0)
        groups[color] = {**group, "targets": targets, "healthy": judged["healthy"], "total": judged["total"]}
    return groups
