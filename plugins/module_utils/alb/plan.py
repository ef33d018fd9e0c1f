# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do, from what is; pure, so that check mode and the real run cannot disagree."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import transformations
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure, arn_parts

MAX_GROUPS = 5
MAX_WEIGHT = 999
MAX_STICKINESS = 604800

# A target in one of these will not become healthy by waiting.
HOPELESS = frozenset(
    (
        "Target.InvalidState",
        "Target.IpUnusable",
        "Target.HealthCheckDisabled",
        "Target.NotRegistered",
        "Target.NotInUse",
    )
)
_LEAVING = frozenset(("draining", "unhealthy.draining"))


def parse_weights(given: dict, option: str) -> dict:
    """Weights by target group ARN, as integers. ``"90"`` is 90; 0 is a weight as any other.

    :raises Failure: when there are none, too many, one is not an integer from 0 to 999, or all are 0.
    """
    if not given:
        raise Failure(
            f"at least one target group in {option}", "none", "Name each target group that is to carry traffic."
        )
    weights = {}
    for arn, value in given.items():
        if not arn_parts(arn)["resource"].startswith("targetgroup/"):
            raise Failure(
                f"target group ARNs as keys of {option}", str(arn), "Use the ARNs that alb_traffic_info returns."
            )
        weights[arn] = _weight(value, arn, option)
    _require_at_most_five(weights, option)
    if not any(weights.values()):
        raise Failure(
            f"a weight above 0 in {option}",
            "0 for every target group",
            "Nothing would serve requests: give one group weight.",
        )
    return weights


def _weight(value, arn: str, option: str) -> int:
    number = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and value.strip().isdigit():
        number = int(value)
    if number is None or not 0 <= number <= MAX_WEIGHT:
        raise Failure(
            f"an integer from 0 to {MAX_WEIGHT} as the weight of {arn} in {option}",
            repr(value),
            "Weights are proportions: correct it, rounding if need be.",
        )
    return number


def _require_at_most_five(groups, where: str) -> None:
    if len(groups) > MAX_GROUPS:
        raise Failure(
            f"at most {MAX_GROUPS} target groups in {where}, AWS's limit",
            f"{len(groups)}: {', '.join(sorted(groups))}",
            "Remove target groups of weight 0 that nobody needs from the action.",
        )


def parse_stickiness(given):
    """``{"enabled", "duration"}`` (seconds), or None when it is to stay as it is.

    :raises Failure: when it is enabled without a duration that AWS accepts.
    """
    if given is None:
        return None
    if not given["enabled"]:
        return {"enabled": False, "duration": None}
    duration = given.get("duration")
    if duration is None or not 1 <= duration <= MAX_STICKINESS:
        raise Failure(
            f"a stickiness duration from 1 to {MAX_STICKINESS} seconds", repr(duration), "Give stickiness.duration."
        )
    return {"enabled": True, "duration": duration}


def require_forward(arn: str, actions: list) -> None:
    """Refuse a listener or rule whose action does not forward.

    :raises Failure: naming what it does instead.
    """
    if transformations.forward_index(actions) is None:
        kinds = ", ".join(action.get("Type", "?") for action in actions) or "no action"
        raise Failure(
            f"a forward action on {arn}",
            kinds,
            "Only a forward moves traffic by weight: name another rule, or change this one.",
        )


def same_shares(one: dict, other: dict) -> bool:
    """Whether two sets of weights send the same share of requests to each group; ``{"a": 1}`` and ``{"a": 100}`` do.

    A group that is absent is not the same as one of weight 0: only the latter is health-checked.
    """
    total_one, total_other = sum(one.values()), sum(other.values())
    return set(one) == set(other) and all(one[arn] * total_other == other[arn] * total_one for arn in one)


def is_expected(live: dict, expected: dict, declared: dict) -> bool:
    """Whether nobody else wrote the weights: they are what was there before our write, or after it.

    Groups of weight 0 that neither we nor the expectation name belong to somebody else and do not matter. A group that
    is only being attached (declared at 0) may be absent or already there.
    """

    def relevant(weights):
        attaching = {arn: 0 for arn, weight in declared.items() if weight == 0}
        named = {arn: weight for arn, weight in weights.items() if weight or arn in expected or arn in declared}
        return {**attaching, **named}

    return same_shares(relevant(live), relevant(expected)) or same_shares(relevant(live), relevant(declared))


