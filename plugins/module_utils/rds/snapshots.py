# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a snapshot is to us: its record, its name, its tags; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure

INSTANCE_TAG = "backup:instance"
STAMP_TAG = "backup:stamp"
HOLD_TAG = "backup:hold"
MOST_TAGS = 50
_OUR_TAGS = "backup:"
_RESERVED_TAGS = "aws:"
_STAMP = re.compile(r"[0-9a-z]+(-[0-9a-z]+)*")
_NOT_HELD = ("false", "no")


@dataclass(frozen=True)
class Snapshot:
    """A DB snapshot of one region.

    :ivar kind: AWS's SnapshotType: manual, automated, awsbackup …
    :ivar created: when the data in it were read, also in a copy; None while AWS does not say.
    :ivar size: GiB. progress: per cent.
    :ivar source: ARN of the snapshot that it is a copy of; empty when it is none.
    """

    identifier: str
    arn: str = ""
    instance: str = ""
    resource_id: str = ""
    kind: str = "manual"
    status: str = "available"
    created: datetime | None = None
    tags: dict = field(default_factory=dict)
    encrypted: bool = False
    kms_key: str = ""
    size: int = 0
    engine: str = ""
    engine_version: str = ""
    progress: int = 0
    source: str = ""
    shared: bool = False

    @property
    def good(self) -> bool:
        """Whether it can be restored."""
        return self.status == "available"

    @property
    def failed(self) -> bool:
        """Whether it will never be good."""
        return self.status == "failed"

    @property
    def running(self) -> bool:
        """Whether it is still being made."""
        return self.status not in ("available", "failed", "deleting")

    @property
    def held(self) -> bool:
        """Whether somebody said that it must stay."""
        return HOLD_TAG in self.tags and str(self.tags[HOLD_TAG]).strip().lower() not in _NOT_HELD

    @property
    def managed(self) -> bool:
        """Whether rds_backup made it: tags alone do not tell, as a final snapshot can inherit them."""
        wanted = name(self.tags.get(INSTANCE_TAG, ""), self.tags.get(STAMP_TAG, ""))
        return self.kind == "manual" and self.identifier == wanted and self.instance == self.tags[INSTANCE_TAG]


def from_boto(item: dict) -> Snapshot:
    """A snapshot as DescribeDBSnapshots has it."""
    return Snapshot(
        identifier=item["DBSnapshotIdentifier"],
        arn=item.get("DBSnapshotArn", ""),
        instance=item.get("DBInstanceIdentifier", ""),
        resource_id=item.get("DbiResourceId", ""),
        kind=item.get("SnapshotType", ""),
        status=item.get("Status", ""),
        created=item.get("OriginalSnapshotCreateTime") or item.get("SnapshotCreateTime"),
        tags=tags_from_boto(item.get("TagList", [])),
        encrypted=bool(item.get("Encrypted")),
        kms_key=item.get("KmsKeyId") or "",
        size=item.get("AllocatedStorage") or 0,
        engine=item.get("Engine", ""),
        engine_version=item.get("EngineVersion", ""),
        progress=item.get("PercentProgress") or 0,
        source=item.get("SourceDBSnapshotIdentifier") or "",
    )


def tags_from_boto(items: list) -> dict:
    """``[{"Key", "Value"}]`` as a dictionary."""
    return {item["Key"]: item.get("Value", "") for item in items}


def tags_to_boto(tags: dict) -> list:
    """A dictionary as ``[{"Key", "Value"}]``."""
    return [{"Key": key, "Value": str(value)} for key, value in sorted(tags.items())]


def name(instance: str, stamp: str) -> str:
    """The identifier of an instance's snapshot and of its copies."""
    return f"{instance}-backup-{stamp}"


def require_stamp(stamp: str) -> None:
    """Refuse a stamp that AWS would not take as the end of an identifier.

    :raises Failure: saying what it may hold.
    """
    if not _STAMP.fullmatch(stamp) or len(stamp) > 64:
        raise Failure(
            "a stamp of lower-case letters, digits and single hyphens between them",
            repr(stamp),
            "Give a date, such as 2026-01-31, or leave it out.",
        )


def tags_of_a_new_one(instance: str, stamp: str, inherited: dict, given: dict) -> dict:
    """Tags of a new snapshot: ours, the operator's, and the instance's as far as there is room.

    :param inherited: the instance's. Those of AWS cannot be set, and ours would say that it was a backup itself.
    :raises Failure: when the operator's are ours or AWS's.
    """
    refused = sorted(key for key in given if key.startswith((_RESERVED_TAGS, _OUR_TAGS)) and key != HOLD_TAG)
    if refused:
        raise Failure(
            f"tags that do not begin with {_RESERVED_TAGS} or {_OUR_TAGS}", ", ".join(refused), "Name them otherwise."
        )
    tags = {**given, INSTANCE_TAG: instance, STAMP_TAG: stamp}
    for key in sorted(inherited.keys() - tags.keys()):
        if len(tags) < MOST_TAGS and not key.startswith((_RESERVED_TAGS, _OUR_TAGS)):
            tags[key] = inherited[key]
    return tags


def tags_of_a_copy(tags: dict) -> dict:
    """What of a snapshot's tags its copy gets."""
    return {key: value for key, value in tags.items() if not key.startswith(_RESERVED_TAGS)}
