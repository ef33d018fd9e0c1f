# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do with a rollout, given its record and where traffic goes; pure.

The order in which everything is written makes a kill harmless: intent is recorded, then weights move, then that they
did,
then that the gate passed. So live weights are always those of the last intent or of the one before it, each rule by
itself, or those of before the rollout when a rollback was cut short. Anything else was written by somebody else.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import clock, owner
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import record as records

TOTAL = 100
ATTACH = -1


class FenceLost(Failure):
    """The lease belongs to somebody else by now: whatever we still wanted to change must not be changed."""


@dataclass(frozen=True)
class Request:
    """What a run asks for. ``version`` None means: take the last rollout back."""

    application: str
    environment: str
    version: str | None
    steps: list
    bake: int
    lease_ttl: int
    on_unfinished: str
    force: bool
    owner: dict
    owner_is_dead: bool
    rollout_id: str


@dataclass
class Decision:
    """``kind`` is start, resume, rollback or nothing; ``reason`` is why, for people.

    ``record`` is what to store, None for nothing.
    """

    kind: str
    record: dict | None
    reason: str
    steps: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def validate_steps(steps: list) -> list:
    """Steps with their pauses in seconds.

    :raises Failure: unless weights rise strictly from at least 1 and end at 100.
    """
    todo = "Write for example steps: [{weight: 10, pause: 10m}, {weight: 50, pause: 10m}, {weight: 100}]."
    weights = [step["weight"] for step in steps]
    if not weights:
        raise Failure("at least one step", "an empty list", todo)
    if any(not 1 <= weight <= TOTAL for weight in weights):
        raise Failure("weights of steps from 1 to 100", f"{weights}", todo)
    if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
        raise Failure("weights of steps that rise", f"{weights}", todo)
    if weights[-1] != TOTAL:
        raise Failure("a last step of weight 100", f"{weights}", todo)
    return [
        {
            "weight": step["weight"],
            "pause": clock.seconds_of(step.get("pause"), "steps[].pause"),
            **({"wait_for": step["wait_for"]} if step.get("wait_for") else {}),
        }
        for step in steps
    ]


def shares(weights: dict) -> dict:
    """Which part of the traffic each group gets, without those that get none: attached or not makes no difference."""
    total = sum(int(weight) for weight in weights.values())
    return {arn: Fraction(int(weight), total) for arn, weight in weights.items() if int(weight)} if total else {}


def weights_at(record: dict, step: int) -> dict:
    """Weights of the two groups at a step; -1 is green attached without traffic."""
    weight = 0 if step == ATTACH else record["steps"][step]["weight"]
    return {record["live"]["target_group_arn"]: TOTAL - weight, record["next"]["target_group_arn"]: weight}


def weights_before(record: dict, step: int) -> dict:
    """Weights that must be live before a step."""
    if step == ATTACH:
        return dict(record["forwards"][0]["previous_weights"])
    return weights_at(record, step - 1)


def remaining(record: dict) -> list:
    """Steps that are not verified, each with the weights to set and those expected before."""
    position = record["position"]
    first, state = ATTACH, "pending"
    if position is not None:
        first, state = position["step"], position["state"]
        if state == "verified":
            first, state = first + 1, "pending"
    items = []
    for index in range(first, len(record["steps"])):
        step = {"weight": 0, "pause": 0} if index == ATTACH else record["steps"][index]
        weights = {"weights": weights_at(record, index), "expected_weights": weights_before(record, index)}
        items.append({"index": index, **step, **weights, "state": state if index == first else "pending"})
    return items


def begin(stored: dict | None, request: Request, traffic: dict | None, now: datetime) -> Decision:
    """Start, resume, roll back, or nothing.

    :param stored: the record in S3, None when there is none.
    :param traffic: what alb_traffic_info returned; only a rollback can do without.
    :param now: S3's time.
    :raises Failure: when the lease is held, or what is found cannot be explained, or is not to be touched.
    """
    _check_identity(stored, request)
    _check_lease(stored, request, now)
    if request.version is None:
        return _take_back(stored, request, traffic, now)
    if traffic is None:
        raise Failure(
            "traffic, as alb_traffic_info returns it", "none", "Pass it, or leave version out to take a rollout back."
        )
    if records.is_unfinished(stored):
        return _continue(stored, request, traffic, now)
    return _start(stored, request, traffic, now)


