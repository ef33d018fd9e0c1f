"""What is next is told by what there is, whatever a run before this one came to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import backup_plan, snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.backup_plan import Copy, Wanted, World
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot

NOW = datetime(2026, 6, 30, 2, tzinfo=UTC)
DATABASE = {"Engine": "postgres", "StorageEncrypted": True}
WANTED = Wanted("db", "d0", 30, Copy("us-east-1", "key", 30))


def source(days: int = 0, **values) -> Snapshot:
    made = Snapshot(
        snapshots.name("db", f"d{days}"),
        arn=f"here:d{days}",
        instance="db",
        created=NOW - timedelta(days=days),
        tags={snapshots.INSTANCE_TAG: "db", snapshots.STAMP_TAG: f"d{days}"},
        encrypted=True,
        kms_key="own",
        size=20,
        engine="postgres",
        engine_version="15.7",
    )
    return replace(made, **values)


def copy(days: int = 0, **values) -> Snapshot:
    of = source(days)
    return replace(of, **{"arn": f"there:d{days}", "kms_key": "key", "source": of.arn, **values})


def steps(here: list, there: list, wanted: Wanted = WANTED) -> backup_plan.Steps:
    return backup_plan.steps(World(DATABASE, here, there), wanted)


def test_nothing_there_begins_with_the_snapshot():
    planned = steps([], [])
    assert (planned.create, planned.copy, planned.settled) == (True, [], False)


def test_a_snapshot_that_is_being_made_is_waited_for():
    planned = steps([source(status="creating", progress=40, created=None)], [])
    assert (planned.create, planned.copy, planned.waiting) == (False, [], ["here:d0: creating 40 %"])


def test_a_good_snapshot_is_copied():
    assert [one.arn for one in steps([source()], []).copy] == ["here:d0"]


def test_all_there_is_settled():
    assert steps([source()], [copy()]).settled
    assert steps([source()], [], replace(WANTED, copy=None)).settled


@pytest.mark.parametrize("failed", ["here", "there"])
def test_what_failed_is_deleted_and_made_again(failed):
    here, there = source(status="failed" * (failed == "here") or "available"), copy(status="failed")
    planned = steps([here], [there] if failed == "there" else [])
    assert [one.arn for one in (*planned.failed_here, *planned.failed_there)] == [f"{failed}:d0"]
    assert (planned.create, len(planned.copy)) == ((True, 0) if failed == "here" else (False, 1))


def test_a_failed_one_that_is_held_is_a_problem():
    tags = {**source().tags, snapshots.HOLD_TAG: "why"}
    planned = steps([source(status="failed", tags=tags)], [])
    assert (planned.failed_here, planned.create) == ([], False)
    assert snapshots.HOLD_TAG in planned.problems[0]


@pytest.mark.parametrize("side", [0, 1])
def test_a_name_that_somebody_else_took_is_refused(side):
    world = [[source()], []]
    world[side] = [replace(source(), tags={})]
    with pytest.raises(Failure, match="the name that this backup needs"):
        steps(*world)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"engine": "mysql"}, "engine mysql, not postgres"),
        ({"encrypted": False}, "not encrypted, though the instance is"),
        ({"size": 0}, "of no size"),
        ({"created": None}, "without a time"),
    ],
)
def test_a_snapshot_that_is_not_as_it_must_be_is_a_problem(values, told):
    assert told in steps([source(**values)], []).problems[0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"source": ""}, "copy of none, not here:d0"),
        ({"created": NOW - timedelta(hours=1)}, "data of 2026-06-30 01:00:00+00:00, not 2026-06-30 02:00:00+00:00"),
        ({"engine_version": "14.1"}, "engine postgres 14.1, not postgres 15.7"),
        ({"size": 10}, "size in GiB 10, not 20"),
        ({"kms_key": "other"}, "KMS key other, not key"),
        ({"encrypted": False}, "not encrypted"),
    ],
)
def test_a_copy_that_is_not_as_it_must_be_is_a_problem(values, told):
    assert told in steps([source()], [copy(**values)]).problems[0]


def test_an_older_copy_may_have_the_key_of_its_time():
    assert steps([source(), source(1)], [copy(), copy(1, kms_key="former")]).settled


def test_copies_that_are_missing_in_between_are_made_newest_first():
    here = [source(days) for days in (0, 1, 2, 3, 40)]
    assert [one.arn for one in steps(here, [copy(3)]).copy] == ["here:d0", "here:d1", "here:d2"]


def test_what_was_there_before_copies_began_is_not_copied():
    assert [one.arn for one in steps([source(), source(1)], []).copy] == ["here:d0"]


def test_what_would_be_deleted_again_is_not_copied():
    wanted = replace(WANTED, copy=Copy("us-east-1", "key", 2))
    here = [source(days) for days in range(5)]
    assert [one.arn for one in steps(here, [copy(4), copy(0)], wanted).copy] == ["here:d1", "here:d2"]


def test_the_prediction_names_the_copy_of_what_is_not_there_yet():
    world = World(DATABASE, [source(1)], [copy(2)])
    assert backup_plan.predicted_copies(world, WANTED) == ["db-backup-d1", "db-backup-d0"]


def test_the_source_of_a_copy_that_is_missing_is_not_expired():
    here, there = backup_plan.expired(World(DATABASE, [source(), source(35)], [copy(36)]), replace(WANTED, days=3))
    assert [one.arn for one, _reason in here["delete"]] == ["here:d35"]
    world = World(DATABASE, [source(), source(20)], [copy(25)])
    here, there = backup_plan.expired(world, replace(WANTED, days=3))
    assert (here["delete"], there["delete"]) == ([], [])
    assert (source(20), "being copied") in here["keep"]


def test_a_member_of_a_cluster_is_refused():
    with pytest.raises(Failure, match="no member of a cluster"):
        backup_plan.require_restorable({"DBInstanceIdentifier": "db", "DBClusterIdentifier": "c"}, "us-west-2")


def test_tags_of_a_new_one_leave_out_what_must_not_be_inherited():
    inherited = {"team": "web", "aws:x": "1", snapshots.INSTANCE_TAG: "other", "env": "prod"}
    assert snapshots.tags_of_a_new_one("db", "d0", inherited, {"env": "test"}) == {
        "team": "web",
        "env": "test",
        snapshots.INSTANCE_TAG: "db",
        snapshots.STAMP_TAG: "d0",
    }
    many = {f"k{number:02}": "v" for number in range(50)}
    assert len(snapshots.tags_of_a_new_one("db", "d0", many, {})) == snapshots.MOST_TAGS
