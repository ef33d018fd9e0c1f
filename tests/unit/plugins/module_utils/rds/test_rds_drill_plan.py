"""A drill restores what it was told, apart from all else, and deletes nothing that no drill made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import drill_plan
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
PARAMS = {
    "db_instance_identifier": "db",
    "drill_identifier": "db-drill",
    "snapshot_identifier": "",
    "restore_time": "",
    "db_instance_class": "",
    "vpc_security_group_ids": ["sg-drill"],
    "db_subnet_group_name": "drill",
    "db_parameter_group_name": "drill",
}
LIVE = {
    "DBInstanceIdentifier": "db",
    "DBInstanceClass": "db.r6g.large",
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-live"}],
    "LatestRestorableTime": NOW - timedelta(minutes=5),
}


def tagged(expires: str, **tags: str) -> dict:
    tags = {drill_plan.INSTANCE_TAG: "db", drill_plan.EXPIRES_TAG: expires, **tags}
    return {"TagList": [{"Key": key, "Value": value} for key, value in tags.items()]}


def taken(hours: int, **values) -> Snapshot:
    return Snapshot(
        **{"identifier": f"s{hours}", "arn": f"arn:s{hours}", "created": NOW - timedelta(hours=hours), **values}
    )


def test_leftovers_are_those_of_this_name_and_those_whose_time_is_over():
    instances = {
        "db": LIVE,
        "db-drill": tagged("2999-01-01T00:00:00Z"),
        "over": tagged("2026-06-30T11:59:59Z"),
        "running": tagged("2026-06-30T12:00:01Z"),
        "unreadable": tagged("soon"),
        "half": {"TagList": [{"Key": drill_plan.EXPIRES_TAG, "Value": "2020-01-01T00:00:00Z"}]},
    }
    assert drill_plan.leftovers(instances, "db-drill", NOW) == ["db-drill", "over"]


def test_an_instance_that_no_drill_made_is_refused():
    with pytest.raises(Failure, match="or one that a drill made"):
        drill_plan.leftovers({"prod": LIVE}, "prod", NOW)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"drill_identifier": "db"}, "another name"),
        ({"vpc_security_group_ids": []}, "found none"),
        ({"vpc_security_group_ids": ["sg-drill", "sg-live"]}, "sg-live, which db has as well"),
    ],
)
def test_a_drill_that_is_not_apart_is_refused(change, told):
    with pytest.raises(Failure, match=told):
        drill_plan.require_apart(LIVE, {**PARAMS, **change})


def test_the_newest_good_snapshot_is_chosen():
    found = [taken(9), taken(3), taken(1, status="creating"), taken(2, created=None)]
    assert drill_plan.choose(PARAMS, LIVE, found).snapshot.identifier == "s3"
    for wanted in ("s9", "arn:s9"):
        assert drill_plan.choose({**PARAMS, "snapshot_identifier": wanted}, None, found).snapshot.identifier == "s9"
    with pytest.raises(Failure, match="s1 creating"):
        drill_plan.choose({**PARAMS, "snapshot_identifier": "s1"}, LIVE, found)


@pytest.mark.parametrize(
    ("wanted", "at"),
    [("latest", LIVE["LatestRestorableTime"]), ("2026-06-30T09:00:00+02:00", NOW - timedelta(hours=5))],
)
def test_a_time_is_chosen(wanted, at):
    assert drill_plan.choose({**PARAMS, "restore_time": wanted}, LIVE, []).at == at


@pytest.mark.parametrize(
    ("wanted", "source", "told"),
    [
        ("2026-06-30T09:00:00", LIVE, "a time with its zone"),
        ("2026-06-30T12:00:00Z", LIVE, "a time up to 2026-06-30T11:55:00Z"),
        ("latest", {}, "automated backups of db"),
        ("latest", None, "no such instance in this region"),
    ],
)
def test_a_time_that_cannot_be_restored_is_refused(wanted, source, told):
    with pytest.raises(Failure, match=told):
        drill_plan.choose({**PARAMS, "restore_time": wanted}, source, [])


def test_a_stale_backup_is_refused():
    source = drill_plan.choose(PARAMS, LIVE, [taken(26)])
    drill_plan.require_young(source, NOW, 26 * 3600)
    with pytest.raises(Failure, match="93600 s old"):
        drill_plan.require_young(source, NOW, 25 * 3600)


def test_the_copy_is_apart():
    options = drill_plan.options(PARAMS, LIVE)
    assert (options["PubliclyAccessible"], options["DBInstanceClass"]) == (False, "db.r6g.large")
    restored = {"PubliclyAccessible": True, "VpcSecurityGroups": LIVE["VpcSecurityGroups"]}
    assert drill_plan.unlike(restored, PARAMS) == ["publicly accessible", "in the security groups sg-live"]
    with pytest.raises(Failure, match="db_instance_class"):
        drill_plan.options(PARAMS, None)
