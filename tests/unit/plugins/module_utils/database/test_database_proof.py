"""The judgement on restored copies, on values; tests/integration proves it on real ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database import proof

START = 1_800_000_000.0
TABLE = {"name": "public.audit", "key": "id", "rows": 1000, "checksum": "77", "until": "1000"}
LIVE = {
    "system_identifier": "7001",
    "timeline": 1,
    "databases": ["postgres", "shop"],
    "recorded_at": START,
    "beaten_at": START - 9,
    "archived_wal": "00000001000000000000002A",
    "archived": "0/2A000000",
    "archived_at": START - 20,
    "manifests": [
        {"recorded_at": START - 900, "beat": 10, "chain": "aa", "alembic": "0002", "tables": [TABLE]},
        {"recorded_at": START, "beat": 70, "chain": "bb", "alembic": "0003", "tables": [TABLE]},
    ],
}
SEEN = {
    "system_identifier": "7001",
    "in_recovery": False,
    "databases": ["postgres", "shop"],
    "bytes": 5000,
    "alembic": "0002",
    "recovery": {
        "timeline": 1,
        "lsn": "0/2A0000F8",
        "reason": "no recovery target specified",
        "replayed": "0/2A0000D0",
    },
    "beats": {
        "newest": {"beat": 66, "written_at": START - 60, "lsn": "0/2A000050", "chain": "cc"},
        "count": 66,
        "broken": 0,
        "first_broken": None,
    },
    "chains": {"10": "aa"},
    "tables": [
        {
            "name": "public.audit",
            "recorded_at": START - 900,
            "expected": {"rows": 1000, "checksum": "77"},
            "error": None,
            "rows": 1000,
            "checksum": "77",
            "until": "1000",
        }
    ],
}
TARGET = {"target": START - 55, "started": START}


def changed(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    """A copy with the value at a path such as beats.newest replaced."""
    result = copy.deepcopy(value)
    inner = result
    *way, last = path.split(".")
    for step in way:
        inner = inner[int(step) if isinstance(inner, list) else step]
    inner[last] = new
    return result


def judge(seen: dict = SEEN, live: dict | None = LIVE, damages: list | None = (), **wanted: Any) -> dict:
    return proof.judge(proof.Wanted(live=live, **{"started": START, **wanted}), seen, damages)


def checks(verdict: dict) -> list[str]:
    return [each["check"] for each in verdict["failures"]]


def test_a_good_copy_is_proven():
    verdict = judge()
    assert verdict == {
        "verdict": "proven",
        "failures": [],
        "reached": START - 60,
        "rpo": 60,
        "rows": 1066,
        "bytes": 5000,
    }
    assert proof.summary(verdict) == "proven: data up to 2027-01-15 07:59:00+00, 1066 rows, 5000 bytes"


def test_a_good_copy_of_a_point_in_time_is_proven():
    seen = changed(SEEN, "recovery.reason", "before 2027-01-15 07:59:05+00")
    verdict = judge(seen, **TARGET)
    assert (verdict["failures"], verdict["rpo"]) == ([], None)


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        ("system_identifier", "7002", "cluster"),
        ("databases", ["postgres"], "databases"),
        ("in_recovery", True, "recovery"),
        ("recovery.timeline", 2, "timeline"),
        ("recovery.replayed", "0/29FFFFF8", "archive"),
        ("beats.newest.written_at", START - 301, "rpo"),
        ("beats.broken", 1, "canaries"),
        ("chains", {"10": "ab"}, "canaries"),
        ("tables.0.rows", 999, "tables"),
        ("tables.0.checksum", "78", "tables"),
        ("tables.0.error", "relation does not exist", None),
        ("tables", [], "tables"),
        ("alembic", None, "alembic"),
        ("alembic", "0001", "alembic"),
        ("alembic", "0003", None),
    ],
)
def test_each_fault_of_the_latest_is_told(path: str, value: Any, check: str | None):
    assert checks(judge(changed(SEEN, path, value))) == ([check] if check else [])


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        ("recovery.reason", "no recovery target specified", "recovery"),
        ("beats.newest.written_at", START - 54, "target"),
        ("beats.newest.written_at", START - 55 - 41, "target"),
        ("beats.newest.written_at", START - 55 - 39, None),
        # The point may lie before the last fork and before what was archived last.
        ("recovery.timeline", 2, None),
        ("recovery.replayed", "0/29FFFFF8", None),
    ],
)
def test_each_fault_of_a_point_in_time_is_told(path: str, value: Any, check: str | None):
    seen = changed(SEEN, "recovery.reason", "before 2027-01-15 07:59:05+00")
    assert checks(judge(changed(seen, path, value), **TARGET)) == ([check] if check else [])


def test_damage_is_told_and_shortened():
    verdict = judge(damages=["a", "b", "c", "d"])
    assert checks(verdict) == ["amcheck"]
    assert verdict["failures"][0]["found"] == "a; b; c and 1 more"
    assert "failed: amcheck: expected no damage" in proof.summary(verdict)


def test_what_was_not_read_is_not_proven():
    assert checks(judge(damages=None)) == ["amcheck"]


def test_a_stopped_heartbeat_is_told_as_that():
    live = changed(LIVE, "beaten_at", START - 400)
    assert checks(judge(changed(SEEN, "beats.newest.written_at", START - 400), live)) == ["heartbeat"]


def test_no_beat_at_all_is_told():
    empty = {"newest": None, "count": 0, "broken": 0, "first_broken": None}
    verdict = judge(changed(changed(SEEN, "beats", empty), "chains", {}))
    assert checks(verdict) == ["heartbeat"]
    assert verdict["reached"] is None
    assert verdict["rpo"] is None


def test_the_head_that_was_asked_for_is_the_only_one():
    assert checks(judge(alembic_head="0003")) == ["alembic"]
    assert checks(judge(alembic_head="0002")) == []


def test_without_the_live_database_the_copy_is_judged_by_itself():
    assert judge(live=None, started=None)["verdict"] == "proven"
    assert judge(live=None, started=None)["rpo"] is None
    assert checks(judge(changed(SEEN, "tables.0.rows", 3), live=None)) == ["tables"]


def test_what_cannot_be_known_is_not_held_against_the_copy():
    unknown = {"timeline": None, "lsn": None, "reason": None, "replayed": None}
    assert judge(changed(SEEN, "recovery", unknown))["verdict"] == "proven"
    assert judge(live=changed(LIVE, "archived", None))["verdict"] == "proven"


def test_every_failure_says_what_to_do():
    bad = changed(changed(changed(SEEN, "system_identifier", "1"), "beats.broken", 2), "alembic", "x")
    assert all(all(each.values()) for each in judge(bad, damages=["a"])["failures"])


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("00000001000000000000002A", "0/2A000000"),
        ("0000000200000003000000FF", "3/FF000000"),
        ("00000001000000000000002A.00000028.backup", "0/2A000000"),
        ("00000002.history", None),
        ("00000001000000000000002A.partial", None),
    ],
)
def test_segments_begin_where_their_names_say(name: str, start: str | None):
    assert proof.segment_start(name, 16 * 1024 * 1024) == start
