"""RDS instances: states, automated backups, restores."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.rds.tasks import Tasks
from tests.lab.account import until
from tests.lab.rds_account import Databases


def group_name(about: dict[str, Any]) -> str:
    """Return the name of an instance's parameter group."""
    return about["DBParameterGroups"][0]["DBParameterGroupName"]


def test_an_instance_is_created_backed_up_and_then_available(rds: Databases) -> None:
    rds.pace(0.4)
    name = rds.instance(wait=0)
    about = rds.about(name)
    assert about["DBInstanceStatus"] == "creating"
    assert "Endpoint" not in about
    assert "LatestRestorableTime" not in about
    rds.settled(name, "backing-up")
    about = rds.settled(name)
    assert about["Endpoint"]["Port"] == 5432
    assert "LatestRestorableTime" in about


def test_each_instance_has_a_resource_id_of_its_own(rds: Databases) -> None:
    first, second = rds.about(rds.instance()), rds.about(rds.instance())
    assert first["DbiResourceId"] != second["DbiResourceId"]


def test_deleting_and_rebooting_take_time(rds: Databases) -> None:
    name = rds.instance()
    rds.pace(0.3)
    rds.here.reboot_db_instance(DBInstanceIdentifier=name)
    assert rds.about(name)["DBInstanceStatus"] == "rebooting"
    with pytest.raises(ClientError, match="InvalidDBInstanceState"):
        rds.here.reboot_db_instance(DBInstanceIdentifier=name)
    rds.settled(name)
    rds.here.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    assert rds.about(name)["DBInstanceStatus"] == "deleting"
    with pytest.raises(ClientError, match="is already being deleted"):
        rds.here.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    until(lambda: rds.gone(name))


def test_a_change_makes_an_instance_modifying(rds: Databases) -> None:
    name = rds.instance()
    rds.pace(0.3)
    rds.here.modify_db_instance(DBInstanceIdentifier=name, AllocatedStorage=30, ApplyImmediately=True)
    assert rds.about(name)["DBInstanceStatus"] == "modifying"
    assert rds.settled(name)["AllocatedStorage"] == 30


def test_a_change_waits_for_the_window_unless_applied_immediately(rds: Databases) -> None:
    name = rds.instance()
    rds.here.modify_db_instance(DBInstanceIdentifier=name, DBInstanceClass="db.m5.large")
    about = rds.settled(name)
    assert about["DBInstanceClass"] == "db.t3.micro"
    assert about["PendingModifiedValues"] == {"DBInstanceClass": "db.m5.large"}
    rds.here.modify_db_instance(DBInstanceIdentifier=name, ApplyImmediately=True)
    assert rds.settled(name)["DBInstanceClass"] == "db.m5.large"


def test_stopping_and_starting_take_time(rds: Databases) -> None:
    name = rds.instance()
    rds.pace(0.3)
    rds.here.stop_db_instance(DBInstanceIdentifier=name)
    assert rds.about(name)["DBInstanceStatus"] == "stopping"
    rds.settled(name, "stopped")
    rds.here.start_db_instance(DBInstanceIdentifier=name)
    assert rds.about(name)["DBInstanceStatus"] == "starting"
    rds.settled(name)


def test_the_last_snapshot_is_wanted_or_explicitly_not(rds: Databases) -> None:
    name = rds.instance()
    with pytest.raises(ClientError, match="FinalDBSnapshotIdentifier is required"):
        rds.here.delete_db_instance(DBInstanceIdentifier=name)
    rds.pace(0.3)
    rds.here.delete_db_instance(DBInstanceIdentifier=name, FinalDBSnapshotIdentifier=f"{name}-final")
    assert rds.snapshot_about(f"{name}-final")["Status"] == "creating"
    until(lambda: rds.gone(name))
    final = rds.taken(f"{name}-final")
    assert final["SnapshotType"] == "manual"


@pytest.mark.lab_only
def test_a_protected_instance_is_not_deleted(rds: Databases) -> None:
    name = rds.instance(DeletionProtection=True)
    with pytest.raises(ClientError, match="disable deletion protection"):
        rds.here.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    assert rds.about(name)["DBInstanceStatus"] == "available"


