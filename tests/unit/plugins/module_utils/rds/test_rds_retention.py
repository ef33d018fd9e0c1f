"""Nothing that must stay is ever deleted: rules one by one, any set of snapshots, and five years with failures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import retention, snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import retention as simulation

NOW = datetime(2026, 6, 30, 2, tzinfo=UTC)


def snapshot(days: float = 0, **values) -> Snapshot:
    """One of ours, so many days old."""
    stamp = values.pop("stamp", f"d{days:g}".replace(".", "-"))
    made = Snapshot(
        snapshots.name("db", stamp),
        arn=f"arn:{stamp}",
        instance="db",
        resource_id="db-1",
        created=NOW - timedelta(days=days),
        tags={snapshots.INSTANCE_TAG: "db", snapshots.STAMP_TAG: stamp},
    )
    return replace(made, **values)


def deleted(*found: Snapshot, days: int = 30, needed=()) -> list[str]:
    return [one.arn for one, _reason in retention.plan(list(found), days, needed)["delete"]]


def test_what_is_too_old_goes():
    assert deleted(snapshot(0), snapshot(30), snapshot(31), snapshot(40)) == ["arn:d40", "arn:d31"]


def test_a_day_is_a_day_of_the_calendar():
    # 30 days and some hours, but of the thirtieth day back.
    assert not deleted(snapshot(0), snapshot(30.08))
    assert deleted(snapshot(0), snapshot(30.09)) == ["arn:d30-09"]


def test_age_is_counted_from_the_newest_good_one():
    assert not deleted(snapshot(400), snapshot(380), snapshot(100, status="failed", tags={}))


HELD = {**snapshot(90).tags, snapshots.HOLD_TAG: "audit"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kind": "automated"}, "automated: AWS manages it"),
        ({"kind": "awsbackup"}, "awsbackup: AWS manages it"),
        ({"tags": {}}, "not made by rds_backup"),
        ({"tags": {snapshots.INSTANCE_TAG: "db"}}, "not made by rds_backup"),
        ({"instance": "other"}, "not made by rds_backup"),
        # A final snapshot of an instance that was restored from one of ours inherits its tags.
        ({"identifier": "db-final-2026"}, "not made by rds_backup"),
        ({"tags": HELD}, "held by its tag"),
        ({"tags": {**HELD, snapshots.HOLD_TAG: ""}}, "held by its tag"),
        ({"shared": True}, "shared with another account"),
        ({"status": "creating"}, "creating"),
        ({"status": "copying"}, "copying"),
        ({"created": None}, "of unknown age"),
        ({"resource_id": "db-0"}, "the last good one"),
        ({"status": "failed", "tags": HELD}, "held by its tag"),
    ],
)
def test_what_is_protected_stays_and_says_why(values, reason):
    old = snapshot(90, **values)
    assert not deleted(snapshot(0), old)
    assert (old, reason) in retention.plan([snapshot(0), old], 30)["keep"]


@pytest.mark.parametrize("value", ["false", "No", " FALSE "])
def test_a_hold_can_be_lifted(value):
    assert deleted(snapshot(0), snapshot(90, tags={**HELD, snapshots.HOLD_TAG: value}))


def test_the_source_of_a_copy_stays():
    assert not deleted(snapshot(0), snapshot(90), needed={"arn:d90"})


def test_the_only_good_one_stays_whatever_failed_after_it():
    failed = snapshot(1, status="failed")
    assert deleted(snapshot(200), failed) == [failed.arn]


def test_nothing_of_nothing():
    assert retention.plan([], 30) == {"delete": [], "keep": []}


KINDS = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["manual", "automated", "shared", "public", "awsbackup"]),
        "status": st.sampled_from(["available", "creating", "failed", "deleting", "copying"]),
        "tags": st.sampled_from([{}, HELD]),
        "shared": st.booleans(),
        "identifier": st.sampled_from(["db-final", "rds:db-2026"]),
        "resource_id": st.sampled_from(["db-1", "db-0"]),
        "created": st.none(),
    },
)
AGES = st.lists(st.tuples(st.integers(0, 90), KINDS), max_size=40)


@settings(deadline=None)  # a busy machine is no failure
@given(ages=AGES, days=st.integers(0, 60), data=st.data())
def test_any_set_keeps_what_must_stay(ages, days, data):
    found = [snapshot(age, **{"stamp": f"n{n}", **values}) for n, (age, values) in enumerate(ages)]
    needed = data.draw(st.sets(st.sampled_from([one.arn for one in found]))) if found else set()
    planned = retention.plan(found, days, needed)
    assert simulation.broken(found, [one for one, _reason in planned["delete"]], days, needed) == []
    both = [one.arn for one, _reason in (*planned["delete"], *planned["keep"])]
    assert sorted(both) == sorted(one.arn for one in found)


@settings(deadline=None)
@given(ages=AGES)
def test_after_a_deletion_nothing_is_left_to_delete(ages):
    found = [snapshot(age, **{"stamp": f"n{n}", **values}) for n, (age, values) in enumerate(ages)]
    gone = {one.arn for one, _reason in retention.plan(found, 30)["delete"]}
    assert not deleted(*(one for one in found if one.arn not in gone))


def test_no_days_leave_the_newest_ones_day():
    assert deleted(snapshot(0), snapshot(1), days=0) == ["arn:d1"]


def test_five_years_with_failures():
    outcome = simulation.simulate(seed=1, years=5)
    assert outcome.broken == []
    assert outcome.uncovered == []
    assert outcome.unlike_the_dry_run == 0
    # It was no easy life.
    hardships = ("failed_snapshots", "failed_copies", "failed_runs", "skipped", "killed", "held", "shared", "jumps")
    assert min(getattr(outcome, name) for name in hardships) > 20
    assert outcome.deleted > 2000
    assert outcome.dry_runs > 1000


@pytest.mark.parametrize("rule", ["last", "held", "shared", "unmanaged", "copied", "running"])
def test_the_simulation_sees_a_missing_rule(rule, monkeypatch):
    monkeypatch.setattr(retention, "_protection", simulation.without(rule, retention._protection))
    outcome = simulation.simulate(seed=1, years=3, stop=True)
    assert outcome.broken


def test_the_simulation_sees_too_short_a_retention(monkeypatch):
    plan = retention.plan
    monkeypatch.setattr(retention, "plan", lambda found, days, needed: plan(found, days - 1, needed))
    assert simulation.simulate(seed=1, years=1, stop=True).uncovered
