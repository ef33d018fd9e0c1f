from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import record as records


def test_a_record_survives_being_stored(record: dict[str, Any]) -> None:
    assert records.parse(records.serialise(record), "s3://b/k") == record


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "no JSON"),
        (b"[]", "without a schema"),
        (b'{"a": 1}', "without a schema"),
        (b'{"schema": 1}', "none of application"),
        (b'{"schema": 2}', "schema 2.*update the collection"),
    ],
)
def test_what_is_no_record_is_refused_and_kept(body: bytes, said: str) -> None:
    with pytest.raises(Failure, match=f"s3://b/k.*{said}"):
        records.parse(body, "s3://b/k")


def test_an_unknown_status_is_refused(record: dict[str, Any]) -> None:
    record["status"] = "dancing"
    with pytest.raises(Failure, match="dancing"):
        records.parse(json.dumps(record).encode(), "s3://b/k")


def test_the_audit_trail_never_outgrows_the_limit(record: dict[str, Any]) -> None:
    for number in range(1000):
        record["audit"].append(records.entry("t", f"event {number}", "alice", {"text": "x" * 2000}))
    body = records.serialise(record)
    kept = json.loads(body)["audit"]
    omitted = [entry for entry in kept if entry["event"] == "omitted"]
    assert len(body) <= records.MAX_BYTES
    assert kept[0]["event"] == "start" and kept[-1]["event"] == "event 999"
    assert len(kept) - len(omitted) + sum(entry["detail"]["entries"] for entry in omitted) == 1001


def test_a_long_detail_is_cut() -> None:
    entry = records.entry("t", "gate", "alice", {"text": "x" * 10_000})
    assert len(entry["detail"]["shortened"]) == records.MAX_DETAIL_BYTES


def test_positions_are_ordered() -> None:
    order = [None] + [{"step": step, "state": state} for step in (-1, 0, 1) for state in records.STATES]
    assert [records.rank(position) for position in order] == list(range(-1, 9))


def test_positions_in_words(record: dict[str, Any]) -> None:
    assert records.describe_position(record) == "nothing moved yet"
    record["position"] = {"step": -1, "state": "intended"}
    assert records.describe_position(record) == "attaching green intended"
    record["position"] = {"step": 1, "state": "applied"}
    assert records.describe_position(record) == "step 2 of 3 (50 %) applied"
