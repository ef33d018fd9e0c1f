# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record's form: reading it, refusing what is not one, keeping it small; pure."""

from __future__ import annotations

import json

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure

SCHEMA = 1
UNFINISHED = ("preparing", "shifting", "baking", "awaiting_approval", "rolling_back")
FINISHED = ("succeeded", "rolled_back", "aborted")
STATES = ("intended", "applied", "verified")
# Far below what S3 could hold: every mutating call reads it.
MAX_BYTES = 900_000
MAX_DETAIL_BYTES = 4_096
_KEEP_FIRST = 10
_REQUIRED = ("application", "environment", "rollout_id", "version", "status", "token", "forwards", "steps", "audit")


def parse(body: bytes, where: str) -> dict:
    """The record in an object of S3.

    :param where: its address, for the message.
    :raises Failure: when it is no record, or one of a newer collection. It is then never overwritten.
    """
    todo = "Nothing was overwritten. Restore an earlier version of the object, or move it away to begin anew."
    try:
        record = json.loads(body)
    except ValueError as error:
        raise Failure(f"a rollout record in {where}", f"no JSON ({error})", todo) from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if not isinstance(schema, int):
        raise Failure(f"a rollout record in {where}", "JSON without a schema number", todo)
    if schema > SCHEMA:
        raise Failure(
            f"a rollout record of schema {SCHEMA} or older in {where}",
            f"schema {schema}",
            "A newer techcorp.rag_admin wrote it: update the collection here and run again. Nothing was overwritten.",
        )
    missing = [key for key in _REQUIRED if key not in record]
    if missing or record["status"] not in UNFINISHED + FINISHED:
        found = f"none of {', '.join(missing)}" if missing else f"the status {record['status']!r}"
        raise Failure(f"a complete rollout record in {where}", found, todo)
    return record


def serialise(record: dict) -> bytes:
    """The record as it is stored, shortened if it has grown too large.

    The oldest entries of the audit trail but the first few are then replaced by one that counts them.
    """
    body = _dump(record)
    audit = record["audit"]
    while len(body) > MAX_BYTES and len(audit) > _KEEP_FIRST + 2:
        dropped = max(2, (len(audit) - _KEEP_FIRST) // 4)
        gap = audit[_KEEP_FIRST : _KEEP_FIRST + dropped]
        count = sum(entry["detail"]["entries"] if entry["event"] == "omitted" else 1 for entry in gap)
        mark = {"at": gap[-1]["at"], "event": "omitted", "by": gap[-1]["by"], "detail": {"entries": count}}
        audit = [*audit[:_KEEP_FIRST], mark, *audit[_KEEP_FIRST + dropped :]]
        record["audit"] = audit
        body = _dump(record)
    return body


def entry(at: str, event: str, by: str, detail=None) -> dict:
    """One line of the audit trail. A detail that is too long is cut."""
    text = json.dumps(detail, sort_keys=True, default=str)
    if len(text) > MAX_DETAIL_BYTES:
        detail = {"shortened": text[:MAX_DETAIL_BYTES]}
    return {"at": at, "event": event, "by": by, "detail": detail}


def is_unfinished(record: dict | None) -> bool:
    """Whether a rollout is under way or was left behind."""
    return record is not None and record["status"] in UNFINISHED


def rank(position: dict | None) -> int:
    """Orders positions: attach intended is 0, attach applied 1, … first step intended 3, … None is -1."""
    if position is None:
        return -1
    return (position["step"] + 1) * len(STATES) + STATES.index(position["state"])


def describe_position(record: dict) -> str:
    """For people: ``step 2 of 4 (30 %) applied``."""
    position = record.get("position")
    if position is None:
        return "nothing moved yet"
    if position["step"] < 0:
        return f"attaching {record['next']['color']} {position['state']}"
    step = record["steps"][position["step"]]
    return f"step {position['step'] + 1} of {len(record['steps'])} ({step['weight']} %) {position['state']}"


def summary(record: dict | None) -> dict:
    """What a diff shows of a record: no audit trail, no noise."""
    if record is None:
        return {}
    keys = ("rollout_id", "version", "previous_version", "status", "position", "weights", "steps", "bake", "colors")
    lease = record.get("lease")
    return {
        **{key: record.get(key) for key in keys},
        "lease": {"owner": lease["owner"], "token": lease["token"]} if lease else None,
    }


def _dump(record: dict) -> bytes:
    return json.dumps(record, indent=1, sort_keys=True).encode()
