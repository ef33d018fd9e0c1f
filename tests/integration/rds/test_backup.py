"""Backups of an instance: taken, copied, verified, pruned; refused, held up and interrupted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.account import REGION, until
from tests.lab.rds_account import ELSEWHERE


@pytest.fixture
def backup(place: Any, run_module: Any) -> Any:
    """Run the module on the place; `backup(check=…, **options)`."""
    return lambda check=False, **options: run_module("rds_backup", check=check, **place.options(**options))


def calls(ran: Any) -> list[tuple[str, str]]:
    """What the module says that it called, as the journal tells it."""
    return [
        (call["action"], call["resource"].rpartition("-backup-")[0] + "-backup")
        if call["action"] == "CreateDBSnapshot"
        else (call["action"], call["resource"])
        for call in ran.result["calls"]
    ]


def names(deleted: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["region"], one["identifier"]) for one in deleted]


def test_a_backup_is_taken_copied_and_verified(place, backup):
    place.databases.pace(1)
    ran = backup()
    assert not ran.failed, ran.result["msg"]
    assert ran.result["changed"]
    assert not ran.result["pending"]
    snapshot, copy = ran.result["snapshot"], ran.result["snapshot_copy"]
    assert calls(ran) == place.writes()
    assert [action for action, _name in place.writes()] == ["CreateDBSnapshot", "CopyDBSnapshot"]
    assert copy["identifier"] == snapshot["identifier"] == f"{place.name}-backup-{snapshot['created'][:10]}"
    assert (copy["status"], copy["encrypted"], copy["kms_key_id"]) == ("available", True, place.key)
    assert copy["created"] == snapshot["created"]
    assert copy["tags"] == snapshot["tags"]
    assert copy["tags"]["team"] == "web"
    assert [point["region"] for point in ran.result["restorable"]] == [REGION, ELSEWHERE]


def test_a_second_run_changes_nothing(place, backup):
    backup()
    place.control.mark()
    ran = backup()
    assert (ran.failed, ran.result["changed"], place.writes()) == (False, False, [])
    assert "was there already" not in ran.shown


def test_a_run_that_finds_the_days_snapshot_but_a_day_old_says_so(place, backup):
    """As one at 23:00 does when another loop of the module went on past the midnight before."""
    today = backup(copy=None).result["snapshot"]
    place.control.arrange_snapshot(today["arn"], age=22 * 3600)
    ran = backup(copy=None)
    assert (ran.failed, ran.result["changed"]) == (False, False)
    assert "was there already and is 22 hours old" in ran.shown
    assert "was there already" not in backup(copy=None, stamp="another").shown


@pytest.mark.long
def test_tags_of_aws_are_left_out(place, backup):
    place.here.add_tags_to_resource(
        ResourceName=place.databases.about(place.name)["DBInstanceArn"], Tags=[{"Key": "backup:instance", "Value": "x"}]
    )
    old = place.old(0)
    place.control.arrange_snapshot(place.snapshots()[old]["DBSnapshotArn"], tags={"aws:backup:source-resource": "x"})
    place.there.delete_db_snapshot(DBSnapshotIdentifier=old)
    backup(stamp="first")
    ran = backup(stamp=old.rsplit("-backup-", 1)[1])
    assert not ran.failed, ran.result["msg"]
    assert "aws:backup:source-resource" in ran.result["snapshot"]["tags"]
    assert sorted(ran.result["snapshot_copy"]["tags"]) == ["backup:instance", "backup:stamp"]


def test_without_waiting_each_run_does_what_it_can(place, backup):
    old, _young = place.old(40), place.old(1)
    place.databases.pace(60)
    place.control.mark()
    first = backup(wait=False)
    assert first.result["pending"]
    assert first.result["deleted"] == []
    identifier = f"{place.name}-backup-"
    assert [action for action, _name in calls(first)] == ["CreateDBSnapshot"]
    again = backup(wait=False)
    assert (again.result["changed"], again.result["pending"]) == (False, True)
    assert identifier in again.result["waiting_for"][0]
    place.databases.pace(0.2)
    runs = []

    def complete():
        runs.append(backup(wait=False))
        return not runs[-1].result["pending"]

    until(complete, 30)
    assert [action for action, _name in place.writes()] == [
        "CreateDBSnapshot",
        "CopyDBSnapshot",
        "DeleteDBSnapshot",
        "DeleteDBSnapshot",
    ]
    assert names(runs[-1].result["deleted"]) == [(REGION, old), (ELSEWHERE, old)]


def test_the_dry_run_is_the_real_one(place, backup):
    gone = [place.old(days) for days in (50, 45, 32)]  # the newest is a day old
    stay = [place.old(days) for days in (30, 1)]
    held, shared = place.old(60, backup_hold="audit"), place.old(70)
    place.there.modify_db_snapshot_attribute(
        DBSnapshotIdentifier=shared, AttributeName="restore", ValuesToAdd=["210987654321"]
    )
    place.here.create_db_snapshot(DBInstanceIdentifier=place.name, DBSnapshotIdentifier=f"{place.name}-mine")
    place.control.mark()
    dry = backup(check=True)
    assert place.writes() == []
    real = backup()
    assert calls(dry) == calls(real) == place.writes()
    assert names(dry.result["deleted"]) == names(real.result["deleted"])
    assert names(dry.result["deleted"]) == [
        *((REGION, name) for name in (shared, *gone)),
        *((ELSEWHERE, name) for name in gone),
    ]
    assert {*stay, held, f"{place.name}-mine"} < place.snapshots().keys()
    assert {*stay, held, shared} < place.copies().keys()
    reasons = {(one["region"], one["identifier"]): one["reason"] for one in dry.result["kept"]}
    assert reasons[REGION, held] == "held by its tag"
    assert reasons[ELSEWHERE, shared] == "shared with another account"
    assert reasons[REGION, f"{place.name}-mine"] == "not made by rds_backup"


def test_a_copy_that_is_missing_is_made_later(place, backup):
    first, lost = place.old(3), place.old(2)
    place.there.delete_db_snapshot(DBSnapshotIdentifier=lost)
    place.control.mark()
    dry, real = backup(check=True), backup()
    assert calls(dry) == calls(real)
    assert {first, lost} < place.copies().keys()
    assert place.copies()[lost]["KmsKeyId"] == place.key


@pytest.mark.long
def test_what_was_there_before_copies_began_is_not_copied(place, backup):
    old = place.old(2)
    place.there.delete_db_snapshot(DBSnapshotIdentifier=old)
    assert not backup().failed
    assert old not in place.copies()


# Refused before anything changes.


OF_HERE = "arn:aws:kms:us-west-2:123456789012:key/1"
BAD = [
    ({"db_instance_identifier": "no-such"}, "no-such to exist in us-west-2; found DBInstanceNotFound"),
    ({"copy": {"region": ELSEWHERE, "kms_key_id": OF_HERE}}, "a KMS key of us-east-1, where the copy is to be"),
    ({"tags": {"aws:x": "y"}}, "found aws:x"),
    ({"tags": {"backup:stamp": "y"}}, "found backup:stamp"),
    ({"stamp": "A_b"}, "a stamp of lower-case letters"),
    ({"stamp": "a--b"}, "a stamp of lower-case letters"),
    ({"copy": {"region": REGION, "kms_key_id": "k"}}, "another region than us-west-2"),
    ({"copy": {"region": ELSEWHERE, "kms_key_id": "alias/none"}}, "alias/none to exist in us-east-1"),
]


@pytest.mark.parametrize(
    ("options", "said"), [*BAD[:3], *(pytest.param(*each, marks=pytest.mark.long) for each in BAD[3:])]
)
def test_bad_input_is_refused_before_anything_changes(place, backup, options, said):
    ran = backup(**options)
    assert ran.failed
    assert said in ran.result["msg"]
    assert place.writes() == []


def test_a_disabled_key_is_refused(place, backup):
    kms = place.databases.client("kms", ELSEWHERE)
    kms.schedule_key_deletion(KeyId=place.key.rpartition("/")[2])
    assert "to be enabled; found PendingDeletion" in backup().result["msg"]
    assert place.writes() == []


def test_somebody_elses_snapshot_of_that_name_is_left_alone(place, backup):
    place.here.create_db_snapshot(DBInstanceIdentifier=place.name, DBSnapshotIdentifier=f"{place.name}-backup-x")
    place.control.mark()
    ran = backup(stamp="x")
    assert "the name that this backup needs" in ran.result["msg"]
    assert place.writes() == []


@pytest.mark.parametrize("action", ["CreateDBSnapshot", "CopyDBSnapshot", "DescribeDBSnapshots", "DeleteDBSnapshot"])
def test_a_missing_permission_is_named(place, backup, action):
    old, _young = place.old(40), place.old(1)
    with place.control.faulty("deny", service="rds", action=action):
        ran = backup()
    assert ran.failed
    assert f"the permission rds:{action}" in ran.result["msg"]
    assert old in place.snapshots()


# Held up.


def test_throttled_calls_are_tried_again(place, backup):
    with place.control.faulty("throttle", service="rds", probability=0.4, seed=1):
        ran = backup()
    assert not ran.failed, ran.result["msg"]
    assert ran.result["api_calls"]["retried"] > 0
    assert len(place.writes()) == 2


LONG_COPY = pytest.param("CopyDBSnapshot", marks=pytest.mark.long)


@pytest.mark.parametrize("action", ["CreateDBSnapshot", LONG_COPY, "DeleteDBSnapshot"])
def test_a_lost_answer_makes_nothing_twice(place, backup, action):
    old, young = place.old(40), place.old(1)
    place.control.mark()
    with place.control.faulty("lost_answer", service="rds", action=action, count=1):
        ran = backup()
    assert not ran.failed, ran.result["msg"]
    assert [name for name, _resource in place.writes()].count("CreateDBSnapshot") == 1
    assert old not in place.snapshots() | place.copies()
    new = ran.result["snapshot"]["identifier"]
    assert place.snapshots().keys() == place.copies().keys() == {young, new}


LIMITS = [
    pytest.param("CreateDBSnapshot", "Cannot create more than 100 manual snapshots", marks=pytest.mark.long),
    ("CopyDBSnapshot", "Cannot copy more than 20 snapshots across regions"),
]


@pytest.mark.parametrize(("action", "message"), LIMITS)
def test_limits_are_waited_for(place, backup, action, message):
    fault = {"service": "rds", "action": action, "code": "SnapshotQuotaExceeded", "message": message}
    with place.control.faulty("deny", status=400, count=2, **fault):
        ran = backup()
    assert not ran.failed, ran.result["msg"]
    with place.control.faulty("deny", status=400, **fault):
        late = backup(stamp="late", wait_timeout=2)
    assert late.failed
    assert message in late.result["msg"]
    assert "Run again" in late.result["msg"]


def test_at_a_limit_room_is_made_first(place, backup):
    old = place.old(40)
    place.old(1)
    place.control.mark()
    fault = {"service": "rds", "action": "CreateDBSnapshot", "code": "SnapshotQuotaExceeded", "message": "full"}
    with place.control.faulty("deny", status=400, count=1, **fault):
        ran = backup()
    assert not ran.failed, ran.result["msg"]
    assert place.writes()[0] == ("DeleteDBSnapshot", old)
    assert names(ran.result["deleted"]) == [(REGION, old), (ELSEWHERE, old)]


@pytest.mark.long
def test_a_busy_instance_is_waited_for(place, backup):
    place.databases.pace(1.5)
    place.here.reboot_db_instance(DBInstanceIdentifier=place.name)
    assert not backup().failed


# Things that go wrong on the way.


@pytest.mark.long
def test_a_source_that_is_deleted_while_it_is_copied_is_taken_again(place, backup):
    backup(stamp="x", wait=False)
    name = f"{place.name}-backup-x"
    place.databases.taken(name)
    place.databases.pace(60)
    backup(stamp="x", wait=False)
    place.here.delete_db_snapshot(DBSnapshotIdentifier=name)
    place.databases.pace(0.2)
    ran = backup(stamp="x")
    assert not ran.failed, ran.result["msg"]
    assert ran.result["snapshot_copy"]["status"] == ran.result["snapshot"]["status"] == "available"
    assert ran.result["snapshot_copy"]["created"] == ran.result["snapshot"]["created"]
    assert place.copies().keys() == place.snapshots().keys() == {name}


def test_a_copy_with_another_key_is_no_backup(place, backup):
    old = place.old(40)
    backup(stamp="x", copy=None)
    name = f"{place.name}-backup-x"
    other = place.databases.key(ELSEWHERE)
    source = place.snapshots()[name]
    place.there.copy_db_snapshot(
        SourceDBSnapshotIdentifier=source["DBSnapshotArn"],
        TargetDBSnapshotIdentifier=name,
        SourceRegion=REGION,
        KmsKeyId=other,
        Tags=source["TagList"],
    )
    place.control.mark()
    for ran in (backup(stamp="x", check=True), backup(stamp="x")):
        assert ran.failed
        assert f"KMS key {other}, not {place.key}" in ran.result["msg"]
    assert place.writes() == []
    assert old in place.copies()


SECOND = pytest.param("DeleteDBSnapshot", 1, marks=pytest.mark.long)
STEPS = [("CreateDBSnapshot", 0), ("CopyDBSnapshot", 0), ("DeleteDBSnapshot", 0), SECOND]


@pytest.mark.parametrize(("action", "skip"), STEPS)
@pytest.mark.parametrize("kind", [pytest.param("lost_call", marks=pytest.mark.long), "slow_answer"])
def test_a_killed_run_is_finished_by_the_next(place, backup, kill_module, action, skip, kind):
    """Killed before the call takes effect, and right after it."""
    place.databases.pace(0.2)
    old, young = place.old(40), place.old(1)
    place.control.mark()
    kill_module("rds_backup", {"kind": kind, "action": action, "skip": skip}, place.options(stamp="x"))
    ran = backup(stamp="x")
    assert not ran.failed, ran.result["msg"]
    new = f"{place.name}-backup-x"
    assert place.snapshots().keys() == place.copies().keys() == {young, new}
    assert [call for call in place.writes() if call[0] == "CreateDBSnapshot"] == [
        ("CreateDBSnapshot", f"{place.name}-backup")
    ]
    assert [call for call in place.writes() if call[0] == "CopyDBSnapshot"] == [("CopyDBSnapshot", new)]
    assert [call for call in place.writes() if call[0] == "DeleteDBSnapshot"] == [("DeleteDBSnapshot", old)] * 2
    place.control.mark()
    assert not backup(stamp="x").result["changed"]


def test_secrets_are_not_shown(backup):
    assert "lab-secret" not in json.dumps(backup().result)