def advance(stored: dict | None, token: int, now: datetime, event: str, by: str, **changes) -> dict:
    """The record after an event, its lease renewed.

    :param changes: ``position``, ``status``, ``weights``, ``detail``, ``lease_ttl``; None for no change.
        ``release`` gives the lease back: somebody else will go on.
    :raises FenceLost: when the token is no longer the lease's.
    :raises Failure: when the position would skip a gate, or the status go back from a rollback.
    """
    check_token(stored, token)
    record = copy.deepcopy(stored)
    position, status = changes.get("position"), changes.get("status")
    if status is not None and stored["status"] == "rolling_back" and status != "rolling_back":
        raise Failure(
            f"rollout {stored['rollout_id']}, which is being rolled back, to be finished as rolled_back",
            f"the status {status}",
            "Finish the rollback; then begin a new rollout.",
        )
    if position is not None:
        _check_move(stored, position)
        record["position"] = dict(position)
    if status is not None:
        record["status"] = status
        if status == "baking":
            record["baking_since"] = clock.to_text(now)
    if changes.get("weights") is not None:
        record["weights"] = {arn: int(weight) for arn, weight in changes["weights"].items()}
    _renew(record, now, changes.get("lease_ttl"))
    if changes.get("release"):
        record["lease"] = None
    detail = {key: changes[key] for key in ("position", "status", "weights", "detail") if changes.get(key) is not None}
    record["audit"].append(records.entry(clock.to_text(now), event, by, detail))
    return record


def finish(stored: dict | None, token: int, outcome: str, now: datetime, by: str, detail=None) -> dict | None:
    """The record when a rollout is over and its lease is released; None when it already is so.

    :raises FenceLost: when the token is no longer the lease's.
    :raises Failure: when it is to succeed before its last step is verified.
    """
    if stored is not None and stored["token"] == token and stored["lease"] is None and stored["status"] == outcome:
        return None
    check_token(stored, token)
    last = {"step": len(stored["steps"]) - 1, "state": "verified"}
    if outcome == "succeeded" and stored["position"] != last:
        raise Failure(
            f"the last step of rollout {stored['rollout_id']} verified before it succeeds",
            records.describe_position(stored),
            "Run the remaining steps and their gates, or finish it as rolled_back or aborted.",
        )
    if outcome == "succeeded" and stored["status"] == "rolling_back":
        raise Failure(
            "a rollback to be finished as rolled_back", "succeeded", "Restore the previous actions, then finish it so."
        )
    record = copy.deepcopy(stored)
    record.update(status=outcome, lease=None, finished_at=clock.to_text(now))
    record["audit"].append(records.entry(clock.to_text(now), outcome, by, detail))
    return record


def check_token(stored: dict | None, token: int) -> None:
    """Refuse whoever lost the lease.

    :raises FenceLost: naming the one who holds it now.
    """
    lease = stored.get("lease") if stored else None
    if lease and lease["token"] == token:
        return
    if stored is None:
        found, holder = "no record at all", None
    elif lease is None:
        found, holder = f"rollout {stored['rollout_id']} {stored['status']}, its lease released", None
    else:
        holder = lease["owner"]
        found = f"token {lease['token']} of {owner.describe(holder)} since {lease['acquired_at']}"
    raise FenceLost(
        f"the lease with our token {token}",
        found,
        "This run was superseded and changes nothing more. See playbooks/status.yml for who deploys now.",
        owner=holder,
        lease_lost=True,
    )


def renewed(stored: dict, now: datetime, ttl: int | None = None) -> dict:
    """The record with its lease prolonged from now on, by its own time to live or the given one (seconds)."""
    record = copy.deepcopy(stored)
    _renew(record, now, ttl)
    return record


def is_expired(lease: dict, now: datetime) -> bool:
    """Whether anybody may take the lease."""
    return now >= clock.from_text(lease["expires_at"])


