# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One function per call about instances; the only place of rds_restore_drill that calls RDS and EC2."""

from __future__ import annotations

from datetime import datetime

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.clock import from_epoch, from_http_date


def describe_instances(aws: Aws) -> tuple[dict, datetime]:
    """All DB instances of the region by identifier, and AWS's time, or ours when it does not tell."""
    found: dict = {}
    params: dict = {}
    while True:
        answer = aws.read("describe_db_instances", "*", **params)
        found.update({item["DBInstanceIdentifier"]: item for item in answer["DBInstances"]})
        if not answer.get("Marker"):
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            return found, from_http_date(headers.get("date")) or from_epoch(aws.retry.clock.time())
        params["Marker"] = answer["Marker"]


def restore_snapshot(aws: Aws, identifier: str, snapshot: str, options: dict, tags: dict) -> None:
    """Begin to restore a snapshot into a new instance."""
    aws.write(
        "restore_db_instance_from_db_snapshot",
        identifier,
        DBInstanceIdentifier=identifier,
        DBSnapshotIdentifier=snapshot,
        Tags=snapshots.tags_to_boto(tags),
        **options,
    )


def restore_time(aws: Aws, identifier: str, source: str, moment: datetime, options: dict, tags: dict) -> None:
    """Begin to restore an instance as it was at a time into a new one."""
    aws.write(
        "restore_db_instance_to_point_in_time",
        identifier,
        SourceDBInstanceIdentifier=source,
        TargetDBInstanceIdentifier=identifier,
        RestoreTime=moment,
        Tags=snapshots.tags_to_boto(tags),
        **options,
    )


def delete_instance(aws: Aws, identifier: str) -> None:
    """Begin to delete an instance and its automated backups, without a final snapshot."""
    aws.write(
        "delete_db_instance",
        identifier,
        DBInstanceIdentifier=identifier,
        SkipFinalSnapshot=True,
        DeleteAutomatedBackups=True,
    )


def describe_security_groups(ec2: Aws, groups: list) -> None:
    """See that security groups exist."""
    ec2.read("describe_security_groups", ", ".join(groups), GroupIds=groups)


def describe_subnet_group(aws: Aws, name: str) -> None:
    """See that a subnet group exists."""
    aws.read("describe_db_subnet_groups", name, DBSubnetGroupName=name)


def describe_parameter_group(aws: Aws, name: str) -> None:
    """See that a parameter group exists."""
    aws.read("describe_db_parameter_groups", name, DBParameterGroupName=name)
