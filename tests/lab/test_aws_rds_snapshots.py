"""RDS snapshots and copies: progress, queues, keys, quotas, tags."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.lab.account import REGION, until
from tests.lab.rds_account import ELSEWHERE, Databases


@pytest.fixture
def encrypted(rds: Databases) -> str:
    """The name of a snapshot of an encrypted instance."""
    return rds.snapshot(rds.instance(StorageEncrypted=True, KmsKeyId=rds.key(REGION)))


def test_a_snapshot_takes_time_and_tells_how_far_it_is(rds: Databases) -> None:
    name = rds.instance()
    rds.pace(0.6)
    snapshot = rds.snapshot(name, wait=False)
    about = rds.snapshot_about(snapshot)
    assert about["Status"] == "creating"
    assert about["PercentProgress"] < 50
    assert "SnapshotCreateTime" not in about
    assert rds.about(name)["DBInstanceStatus"] == "backing-up"
    until(lambda: 50 <= rds.snapshot_about(snapshot)["PercentProgress"] < 100)
    about = rds.taken(snapshot)
    assert about["PercentProgress"] == 100
    assert about["SnapshotCreateTime"] == about["OriginalSnapshotCreateTime"]
    assert rds.about(name)["DBInstanceStatus"] == "available"


def test_an_instance_has_one_snapshot_taken_at_a_time(rds: Databases) -> None:
    name = rds.instance()
    rds.pace(0.3)
    rds.snapshot(name, wait=False)
    with pytest.raises(ClientError, match="not currently in the available state"):
        rds.snapshot(name, wait=False)


def test_a_snapshot_under_way_can_not_be_used(rds: Databases) -> None:
    rds.pace(0)
    name = rds.instance()
    rds.pace(0.5)
    snapshot = rds.snapshot(name, wait=False)
    for call, arguments in (
        (rds.here.delete_db_snapshot, {"DBSnapshotIdentifier": snapshot}),
        (
            rds.here.copy_db_snapshot,
            {"SourceDBSnapshotIdentifier": snapshot, "TargetDBSnapshotIdentifier": "never"},
        ),
        (
            rds.here.restore_db_instance_from_db_snapshot,
            {"DBSnapshotIdentifier": snapshot, "DBInstanceIdentifier": "never"},
        ),
    ):
        with pytest.raises(ClientError, match="InvalidDBSnapshotState"):
            call(**arguments)
    rds.taken(snapshot)


def test_a_copy_tells_where_it_comes_from(rds: Databases) -> None:
    source = rds.snapshot(rds.instance())
    original = rds.snapshot_about(source)
    time.sleep(1.1)
    copied = rds.snapshot_about(rds.copy(source), rds.there)
    assert copied.get("SourceRegion") == REGION
    assert copied["SourceDBSnapshotIdentifier"] == original["DBSnapshotArn"]
    assert copied["OriginalSnapshotCreateTime"] == original["OriginalSnapshotCreateTime"]
    assert copied["SnapshotCreateTime"] > original["SnapshotCreateTime"]
    assert copied["SnapshotType"] == "manual"
    assert copied["DBSnapshotArn"].split(":")[3] == ELSEWHERE


def test_copies_of_one_instance_wait_for_each_other(rds: Databases) -> None:
    name, other = rds.instance(), rds.instance()
    source, elsewhere = rds.snapshot(name), rds.snapshot(other)
    rds.pace(0.6)
    first, second = (rds.copy(source, wait=False) for _ in range(2))
    third = rds.copy(elsewhere, wait=False)
    until(lambda: rds.snapshot_about(first, rds.there).get("PercentProgress", 0) > 0, 2)
    waiting = rds.snapshot_about(second, rds.there)
    assert (waiting["Status"], waiting["PercentProgress"]) == ("pending", 0)
    assert rds.snapshot_about(third, rds.there)["Status"] == "creating"
    rds.taken(first, client=rds.there)
    assert rds.snapshot_about(second, rds.there)["Status"] in ("pending", "creating")
    rds.taken(second, client=rds.there)


def test_an_encrypted_snapshot_is_copied_with_a_key_of_the_destination(rds: Databases, encrypted: str) -> None:
    with pytest.raises(ClientError, match="Must specify new KMS key for cross region encrypted snapshot copy"):
        rds.copy(encrypted)
    key = rds.key(ELSEWHERE)
    copied = rds.snapshot_about(rds.copy(encrypted, KmsKeyId=key), rds.there)
    assert (copied["Encrypted"], copied["KmsKeyId"]) == (True, key)


def test_a_key_that_is_not_usable_in_the_destination_is_refused(rds: Databases, encrypted: str) -> None:
    kms, disabled = rds.client("kms", ELSEWHERE), rds.key(ELSEWHERE)
    kms.disable_key(KeyId=disabled.rpartition("/")[2])
    source = rds.key(REGION)
    # An alias that there is in both regions names the key of one.
    for region, target in ((REGION, source), (ELSEWHERE, rds.key(ELSEWHERE))):
        rds.client("kms", region).create_alias(AliasName="alias/both", TargetKeyId=target)
    alias = f"{source.partition(':key/')[0]}:alias/both"
    for key in (disabled, source, source.rpartition("/")[2], "alias/none", alias):
        with pytest.raises(ClientError, match="KMSKeyNotAccessibleFault"):
            rds.copy(encrypted, KmsKeyId=key)


@pytest.mark.lab_only
def test_a_key_may_be_named_in_each_way(rds: Databases, encrypted: str) -> None:
    key = rds.key(ELSEWHERE)
    rds.client("kms", ELSEWHERE).create_alias(AliasName="alias/backups", TargetKeyId=key)
    for name in (key, key.rpartition("/")[2], "alias/backups"):
        assert rds.snapshot_about(rds.copy(encrypted, KmsKeyId=name), rds.there)["KmsKeyId"] == key


def test_20_copies_are_under_way_in_a_region_at_most(rds: Databases) -> None:
    source = rds.snapshot(rds.instance())
    rds.pace(60)
    for _ in range(20):
        rds.copy(source, wait=False)
    with pytest.raises(ClientError, match=r"SnapshotQuotaExceeded.*Cannot copy more than 20 snapshots"):
        rds.copy(source, wait=False)
    rds.pace(0)
    until(lambda: all(one["Status"] == "available" for one in rds.there.describe_db_snapshots()["DBSnapshots"]))
    rds.copy(source)


def test_100_manual_snapshots_are_kept_in_a_region_at_most(rds: Databases) -> None:
    name = rds.instance()
    for _ in range(100):
        rds.snapshot(name, wait=False)
    with pytest.raises(ClientError, match=r"SnapshotQuotaExceeded.*100 manual snapshots"):
        rds.snapshot(name, wait=False)
    with pytest.raises(ClientError, match="SnapshotQuotaExceeded"):
        rds.here.delete_db_instance(DBInstanceIdentifier=name, FinalDBSnapshotIdentifier="one-more")
    # The automated one does not count, and a page has 100.
    answer = rds.here.describe_db_snapshots()
    assert len(answer["DBSnapshots"]) == 100
    rest = rds.here.describe_db_snapshots(Marker=answer["Marker"])
    assert len(rest["DBSnapshots"]) == 1
    assert "Marker" not in rest
    rds.copy(rds.here.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"][0]["DBSnapshotIdentifier"])


def test_automated_snapshots_are_not_deleted_by_hand_but_copied(rds: Databases) -> None:
    name = rds.instance()
    automated = rds.here.describe_db_snapshots(DBInstanceIdentifier=name)["DBSnapshots"][0]
    assert automated["SnapshotType"] == "automated"
    assert automated["DBSnapshotIdentifier"].startswith(f"rds:{name}-")
    with pytest.raises(ClientError, match=r"InvalidDBSnapshotState.*automated snapshots cannot be deleted"):
        rds.here.delete_db_snapshot(DBSnapshotIdentifier=automated["DBSnapshotIdentifier"])
    copied = rds.copy(automated["DBSnapshotIdentifier"])
    assert rds.snapshot_about(copied, rds.there)["SnapshotType"] == "manual"


def test_a_copy_fails_when_its_source_is_deleted(rds: Databases) -> None:
    source = rds.snapshot(rds.instance())
    rds.pace(0.5)
    copied = rds.copy(source, wait=False)
    rds.here.delete_db_snapshot(DBSnapshotIdentifier=source)
    rds.taken(copied, "failed", rds.there, 2)


@pytest.mark.lab_only
def test_a_snapshot_that_is_not_there_is_said_so(rds: Databases) -> None:
    for call in (rds.here.delete_db_snapshot, rds.here.describe_db_snapshots):
        with pytest.raises(ClientError) as refusal:
            call(DBSnapshotIdentifier="none")
        assert refusal.value.response["Error"]["Code"] == "DBSnapshotNotFound"
    # The name alone is looked for where the call goes.
    with pytest.raises(ClientError, match="DBSnapshotNotFound"):
        rds.there.copy_db_snapshot(
            SourceDBSnapshotIdentifier=rds.snapshot(rds.instance()), TargetDBSnapshotIdentifier="never"
        )


def tags(rds: Databases, name: str) -> dict[str, Any]:
    """Return the tags of a snapshot in the other region."""
    return {tag["Key"]: tag["Value"] for tag in rds.snapshot_about(name, rds.there)["TagList"]}


def test_tags_are_copied_when_asked_and_given_ones_instead(rds: Databases) -> None:
    name = rds.instance(CopyTagsToSnapshot=True, Tags=[{"Key": "of", "Value": "instance"}])
    source = rds.snapshot(name, Tags=[{"Key": "of", "Value": "snapshot"}])
    assert tags(rds, rds.copy(source)) == {}
    assert tags(rds, rds.copy(source, CopyTags=True)) == {"of": "snapshot"}
    assert tags(rds, rds.copy(source, CopyTags=True, Tags=[{"Key": "own", "Value": "1"}])) == {"own": "1"}


def test_tags_with_the_prefix_of_aws_are_refused(rds: Databases) -> None:
    name = rds.instance()
    source = rds.snapshot(name)
    reserved = [{"Key": "aws:backup", "Value": "1"}]
    with pytest.raises(ClientError, match=r"InvalidParameterValue.*reserved prefix"):
        rds.copy(source, Tags=reserved)
    with pytest.raises(ClientError, match=r"InvalidParameterValue.*reserved prefix"):
        rds.snapshot(name, Tags=reserved)


@pytest.mark.lab_only
def test_age_and_tags_of_aws_can_be_arranged(rds: Databases) -> None:
    source = rds.snapshot(rds.instance())
    about = rds.snapshot_about(source)
    rds.control.arrange_snapshot(about["DBSnapshotArn"], age=86400, tags={"aws:backup": "1"})
    later = rds.snapshot_about(source)
    assert (about["SnapshotCreateTime"] - later["SnapshotCreateTime"]).total_seconds() == pytest.approx(86400, abs=5)
    assert later["TagList"] == [{"Key": "aws:backup", "Value": "1"}]
    assert tags(rds, rds.copy(source, CopyTags=True)) == {}


@pytest.mark.lab_only
def test_a_snapshot_is_shared_with_accounts(rds: Databases) -> None:
    source = rds.snapshot(rds.instance())
    rds.here.modify_db_snapshot_attribute(
        DBSnapshotIdentifier=source, AttributeName="restore", ValuesToAdd=["210987654321"]
    )
    answer = rds.here.describe_db_snapshot_attributes(DBSnapshotIdentifier=source)
    attributes = answer["DBSnapshotAttributesResult"]["DBSnapshotAttributes"]
    assert attributes == [{"AttributeName": "restore", "AttributeValues": ["210987654321"]}]