def needs_renewal(lease: dict, now: datetime) -> bool:
    """Whether two thirds of its time are over."""
    return now >= clock.from_text(lease["expires_at"]) - timedelta(seconds=lease["ttl"] / 3)


def bake_left(record: dict) -> int:
    """Seconds of bake time that remain: all of them until the rollout is over.

    A bake that was cut short begins anew, since nobody watched in between.
    """
    return 0 if record["status"] in records.FINISHED else record["bake"]


def _check_identity(stored, request):
    if stored is None:
        return
    found = (stored["application"], stored["environment"])
    if found != (request.application, request.environment):
        raise Failure(
            f"the record of {request.application} in {request.environment}",
            f"that of {found[0]} in {found[1]}",
            "Two deployments share one key: give each its own.",
        )


def _check_lease(stored, request, now):
    lease = stored.get("lease") if stored else None
    if lease is None or request.force or is_expired(lease, now):
        return
    if owner.same(lease["owner"], request.owner) or request.owner_is_dead:
        return
    raise Failure(
        f"nobody else to deploy {stored['application']} in {stored['environment']}",
        f"rollout {stored['rollout_id']} of {stored['version']} ({stored['status']}), held by "
        f"{owner.describe(lease['owner'])} since {lease['acquired_at']} until {lease['expires_at']} unless renewed",
        "Wait until it has finished. If that run is surely gone, wait until the lease expires, or run with force.",
        owner=lease["owner"],
        since=lease["acquired_at"],
        until=lease["expires_at"],
    )


def _continue(stored, request, traffic, now):
    done = records.describe_position(stored)
    where = f"rollout {stored['rollout_id']} of {stored['version']} ({stored['status']}, {done})"
    if stored["status"] == "rolling_back":
        return _acquired("rollback", stored, request, now, f"{where} was being taken back: that is finished first")
    if request.on_unfinished == "rollback":
        _explain(stored, traffic, request.force)
        return _acquired("rollback", stored, request, now, f"{where} was left unfinished; on_unfinished is rollback")
    if request.on_unfinished == "fail":
        raise Failure(
            "no unfinished rollout",
            f"{where}, begun {stored['started_at']}, last by {stored['audit'][-1]['by']}",
            "Run with on_unfinished resume (the same version) or rollback.",
        )
    if stored["version"] != request.version:
        if stored["position"] is None and _explain(stored, traffic, force=False) == "resume":
            return _start(stored, request, traffic, now)  # nothing has moved: nothing to finish
        raise Failure(
            f"{request.version} to be the version of the unfinished rollout",
            where,
            f"Finish it by running with version {stored['version']}, or take it back with on_unfinished rollback.",
        )
    if _explain(stored, traffic, force=False) == "rollback":
        reason = f"{where} was left unfinished, and live weights are those of before it: its rollback was cut short"
        return _acquired("rollback", stored, request, now, reason)
    decision = _acquired("resume", stored, request, now, f"{where} was left unfinished")
    if request.steps != stored["steps"] and not stored["first"]:
        decision.warnings.append(f"The rollout goes on with the steps it began with, {stored['steps']}.")
    return decision


