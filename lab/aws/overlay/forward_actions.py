"""Forward actions: which weights and groups AWS accepts, and how it writes them in answers.

Codes and texts marked "ours" are those that nobody has published; the refusal itself is documented.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.elbv2.exceptions import (
    ActionTargetGroupNotFoundError,
    ELBClientError,
    InvalidActionTypeError,
)
from moto.elbv2.models import ALLOWED_ACTIONS, ELBv2Backend, FakeTargetGroup, elbv2_backends

from lab.aws.core import Lab

GROUPS_PER_ACTION = 5
GROUPS_PER_LOAD_BALANCER = 100
WEIGHT_TEXT = "The weight for each target group must be between 0 and 999, inclusive"
FINAL = ("forward", "redirect", "fixed-response")


def install(_lab: Lab) -> None:
    """Check and complete the actions of every call that sets some; tell a group's load balancers from those actions."""
    for method, parameter in (
        ("create_listener", "actions"),
        ("modify_listener", "actions"),
        ("create_rule", "actions"),
        ("modify_rule", "actions"),
    ):
        setattr(ELBv2Backend, method, _checked(getattr(ELBv2Backend, method), parameter))
    describe = ELBv2Backend.describe_target_groups

    def describe_target_groups(self: Any, load_balancer_arn: Any, target_group_arns: Any, names: Any) -> Any:
        # A load balancer that forwards to no group has none, which is no error.
        lone = load_balancer_arn in self.load_balancers and load_balancer_arn not in attached(self).values()
        if lone and not target_group_arns and not names:
            return []
        return describe(self, load_balancer_arn, target_group_arns, names)

    ELBv2Backend.describe_target_groups = describe_target_groups
    FakeTargetGroup.load_balancer_arns = property(_load_balancers, lambda _group, _value: None)


def completed(action: dict[str, Any]) -> dict[str, Any]:
    """Return an action as AWS answers with it; raises ELBClientError for what AWS refuses in the action alone."""
    if action.get("Type") != "forward":
        return action
    config = action.get("ForwardConfig") or {}
    groups = [dict(group) for group in config.get("TargetGroups") or []]
    arn = action.get("TargetGroupArn")
    if not groups and arn:
        groups = [{"TargetGroupArn": arn}]
    if not groups:
        raise ELBClientError("ValidationError", "A target group must be specified for a forward action")  # ours
    if arn and [group["TargetGroupArn"] for group in groups] != [arn]:
        message = "The TargetGroupArn and the ForwardConfig of an action must name one and the same target group"
        raise ELBClientError("ValidationError", message)  # ours
    if len(groups) > GROUPS_PER_ACTION:
        message = f"A forward action can have at most {GROUPS_PER_ACTION} target groups"
        raise ELBClientError("InvalidLoadBalancerAction", message)  # ours
    if len({group["TargetGroupArn"] for group in groups}) < len(groups):
        raise ELBClientError("ValidationError", "A target group can be specified only once in an action")  # ours
    for group in groups:
        if len(groups) == 1:
            group.setdefault("Weight", 1)
        weight = group.get("Weight")
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 999:
            raise ELBClientError("ValidationError", WEIGHT_TEXT)
    complete = {name: value for name, value in action.items() if name != "TargetGroupArn"}
    complete["ForwardConfig"] = {
        "TargetGroups": groups,
        "TargetGroupStickinessConfig": _stickiness(config.get("TargetGroupStickinessConfig") or {}),
    }
    if len(groups) == 1:
        complete["TargetGroupArn"] = groups[0]["TargetGroupArn"]
    return complete


def forwarded(action: Any) -> list[str]:
    """Return the ARNs of the target groups of one of moto's actions."""
    config = action.data.get("ForwardConfig") or {}
    return [group["TargetGroupArn"] for group in config.get("TargetGroups") or []]


def attached(backend: Any) -> dict[str, str]:
    """Return the load balancer's ARN for the ARN of each target group that a listener or rule forwards to."""
    return {
        arn: balancer.arn
        for balancer in backend.load_balancers.values()
        for listener in balancer.listeners.values()
        for rule in listener.rules.values()
        for action in rule.actions
        for arn in forwarded(action)
    }