def plan_forward(arn: str, actions: list, weights: dict, stickiness, expected) -> dict:
    """What has to change on one listener or rule.

    Target groups in the action that ``weights`` does not name stay when their weight is 0, and are refused when they
    carry traffic: whose they are is not known here.

    :param actions: the action list as AWS returned it.
    :param weights: integers by target group ARN.
    :param stickiness: as :func:`parse_stickiness` returns it.
    :param expected: weights that the action has to have unless it already has ``weights``; None to accept any.
    :returns: ``arn``, ``before`` and ``after`` (``{"weights", "stickiness"}``), ``actions`` to write (or None),
        and ``previous``: the actions as they were.
    :raises Failure: when writing would harm.
    """
    require_forward(arn, actions)
    before = transformations.forward_of(actions)
    live = before["weights"]
    if expected is not None and not is_expected(live, expected, weights):
        raise Failure(
            f"the weights {_show(expected)} on {arn}",
            f"{_show(live)}: somebody else changed them",
            "Nothing was written. Find out who did and why, then begin again from the weights that are live.",
            foreign_writer={"arn": arn, "expected": expected, "found": live},
        )
    foreign = {group: weight for group, weight in live.items() if weight and group not in weights}
    if foreign:
        raise Failure(
            f"traffic on {arn} to the named target groups only",
            f"{_show(foreign)} as well",
            "Name these groups in weights too (0 takes their traffic away), or leave this action alone.",
        )
    after = {"weights": {**live, **weights}, "stickiness": before["stickiness"] if stickiness is None else stickiness}
    _require_at_most_five(after["weights"], arn)
    changed = before != after
    written = transformations.with_forward(actions, after["weights"], after["stickiness"]) if changed else None
    return {"arn": arn, "before": before, "after": after, "actions": written, "previous": actions}


def _show(weights: dict) -> str:
    return ", ".join(
        f"{arn.split('targetgroup/')[-1].split('/')[0]}={weight}" for arn, weight in sorted(weights.items())
    )


def plan_traffic(forwards: list, weights: dict, stickiness, expected) -> list:
    """:func:`plan_forward` for each ``{"arn", "actions"}``."""
    return [plan_forward(item["arn"], item["actions"], weights, stickiness, expected) for item in forwards]


def plan_restore(restore: list) -> list:
    """What to write to put recorded action lists back, without having read anything.

    :param restore: ``[{"arn", "actions"}]``.
    :returns: ``[{"arn", "actions", "after"}]``.
    :raises Failure: when an entry has no forward action or is not a listener or rule.
    """
    planned = []
    for item in restore:
        transformations.kind_of(item["arn"])
        require_forward(item["arn"], item["actions"])
        actions = transformations.writable(item["actions"])
        planned.append({"arn": item["arn"], "actions": actions, "after": transformations.forward_of(actions)})
    if not planned:
        raise Failure("at least one entry in restore", "none", "Give the actions that the record of the rollout holds.")
    return planned


def diff_of(planned: list) -> dict:
    """Ansible's ``diff`` over all ARNs."""
    return {when: {item["arn"]: item[when] for item in planned if when in item} for when in ("before", "after")}


def action_name(arn: str) -> str:
    """The API action that writes this ARN."""
    return "ModifyRule" if transformations.kind_of(arn) == "rule" else "ModifyListener"


def plan_targets(current: list, wanted: list, state: str, purge: bool) -> dict:
    """Which targets to register and deregister. A draining target counts as absent.

    :param current: as :func:`transformations.targets_from_boto` returns it.
    :param wanted: ``[{"id", "port", "availability_zone"}]`` with ports.
    :param purge: with ``state`` present, deregister what is not wanted.
    :returns: ``register``, ``deregister``, ``before``, ``after`` (the latter two as ``["id:port"]``).
    """
    registered = {_key(target): target for target in staying(current)}
    named = {_key(target): target for target in wanted}
    register, deregister = [], []
    if state == "present":
        register = [target for key, target in named.items() if key not in registered]
        if purge:
            deregister = [target for key, target in registered.items() if key not in named]
    else:
        deregister = [registered[key] for key in named if key in registered]
    removed = {_key(target) for target in deregister}
    after = {key for key in registered if key not in removed} | {_key(target) for target in register}
    return {
        "register": register,
        "deregister": [{"id": target["id"], "port": target["port"]} for target in deregister],
        "before": sorted(_text(key) for key in registered),
        "after": sorted(_text(key) for key in after),
    }


def require_no_traffic(group: str, actions: dict, purged: list) -> None:
    """Refuse to purge targets of a group that carries traffic: they serve, and nothing has replaced them yet.

    :param actions: action lists by ARN of the listener or rule.
    :raises Failure: naming where the group has weight.
    """
    carrying = {}
    for arn, items in actions.items():
        if transformations.forward_index(items) is not None:
            carrying[arn] = transformations.forward_of(items)["weights"].get(group, 0)
    found = [f"weight {weight} on {arn}" for arn, weight in carrying.items() if weight]
    if found:
        raise Failure(
            f"no traffic to {group} before {', '.join(_text(_key(target)) for target in purged)} are purged from it",
            ", ".join(found),
            "Nothing was changed. Take its traffic away first (alb_traffic), or name these targets too.",
        )


def _key(target: dict) -> tuple:
    return (target["id"], target["port"])


def _text(key: tuple) -> str:
    return f"[{key[0]}]:{key[1]}" if ":" in key[0] else f"{key[0]}:{key[1]}"


