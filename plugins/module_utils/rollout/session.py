# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The four things that the module rollout does: read, begin, record, finish."""

from __future__ import annotations

import uuid

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL, ROLLBACK
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import api, change, clock, owner, plan
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import record as records

_TTL = 600


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """Return the module's result.

    :raises Failure: with what was expected, what was found and what to do.
    """
    place = api.Place(params["bucket"], params["key"] or f"{params['application']}/{params['environment']}.json")
    takes_back = params["state"] == "begun" and params["version"] is None
    return _STATES[params["state"]](connect("s3", ROLLBACK if takes_back else NORMAL), place, params, check_mode)


def _read(aws, place, params, check_mode):
    stored = api.read(aws, place)
    return {"changed": False, **_described(place, stored.record, stored.now)}


def _begin(aws, place, params, check_mode):
    me = owner.identify()
    steps = plan.validate_steps(params["steps"]) if params["version"] is not None else []
    bake = clock.seconds_of(params["bake"], "bake")
    decision = None

    def decide(stored):
        nonlocal decision
        local = clock.from_epoch(aws.retry.clock.time())
        skew = _check_skew(local, stored.now, params)
        lease = stored.record.get("lease") if stored.record else None
        request = plan.Request(
            application=params["application"],
            environment=params["environment"],
            version=params["version"],
            steps=steps,
            bake=bake,
            lease_ttl=params["lease_ttl"] or _TTL,
            on_unfinished=params["on_unfinished"],
            force=params["force"],
            owner=me,
            owner_is_dead=bool(lease) and owner.is_dead(lease["owner"], me),
            rollout_id=f"{stored.now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}",
        )
        decision = plan.begin(stored.record, request, params["traffic"], stored.now)
        decision.warnings += skew
        return decision.record

    def keep_previous(previous):
        if previous and previous["rollout_id"] != decision.record["rollout_id"]:
            api.archive(aws, place, previous)

    done = change.apply(aws, place, decide, check_mode, keep_previous)
    after = done.after
    result = _result(aws, place, done, check_mode)
    result.update(decision=decision.kind, reason=decision.reason, steps=decision.steps)
    result.update(token=after["token"] if done.written else None, bake_left=plan.bake_left(after))
    result["warnings"] = decision.warnings
    return result


def _check_skew(local, remote, params):
    """What to warn of. Only a rollback goes on with a clock that is off: leases are reckoned in S3's time anyway."""
    try:
        clock.check_skew(local, remote, params["max_clock_skew"])
    except Failure as failure:
        if params["version"] is not None:
            raise
        return [str(failure)]
    return []


def _record(aws, place, params, check_mode):
    by = owner.describe(owner.identify())
    changes = {key: params[key] for key in ("position", "status", "weights", "detail", "lease_ttl", "release")}

    def decide(stored):
        return plan.advance(stored.record, params["token"], stored.now, params["event"], by, **changes)

    return _advance(aws, place, params["token"], decide, check_mode)


def _finish(aws, place, params, check_mode):
    by = owner.describe(owner.identify())

    def decide(stored):
        return plan.finish(stored.record, params["token"], params["outcome"], stored.now, by, params["detail"])

    return _advance(aws, place, params["token"], decide, check_mode)


_STATES = {"read": _read, "begun": _begin, "recorded": _record, "finished": _finish}


def _advance(aws, place, token, decide, check_mode):
    if not check_mode:
        return _result(aws, place, change.apply(aws, place, decide, check_mode), check_mode)
    stored = api.read(aws, place)
    if token == (stored.record["token"] if stored.record else 0) + 1:
        # The token that a begin in check mode gave out: what would be recorded was not begun, so it cannot be shown.
        return _result(aws, place, change.Change(stored, stored.record, True), check_mode)
    after = decide(stored)
    return _result(aws, place, change.Change(stored, after or stored.record, after is not None), check_mode)


def _result(aws, place, done, check_mode):
    result = {"changed": done.written, **_described(place, done.after, done.before.now)}
    if done.written:
        result["diff"] = {"before": records.summary(done.before.record), "after": records.summary(done.after)}
    if done.written and check_mode:
        aws.log.calls.append({"action": "PutObject", "resource": place.url})
    return result


def _described(place, record, now):
    lease = record.get("lease") if record else None
    return {
        "location": place.url,
        "rollout": record,
        "unfinished": records.is_unfinished(record),
        "lease_expired": plan.is_expired(lease, now) if lease else None,
        "owner_alive": _alive(lease),
        "position": records.describe_position(record) if record else None,
        "restore": [{"arn": item["arn"], "actions": item["previous_actions"]} for item in record["forwards"]]
        if record
        else [],
    }


def _alive(lease):
    """Whether the owner runs; None for one that cannot be seen from here."""
    if lease is None or not owner.is_visible(lease["owner"], owner.identify()):
        return None
    return not owner.is_gone(lease["owner"])