@pytest.mark.parametrize(("asked", "group"), [("17", "default.postgres17"), ("15.14", "default.postgres15")])
def test_the_default_group_follows_the_version(rds: Databases, asked: str, group: str) -> None:
    about = rds.about(rds.instance(EngineVersion=asked))
    assert about["EngineVersion"].startswith(f"{asked.split('.')[0]}.")
    assert group_name(about) == group
    # Fails on stock moto for the second version too: a restore forgets the version there.
    restored = "restored-version"
    rds.here.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier=restored, DBSnapshotIdentifier=rds.snapshot(about["DBInstanceIdentifier"])
    )
    assert "Endpoint" not in rds.about(restored) or rds.about(restored)["DBInstanceStatus"] == "available"
    assert group_name(rds.settled(restored)) == group
    rds.pace(60)
    rds.here.reboot_db_instance(DBInstanceIdentifier=restored)
    assert rds.about(restored)["DBInstanceStatus"] == "rebooting"


def test_a_restored_instance_takes_nothing_over_unasked(rds: Databases) -> None:
    rds.here.create_db_parameter_group(
        DBParameterGroupName="own", DBParameterGroupFamily="postgres15", Description="own"
    )
    source = rds.instance(DBParameterGroupName="own", DeletionProtection=True, Tags=[{"Key": "a", "Value": "b"}])
    snapshot = rds.snapshot(source, Tags=[{"Key": "from", "Value": "snapshot"}])
    rds.here.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier="plain", DBSnapshotIdentifier=snapshot, PubliclyAccessible=False
    )
    rds.here.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier=source, TargetDBInstanceIdentifier="plain-time", UseLatestRestorableTime=True
    )
    for name in ("plain", "plain-time"):
        about = rds.settled(name)
        assert group_name(about) == "default.postgres15"
        assert about["DeletionProtection"] is False
        assert "ReadReplicaSourceDBInstanceIdentifier" not in about
    assert rds.about("plain").get("PubliclyAccessible") is False
    assert rds.about("plain")["TagList"] == [{"Key": "from", "Value": "snapshot"}]


def test_a_restored_instance_has_what_was_asked_for(rds: Databases) -> None:
    ec2 = rds.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{n}.0/24", AvailabilityZone=f"us-west-2{zone}")["Subnet"][
            "SubnetId"
        ]
        for n, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="drill", Description="drill", VpcId=vpc)["GroupId"]
    rds.here.create_db_subnet_group(DBSubnetGroupName="drill", DBSubnetGroupDescription="d", SubnetIds=subnets)
    rds.here.create_db_parameter_group(
        DBParameterGroupName="drill", DBParameterGroupFamily="postgres15", Description="d"
    )
    source = rds.instance()
    options = {
        "DBParameterGroupName": "drill",
        "DBSubnetGroupName": "drill",
        "VpcSecurityGroupIds": [group],
        "PubliclyAccessible": False,
        "BackupRetentionPeriod": 0,
        "Tags": [{"Key": "drill", "Value": "yes"}],
    }
    rds.here.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier="drill-1", DBSnapshotIdentifier=rds.snapshot(source), **options
    )
    rds.here.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier=source, TargetDBInstanceIdentifier="drill-2", UseLatestRestorableTime=True, **options
    )
    for name in ("drill-1", "drill-2"):
        about = rds.settled(name)
        assert group_name(about) == "drill"
        assert about["DBSubnetGroup"]["DBSubnetGroupName"] == "drill"
        assert [one["VpcSecurityGroupId"] for one in about["VpcSecurityGroups"]] == [group]
        assert about.get("PubliclyAccessible") is False
        assert about["BackupRetentionPeriod"] == 0
        assert about["TagList"] == [{"Key": "drill", "Value": "yes"}]
    with pytest.raises(ClientError, match="Invalid security group"):
        rds.here.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier="drill-3", DBSnapshotIdentifier=rds.snapshot(source), VpcSecurityGroupIds=["sg-0"]
        )


def test_the_latest_restorable_time_moves_on_behind_the_clock(rds: Databases) -> None:
    with rds.archiving(2):
        name = rds.instance()
        first = rds.about(name)["LatestRestorableTime"]
        assert first == until(lambda: rds.about(name)["LatestRestorableTime"], 1)
        later = until(lambda: (now := rds.about(name)["LatestRestorableTime"]) > first and now)
    assert later <= datetime.now(UTC)
    assert later.microsecond == 0


def test_without_automated_backups_there_is_no_restore_to_a_time(rds: Databases) -> None:
    name = rds.instance(BackupRetentionPeriod=0)
    assert "LatestRestorableTime" not in rds.about(name)
    assert not rds.here.describe_db_instance_automated_backups(DBInstanceIdentifier=name)["DBInstanceAutomatedBackups"]
    with pytest.raises(ClientError, match="PointInTimeRestoreNotEnabled"):
        rds.here.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier=name, TargetDBInstanceIdentifier="never", UseLatestRestorableTime=True
        )