def _start(stored, request, traffic, now):
    color = traffic["live_color"]
    where = _all_weights(traffic)
    if color is None or not traffic["consistent"]:
        raise Failure(
            "one colour to carry all traffic, in every rule alike, before a rollout begins",
            f"{where}, and no unfinished rollout that explains it",
            "Take the last rollout back (playbooks/rollback.yml), or set the weights to one colour, and run again.",
        )
    versions = {name: dict(value) for name, value in (stored["colors"] if stored else {}).items()}
    live_version = versions.get(color, {}).get("version")
    if live_version == request.version and not traffic["empty"] and not records.is_unfinished(stored):
        return Decision("nothing", None, f"{request.version} is live on {color} already")
    other = next(name for name in sorted(traffic["target_groups"]) if name != color)
    versions.setdefault(color, {"version": None})
    versions[other] = {"version": request.version}
    started = clock.to_text(now)
    fresh = {
        "schema": records.SCHEMA,
        "application": request.application,
        "environment": request.environment,
        "rollout_id": request.rollout_id,
        "version": request.version,
        "previous_version": live_version,
        "status": "preparing",
        "started_at": started,
        "finished_at": None,
        "baking_since": None,
        "first": traffic["empty"],
        "token": stored["token"] if stored else 0,
        "lease": None,
        "forwards": [
            {
                "arn": forward["arn"],
                "kind": forward["kind"],
                "previous_actions": forward["actions"],
                "previous_weights": {arn: int(weight) for arn, weight in forward["weights"].items()},
            }
            for forward in traffic["forwards"]
        ],
        "live": {"color": color, "target_group_arn": traffic["target_groups"][color]["arn"]},
        "next": {"color": other, "target_group_arn": traffic["target_groups"][other]["arn"]},
        "colors": versions,
        # Where nobody is served yet there is nobody to protect: all at once.
        "steps": [{"weight": TOTAL, "pause": 0}] if traffic["empty"] else request.steps,
        "bake": request.bake,
        "position": None,
        "weights": {},
        "audit": [],
        "replaced": _replaced(stored),
    }
    return _acquired("start", fresh, request, now, f"{live_version or 'an unknown version'} is live on {color}")


def _take_back(stored, request, traffic, now):
    if stored is None:
        raise Failure(
            "a rollout to take back", "no record", "See whether bucket, key, application and environment are right."
        )
    where = f"rollout {stored['rollout_id']} of {stored['version']}"
    if _is_aborted_unmoved(stored):
        raise _nothing_moved(stored, where)
    if stored["status"] == "rolled_back":
        if traffic is not None and _is_as_before(stored, traffic):
            return Decision("nothing", None, f"{where} was taken back already, and live weights are those of before it")
        # Without a look at the load balancer nobody knows whether it still is so; to restore twice does no harm.
        reason = f"{where} was taken back already; the weights of before it are restored again"
    elif records.is_unfinished(stored):
        reason = f"{where} ({stored['status']}, {records.describe_position(stored)}) is to be taken back"
    elif stored["first"]:
        raise Failure(
            "a version to go back to",
            f"rollout {stored['rollout_id']}, the first one: before it nobody was served",
            "Deploy a better version instead.",
        )
    else:
        reason = f"{where} ({stored['status']}) is to be taken back"
    _explain(stored, traffic, request.force)
    return _acquired("rollback", stored, request, now, reason)


def _is_aborted_unmoved(stored):
    return stored["status"] == "aborted" and stored["position"] is None


def _nothing_moved(stored, where):
    """What to say instead of restoring what is live anyway."""
    live = f"{stored['previous_version'] or 'what was live before'} on {stored['live']['color']}"
    before = stored.get("replaced") or {}
    version = before.get("previous_version") or "the version that you want back"
    known = f" (it was live before rollout {before['rollout_id']})" if before.get("previous_version") else ""
    return Failure(
        "a rollout that moved traffic, to take it back",
        f"{where}, which was aborted before it moved anything: {live} still gets the traffic",
        f"Deploy {version} again{known}: the colour that had it was being prepared for {stored['version']}.",
    )


def _replaced(stored):
    """What a record says of the rollout before it. One that moved nothing is passed over."""
    if stored is None:
        return None
    if stored["position"] is None:
        return stored.get("replaced")
    return {key: stored.get(key) for key in ("rollout_id", "version", "previous_version", "status")}


def _is_as_before(stored, traffic):
    live = {forward["arn"]: shares(forward["weights"]) for forward in traffic["forwards"]}
    return all(live.get(item["arn"]) == shares(item["previous_weights"]) for item in stored["forwards"])


