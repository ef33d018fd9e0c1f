# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill restores, and which instances it may delete; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import clock

INSTANCE_TAG = "drill:instance"
SOURCE_TAG = "drill:source"
EXPIRES_TAG = "drill:expires"


@dataclass(frozen=True)
class Source:
    """What is restored: a snapshot, or the instance as it was at a time.

    :ivar at: the point in time that it stands for.
    """

    at: datetime
    snapshot: Snapshot | None = None

    @property
    def name(self) -> str:
        """How it is called in results and tags."""
        return self.snapshot.arn if self.snapshot else f"point in time {clock.to_text(self.at)}"


def is_drill(item: dict) -> bool:
    """Whether an instance was made by a drill and may be deleted."""
    return INSTANCE_TAG in _tags(item) and EXPIRES_TAG in _tags(item)


def leftovers(instances: dict, identifier: str, now: datetime) -> list:
    """Identifiers of what earlier drills left: that of this name, and all whose time is over.

    :raises Failure: when an instance that is no drill's has the name.
    """
    if identifier in instances and not is_drill(instances[identifier]):
        raise Failure(
            f"no instance {identifier}, or one that a drill made",
            f"one without the tags {INSTANCE_TAG} and {EXPIRES_TAG}",
            "A drill deletes its instance: give another drill_identifier.",
        )
    drills = {name: item for name, item in instances.items() if is_drill(item)}
    return [name for name, item in drills.items() if name == identifier or _expired(item, now)]


def require_apart(source: dict | None, params: dict) -> None:
    """Refuse a drill that could be taken for production or reach it.

    :raises Failure: saying which option.
    """
    if params["drill_identifier"] == params["db_instance_identifier"]:
        raise Failure("another name than the instance's in drill_identifier", params["drill_identifier"], "Change it.")
    if not params["vpc_security_group_ids"]:
        raise Failure(
            "security groups of the drill's own in vpc_security_group_ids",
            "none",
            "Make one that only the controller can reach; AWS would use the default one of the VPC.",
        )
    live = {group["VpcSecurityGroupId"] for group in (source or {}).get("VpcSecurityGroups", [])}
    shared = sorted(live & set(params["vpc_security_group_ids"]))
    if shared:
        raise Failure(
            "security groups of the drill's own in vpc_security_group_ids",
            f"{', '.join(shared)}, which {params['db_instance_identifier']} has as well",
            "The application could reach the restored copy: make a security group for drills.",
        )


def choose(params: dict, source: dict | None, found: list) -> Source:
    """What to restore.

    :raises Failure: when there is no such thing.
    """
    instance = params["db_instance_identifier"]
    if params["restore_time"]:
        return _moment(params["restore_time"], source, instance)
    good = [one for one in found if one.good and one.created]
    wanted = params["snapshot_identifier"]
    if wanted:
        good = [one for one in good if wanted in (one.identifier, one.arn)]
    if not good:
        listed = ", ".join(f"{one.identifier} {one.status}" for one in found) or "none"
        raise Failure(
            f"{f'the snapshot {wanted}' if wanted else 'a snapshot'} of {instance} that is available",
            listed,
            "Take a backup (rds_backup), or correct the name or the region.",
        )
    newest = max(good, key=lambda one: (one.created, one.identifier))
    return Source(newest.created, newest)


def require_young(source: Source, now: datetime, limit: float) -> None:
    """Refuse a backup that is too old to be what an operator thinks that there is.

    :raises Failure: with its age.
    """
    age = (now - source.at).total_seconds()
    if age > limit:
        raise Failure(
            f"a backup that is not older than {limit:g} s",
            f"{source.name} of {clock.to_text(source.at)}, {age:.0f} s old",
            "See why no newer backup was taken or copied.",
            verdict="failed",
        )


def options(params: dict, source: dict | None) -> dict:
    """What the restored instance is to be, as boto3 takes it.

    :raises Failure: when its class cannot be known.
    """
    size = params["db_instance_class"] or (source or {}).get("DBInstanceClass")
    if not size:
        raise Failure(
            "db_instance_class, since the instance is not in this region", "none", "Give the class for the drill."
        )
    return {
        "DBInstanceClass": size,
        "DBSubnetGroupName": params["db_subnet_group_name"],
        "DBParameterGroupName": params["db_parameter_group_name"],
        "VpcSecurityGroupIds": params["vpc_security_group_ids"],
        "MultiAZ": False,
        "PubliclyAccessible": False,
        "DeletionProtection": False,
        "AutoMinorVersionUpgrade": False,
        "CopyTagsToSnapshot": False,
    }


def tags(params: dict, source: Source, now: datetime, ttl: float) -> dict:
    """Tags of the restored instance."""
    return {
        INSTANCE_TAG: params["db_instance_identifier"],
        SOURCE_TAG: source.name,
        EXPIRES_TAG: clock.to_text(now + timedelta(seconds=ttl)),
    }


def unlike(item: dict, params: dict) -> list:
    """Where the restored instance is not apart as it was to be."""
    groups = sorted(group["VpcSecurityGroupId"] for group in item.get("VpcSecurityGroups", []))
    found = []
    if item.get("PubliclyAccessible"):
        found.append("publicly accessible")
    if groups != sorted(params["vpc_security_group_ids"]):
        found.append(f"in the security groups {', '.join(groups) or 'none'}")
    return found


def _moment(wanted: str, source: dict | None, instance: str) -> Source:
    latest = (source or {}).get("LatestRestorableTime")
    if latest is None:
        raise Failure(
            f"automated backups of {instance}",
            "no latest restorable time" if source else "no such instance in this region",
            "Set its backup retention period, or restore a snapshot.",
        )
    if wanted == "latest":
        return Source(latest)
    try:
        moment = datetime.fromisoformat(wanted.replace("Z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Failure(
            "latest, or a time with its zone, in restore_time", repr(wanted), "Write it as 2026-01-31T02:00:00Z."
        )
    if moment > latest:
        raise Failure(
            f"a time up to {clock.to_text(latest)} in restore_time", clock.to_text(moment), "Give an earlier one."
        )
    return Source(moment)


def _tags(item: dict) -> dict:
    return snapshots.tags_from_boto(item.get("TagList", []))


def _expired(item: dict, now: datetime) -> bool:
    try:
        return clock.from_text(_tags(item)[EXPIRES_TAG]) < now
    except ValueError:
        return False