def test_a_restore_lies_within_the_window(rds: Databases) -> None:
    name = rds.instance()
    times = {"SourceDBInstanceIdentifier": name, "TargetDBInstanceIdentifier": "never"}
    now = datetime.now(UTC)
    for moment in (now + timedelta(hours=1), now - timedelta(hours=1)):
        with pytest.raises(ClientError, match="not within the restorable window"):
            rds.here.restore_db_instance_to_point_in_time(**times, RestoreTime=moment)
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        rds.here.restore_db_instance_to_point_in_time(**times)


def test_automated_backups_tell_their_window_and_may_outlive_the_instance(rds: Databases) -> None:
    name = rds.instance(BackupRetentionPeriod=7)
    resource = rds.about(name)["DbiResourceId"]

    def backups() -> list[dict[str, Any]]:
        return rds.here.describe_db_instance_automated_backups(DbiResourceId=resource)["DBInstanceAutomatedBackups"]

    about = backups()[0]
    assert about["Status"] == "active"
    assert about.get("DbiResourceId") == resource
    assert about["RestoreWindow"]["EarliestTime"] <= about["RestoreWindow"]["LatestTime"]
    rds.here.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True, DeleteAutomatedBackups=False)
    until(lambda: rds.gone(name))
    assert backups()[0]["Status"] == "retained"
    rds.here.restore_db_instance_to_point_in_time(
        SourceDbiResourceId=resource, TargetDBInstanceIdentifier="revived", UseLatestRestorableTime=True
    )
    assert rds.settled("revived")["MasterUsername"] == "master"
    rds.here.delete_db_instance_automated_backup(DbiResourceId=resource)
    assert backups() == []
    left = rds.here.describe_db_snapshots(SnapshotType="automated")["DBSnapshots"]
    assert resource not in {one["DbiResourceId"] for one in left}


def test_automated_backups_go_with_the_instance_and_with_the_retention(rds: Databases) -> None:
    name = rds.instance()

    def automated() -> list[str]:
        answer = rds.here.describe_db_snapshots(DBInstanceIdentifier=name, SnapshotType="automated")
        return [one["DBSnapshotIdentifier"] for one in answer["DBSnapshots"]]

    assert len(automated()) == 1
    rds.here.modify_db_instance(DBInstanceIdentifier=name, BackupRetentionPeriod=0, ApplyImmediately=True)
    rds.settled(name)
    assert automated() == []
    rds.here.modify_db_instance(DBInstanceIdentifier=name, BackupRetentionPeriod=3, ApplyImmediately=True)
    rds.settled(name)
    until(automated)
    rds.here.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    until(lambda: rds.gone(name))
    assert automated() == []


def test_regions_know_nothing_of_each_other(rds: Databases) -> None:
    name = rds.instance()
    assert rds.there.describe_db_instances()["DBInstances"] == []
    assert rds.about(name)["DBInstanceArn"].split(":")[3] == "us-west-2"
    with pytest.raises(ClientError, match=r"aws:"):
        rds.here.add_tags_to_resource(
            ResourceName=rds.about(name)["DBInstanceArn"], Tags=[{"Key": "aws:x", "Value": ""}]
        )


def test_a_task_takes_its_time_and_its_work() -> None:
    now, log = [0.0], []
    tasks = Tasks(lambda: 10, clock=lambda: now[0])
    first = tasks.start("first", lambda *result: log.append(result), work=lambda: 42)
    tasks.start("second", lambda *result: log.append(result), after=first)
    assert tasks.progress("first") == 0
    tasks.turn()
    now[0] = 5.0
    tasks.turn()
    assert (tasks.progress("first"), tasks.progress("second"), log) == (50, 0, [])
    now[0] = 10.0
    until(lambda: tasks.turn() or log == [(42, None)])
    assert tasks.progress("second") == 0
    now[0] = 20.0
    tasks.turn()
    assert len(log) == 2
    assert tasks.progress("second") is None


def test_work_that_fails_is_told() -> None:
    log: list[Any] = []
    tasks = Tasks(lambda: 0)
    tasks.start("one", lambda result, error: log.append((result, str(error))), work=lambda: 1 // 0)
    started = time.monotonic()
    until(lambda: tasks.turn() or log)
    assert log == [(None, "integer division or modulo by zero")]
    assert time.monotonic() - started < 1