def _acquired(kind, stored, request, now, reason):
    """Give the record a new lease with the next token, and say so in its audit trail."""
    record = copy.deepcopy(stored)
    previous = record["lease"]
    record["token"] += 1
    at = clock.to_text(now)
    record["lease"] = {
        "owner": request.owner,
        "token": record["token"],
        "ttl": request.lease_ttl,
        "acquired_at": at,
        "expires_at": clock.after(now, request.lease_ttl),
    }
    if kind == "rollback":
        record["status"] = "rolling_back"
        record["finished_at"] = None
    detail = {
        "version": record["version"],
        "token": record["token"],
        "status": record["status"],
        "position": record["position"],
        "reason": reason,
    }
    if previous and not owner.same(previous["owner"], request.owner):
        detail["taken_over_from"] = owner.describe(previous["owner"])
        detail["because"] = (
            "expired" if is_expired(previous, now) else "owner died" if request.owner_is_dead else "forced"
        )
    if kind == "start":
        detail["weights_before"] = {forward["arn"]: forward["previous_weights"] for forward in record["forwards"]}
    record["audit"].append(records.entry(at, kind, owner.describe(request.owner), detail))
    return Decision(kind, record, reason, steps=[] if kind == "rollback" else remaining(record))


def _explain(stored, traffic, force) -> str:
    """Whether live weights say to resume or that a rollback was cut short.

    :raises Failure: when nothing that this rollout did explains them, unless forced.
    """
    if traffic is None:
        return "rollback"
    live = {forward["arn"]: forward["weights"] for forward in traffic["forwards"]}
    position = stored["position"]
    for forward in stored["forwards"]:
        if forward["arn"] not in live:
            raise Failure(
                f"the {forward['kind']} {forward['arn']}, which rollout {stored['rollout_id']} moves, among those read",
                f"{', '.join(live) or 'none'}",
                "Name the same listeners and rules as when it began, or take it back.",
            )
    previous = {forward["arn"]: forward["previous_weights"] for forward in stored["forwards"]}
    allowed = [previous]
    if position is not None:
        allowed = [{arn: weights_at(stored, position["step"]) for arn in previous}]
        if position["state"] == "intended":
            allowed.insert(0, {arn: weights_before(stored, position["step"]) for arn in previous})

    def is_any_of(states):
        return all(any(shares(live[arn]) == shares(state[arn]) for state in states) for arn in previous)

    if is_any_of(allowed):
        return "resume"
    if is_any_of([*allowed, previous]):
        return "rollback"
    if force:
        return "resume"
    expected = " or ".join(dict.fromkeys(str(_by_color(traffic, next(iter(state.values())))) for state in allowed))
    raise Failure(
        f"live weights {expected}, as rollout {stored['rollout_id']} ({records.describe_position(stored)}) left them",
        _all_weights(traffic),
        "Somebody else wrote them. Find out who, set them as expected and run again; or take it back with force.",
    )


def _check_move(stored, position):
    """A step may be intended only when the one before it is verified, and states come in their order.

    ``applied`` may be left out: a gate that passed says more.
    """
    count = len(stored["steps"])
    if not ATTACH <= position["step"] < count or position["state"] not in records.STATES:
        raise Failure(
            f"a step from -1 to {count - 1} in one of the states {', '.join(records.STATES)}",
            f"{position}",
            "Correct it.",
        )
    if stored["status"] in ("rolling_back", *records.FINISHED):
        raise Failure(
            "a rollout that goes forward",
            f"the status {stored['status']}",
            "Finish the rollback; then begin a new rollout.",
        )
    now, then = records.rank(stored["position"]), records.rank(position)
    same_step = stored["position"] is not None and stored["position"]["step"] == position["step"]
    if then not in (now, now + 1) and not (same_step and then > now):
        raise Failure(
            f"the state that follows on: {records.describe_position(stored)}",
            f"{position}",
            "No step is raised without its gate. Begin again (state begun) and do the steps that it returns.",
        )


def _renew(record, now, ttl):
    lease = record["lease"]
    lease["ttl"] = int(ttl or lease["ttl"])
    lease["expires_at"] = clock.after(now, lease["ttl"])


def _by_color(traffic, weights):
    colors = {group["arn"]: color for color, group in traffic["target_groups"].items()}
    return {colors.get(arn, arn): int(weight) for arn, weight in weights.items()}


def _all_weights(traffic):
    found = {forward["arn"]: _by_color(traffic, forward["weights"]) for forward in traffic["forwards"]}
    if len({str(weights) for weights in found.values()}) == 1:
        return f"live weights {next(iter(found.values()))}"
    return "live weights " + ", ".join(f"{weights} in {arn}" for arn, weights in found.items())
