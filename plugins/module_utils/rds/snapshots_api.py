# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One function per call about snapshots; the only place of rds_backup that calls RDS and KMS."""

from __future__ import annotations

from datetime import datetime

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.clock import from_epoch, from_http_date


def describe_instance(aws: Aws, identifier: str) -> tuple[dict, datetime]:
    """The DB instance as AWS has it, and AWS's time, or ours when it does not tell."""
    answer = aws.read("describe_db_instances", identifier, DBInstanceIdentifier=identifier)
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return answer["DBInstances"][0], from_http_date(headers.get("date")) or from_epoch(aws.retry.clock.time())


def describe_snapshots(aws: Aws, instance: str) -> list[Snapshot]:
    """All snapshots of an instance in the client's region, automated ones and copies too."""
    items: list = []
    params: dict = {}
    while True:
        answer = aws.read("describe_db_snapshots", instance, DBInstanceIdentifier=instance, **params)
        items.extend(answer["DBSnapshots"])
        if not answer.get("Marker"):
            return [snapshots.from_boto(item) for item in items]
        params["Marker"] = answer["Marker"]


def is_shared(aws: Aws, identifier: str) -> bool:
    """Whether another account may restore a snapshot."""
    answer = aws.read("describe_db_snapshot_attributes", identifier, DBSnapshotIdentifier=identifier)
    attributes = answer["DBSnapshotAttributesResult"].get("DBSnapshotAttributes", [])
    return any(each["AttributeName"] == "restore" and each.get("AttributeValues") for each in attributes)


def create_snapshot(aws: Aws, identifier: str, instance: str, tags: dict) -> None:
    """Begin a snapshot."""
    aws.write(
        "create_db_snapshot",
        identifier,
        DBSnapshotIdentifier=identifier,
        DBInstanceIdentifier=instance,
        Tags=snapshots.tags_to_boto(tags),
    )


def copy_snapshot(aws: Aws, source: Snapshot, source_region: str, kms_key: str) -> None:
    """Begin a copy from another region into the client's, under the same identifier."""
    aws.write(
        "copy_db_snapshot",
        source.identifier,
        SourceDBSnapshotIdentifier=source.arn,
        TargetDBSnapshotIdentifier=source.identifier,
        KmsKeyId=kms_key,
        Tags=snapshots.tags_to_boto(snapshots.tags_of_a_copy(source.tags)),
        SourceRegion=source_region,
    )


def delete_snapshot(aws: Aws, identifier: str) -> None:
    """Delete a manual snapshot."""
    aws.write("delete_db_snapshot", identifier, DBSnapshotIdentifier=identifier)


def describe_key(kms: Aws, key: str) -> dict:
    """A KMS key by its ID, ARN or alias."""
    return kms.read("describe_key", key, KeyId=key)["KeyMetadata"]