def staying(targets: list) -> list:
    """Targets that are registered and not on their way out."""
    return [
        target for target in targets if target["state"] not in _LEAVING and target["reason"] != "Target.NotRegistered"
    ]


def judge_health(targets: list, min_healthy: int, min_healthy_percent: int) -> dict:
    """How a group stands against the demand for healthy targets.

    Both demands have to be met; draining targets do not count at all.

    :returns: ``healthy``, ``total``, ``required``, ``met``; ``hopeless``: targets that waiting does not help;
        ``out_of_reach``: whether the demand cannot be met by the others; ``unattached``: whether the group seems not to
        be used by any load balancer (targets whose zone is not enabled look alike but for AWS's words, or for the other
        targets of the group being checked).
    """
    counted = staying(targets)
    total = len(counted)
    healthy = sum(target["state"] == "healthy" for target in counted)
    required = max(min_healthy, -(-total * min_healthy_percent // 100))
    hopeless = [target for target in counted if target["reason"] in HOPELESS]
    unattached = bool(counted) and all(_not_in_use(target) for target in counted)
    return {
        "healthy": healthy,
        "total": total,
        "required": required,
        "met": total > 0 and healthy >= required,
        "hopeless": hopeless,
        "out_of_reach": total - len(hopeless) < required or total == 0,
        "unattached": unattached,
    }


def _not_in_use(target: dict) -> bool:
    return target["reason"] == "Target.NotInUse" and "availability zone" not in (target["description"] or "").lower()


def poll_interval(interval: float, groups: int) -> float:
    """Seconds between two polls so that reads stay at or below one in two seconds, one read per group and poll."""
    return max(interval, 2.0 * groups)


def describe_traffic(forwards: list, groups: dict) -> dict:
    """Summary over all forwards.

    :param forwards: ``[{"weights"}]``.
    :param groups: ``{color: {"arn", "total"}}``.
    :returns: ``consistent``, ``live_color``, ``empty``.
    """
    # Where one names a group of weight 0 and another does not, traffic is divided alike.
    weights = [{arn: weight for arn, weight in item["weights"].items() if weight} for item in forwards]
    consistent = bool(weights) and all(same_shares(weights[0], other) for other in weights)
    carrying = {arn for item in forwards for arn, weight in item["weights"].items() if weight}
    colors = [color for color, group in groups.items() if group["arn"] in carrying]
    live = colors[0] if len(colors) == 1 and len(carrying) == 1 else None
    return {
        "consistent": consistent,
        "live_color": live,
        "empty": bool(colors) and sum(groups[color]["total"] for color in colors) == 0,
    }


def find_problems(load_balancer: dict, forwards: list, groups: dict) -> list:
    """Why traffic could not be moved between these groups on these forwards, as sentences; empty when it can.

    :param load_balancer: ``{"name", "vpc_id"}``.
    :param forwards: ``[{"arn", "port", "priority", "actions", "weights"}]``.
    :param groups: ``{color: target group}``.
    """
    problems = []
    for color, group in groups.items():
        if group["vpc_id"] != load_balancer["vpc_id"]:
            problems.append(
                f"expected target group {group['name']} ({color}) in {load_balancer['vpc_id']}, the VPC of"
                f" {load_balancer['name']}; found it in {group['vpc_id']}: use a target group of that VPC"
            )
    for key, word in (
        ("protocol", "protocol"),
        ("protocol_version", "protocol version"),
        ("target_type", "target type"),
    ):
        found = {color: group[key] for color, group in groups.items()}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{color}={value}" for color, value in found.items())
            problems.append(f"expected one {word} in all target groups; found {listed}: make them alike")
    if len({group["arn"] for group in groups.values()}) < len(groups):
        problems.append(
            "expected a target group of its own for each colour; found one given twice: correct target_groups"
        )
    ours = {group["arn"] for group in groups.values()}
    for item in forwards:
        problems.extend(_forward_problems(item, ours))
    return problems


def _forward_problems(item: dict, ours: set) -> list:
    name = describe_forward(item["port"], item["priority"])
    if transformations.forward_index(item["actions"]) is None:
        kinds = ", ".join(action.get("Type", "?") for action in item["actions"])
        return [f"expected a forward as action of {name}; found {kinds}: name another rule, or change this one"]
    problems = []
    foreign = {arn: weight for arn, weight in item["weights"].items() if weight and arn not in ours}
    if foreign:
        problems.append(
            f"expected {name} to send traffic to the given target groups only; found {_show(foreign)} as well:"
            " take their traffic away first, or name them"
        )
    groups = set(item["weights"]) | ours
    if len(groups) > MAX_GROUPS:
        problems.append(
            f"expected at most {MAX_GROUPS} target groups in {name} with ours added; found {len(groups)}:"
            " remove those of weight 0 that nobody needs"
        )
    return problems


def describe_forward(port: int, priority) -> str:
    """How a listener's default action or a rule is called in messages."""
    return f"the default action of port {port}" if priority is None else f"rule {priority} of port {port}"