def _stickiness(config: dict[str, Any]) -> dict[str, Any]:
    if not config.get("Enabled"):
        return {"Enabled": False}
    seconds = config.get("DurationSeconds")
    if not isinstance(seconds, int) or not 1 <= seconds <= 604800:
        message = "The stickiness duration must be between 1 and 604800 seconds"
        raise ELBClientError("ValidationError", message)  # ours
    return {"Enabled": True, "DurationSeconds": seconds}


def _checked(original: Callable[..., Any], parameter: str) -> Callable[..., Any]:
    names = original.__code__.co_varnames[1 : original.__code__.co_argcount]

    def method(self: Any, *positional: Any, **named: Any) -> Any:
        arguments = dict(zip(names, positional, strict=False)) | named
        actions = [_plain(action) for action in arguments.get(parameter) or []]
        if actions:
            arguments[parameter] = _check_all(self, arguments, actions)
        return original(self, **arguments)

    method.__name__ = original.__name__
    return method


def _check_all(backend: Any, arguments: dict[str, Any], actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for index, action in enumerate(actions, start=1):
        if action.get("Type") not in ALLOWED_ACTIONS:
            raise InvalidActionTypeError(action.get("Type"), index)
    if [action["Type"] in FINAL for action in sorted(actions, key=lambda entry: entry.get("Order", 50000))] != [
        *[False] * (len(actions) - 1),
        True,
    ]:
        message = "You must specify exactly one forward, redirect or fixed-response action, as the last action"
        raise ELBClientError("InvalidLoadBalancerAction", message)  # ours
    actions = [completed(action) for action in actions]
    if (balancer := _load_balancer(backend, arguments)) is not None:
        arns = [
            group["TargetGroupArn"]
            for action in actions
            if action["Type"] == "forward"
            for group in action["ForwardConfig"]["TargetGroups"]
        ]
        _check_groups(backend, balancer, arns)
    return actions


def _check_groups(backend: Any, balancer: Any, arns: list[str]) -> None:
    used = attached(backend)
    for arn in arns:
        group = backend.target_groups.get(arn)
        if group is None:
            raise ActionTargetGroupNotFoundError(arn)
        if used.get(arn, balancer.arn) != balancer.arn:
            message = f"The following target groups cannot be associated with more than one load balancer: {arn}"
            raise ELBClientError("TargetGroupAssociationLimit", message)
        if group.vpc_id and group.vpc_id != balancer.vpc_id:
            message = f"Target group '{arn}' is in VPC '{group.vpc_id}', the load balancer in VPC '{balancer.vpc_id}'"
            raise ELBClientError("ValidationError", message)  # ours
        if balancer.type == "application" and group.protocol not in ("HTTP", "HTTPS", None):
            message = (
                f"Target group '{arn}' has protocol {group.protocol}; application load balancers take HTTP or HTTPS"
            )
            raise ELBClientError("IncompatibleProtocols", message)  # ours
    if len({arn for arn, owner in used.items() if owner == balancer.arn} | set(arns)) > GROUPS_PER_LOAD_BALANCER:
        message = "The maximum number of unique target groups per load balancer has been reached"
        raise ELBClientError("TooManyUniqueTargetGroupsPerLoadBalancer", message)  # ours


def _load_balancer(backend: Any, arguments: dict[str, Any]) -> Any:
    """Return the load balancer that a call is about; None when it names none, which moto itself refuses."""
    for name in ("load_balancer_arn", "listener_arn", "arn", "rule_arn"):
        if arn := arguments.get(name):
            path = arn.rpartition(":")[2].split("/")
            prefix = arn.rpartition(":")[0]
            return backend.load_balancers.get(f"{prefix}:loadbalancer/{'/'.join(path[1:4])}")
    return None


def _load_balancers(group: Any) -> list[str]:
    owner = attached(elbv2_backends[group.account_id][group.region_name]).get(group.arn)
    return [owner] if owner else []


def _plain(value: Any) -> Any:
    """Return moto's parsed parameters as plain dicts and lists."""
    if hasattr(value, "items"):
        source = value.original_dict() if hasattr(value, "original_dict") else value
        return {name: _plain(entry) for name, entry in source.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value
