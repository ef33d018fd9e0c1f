# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a backup is still to be done, from what there is; pure, so that each run goes on where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import retention, snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot


@dataclass(frozen=True)
class Copy:
    """Where copies go. ``kms_key`` is the key's ARN, ``days`` for how long they are kept."""

    region: str
    kms_key: str
    days: int


@dataclass(frozen=True)
class Wanted:
    """The backup that is to exist, and for how many days backups are kept in the instance's own region."""

    instance: str
    stamp: str
    days: int
    copy: Copy | None = None

    @property
    def identifier(self) -> str:
        """What the snapshot and its copy are called."""
        return snapshots.name(self.instance, self.stamp)


@dataclass(frozen=True)
class World:
    """The instance as AWS has it, and its snapshots in its own region and in the other one."""

    database: dict
    here: list
    there: list


@dataclass
class Steps:
    """What can be done now, what has to be waited for, and what is wrong. Nothing of it: the backup is complete."""

    failed_here: list = field(default_factory=list)
    failed_there: list = field(default_factory=list)
    create: bool = False
    copy: list = field(default_factory=list)
    waiting: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do or to wait for."""
        return not (self.failed_here or self.failed_there or self.create or self.copy or self.waiting)


def steps(world: World, wanted: Wanted) -> Steps:
    """What is next.

    :raises Failure: when somebody else's snapshot has the backup's name.
    """
    for taken in (_of_name(world.here, wanted.identifier), _of_name(world.there, wanted.identifier)):
        if taken is not None and not taken.managed:
            raise Failure(
                f"no snapshot {taken.arn}, or one with the tags of rds_backup",
                "one without them",
                "Somebody else's snapshot has the name that this backup needs: give another stamp, or remove it.",
            )
    planned = Steps(_discarded(world.here), _discarded(world.there))
    ours = _of_name(world.here, wanted.identifier)
    if ours is None:
        planned.create = True
    elif _ready(ours, planned):
        _verify(ours, _differences(ours, world.database), planned)
    for source in due(world, wanted):
        copy = _of_name(world.there, source.identifier)
        if copy is None:
            planned.copy.append(source)
        elif _ready(copy, planned):
            # An older one may have been made with the key of its time.
            key = wanted.copy.kms_key if source.identifier == wanted.identifier else copy.kms_key
            _verify(copy, _copy_differences(copy, source, key), planned)
    return planned


def due(world: World, wanted: Wanted) -> list:
    """Snapshots that must have a copy, newest first: this one, and those in between that have none yet.

    What is older than the oldest copy was not copied then either, and what is too old would be deleted again.
    """
    if wanted.copy is None:
        return []
    sources = [one for one in world.here if one.managed and one.good and one.created]
    copied = [one.created for one in world.there if one.managed and one.created]
    since = newest = max((one.created for one in sources), default=None)
    if copied and sources:
        since = max(min(copied), newest - timedelta(days=wanted.copy.days))
    chosen = [one for one in sources if one.identifier == wanted.identifier or (copied and one.created >= since)]
    return sorted(chosen, key=lambda one: one.created, reverse=True)


def expired(world: World, wanted: Wanted) -> tuple[dict, dict]:
    """What of the retention's plan concerns each region; see :func:`retention.plan`."""
    needed = {one.source for one in (*world.here, *world.there) if one.running and one.source}
    needed |= {one.arn for one in due(world, wanted) if _of_name(world.there, one.identifier) is None}
    here = retention.plan(world.here, wanted.days, needed)
    there = retention.plan(world.there, wanted.copy.days, needed) if wanted.copy else {"delete": [], "keep": []}
    return here, there


def predicted_copies(world: World, wanted: Wanted) -> list:
    """Identifiers that a run from here on will copy, in their order."""
    if wanted.copy is None:
        return []
    names = [one.identifier for one in steps(world, wanted).copy]
    ours = _of_name(world.here, wanted.identifier)
    if (ours is None or not ours.good) and _of_name(world.there, wanted.identifier) is None:
        names.append(wanted.identifier)
    return names


def sharing(plan: dict, shared: set) -> list:
    """The snapshots of a retention plan, those marked as shared that are."""
    both = [one for one, _reason in (*plan["delete"], *plan["keep"])]
    return [replace(one, shared=True) if one.arn in shared else one for one in both]


def require_restorable(database: dict, region: str) -> None:
    """Refuse what has no DB snapshots of its own.

    :raises Failure: for a member of a cluster.
    """
    if database.get("DBClusterIdentifier"):
        raise Failure(
            f"a DB instance in {region} that is no member of a cluster",
            f"{database['DBInstanceIdentifier']} in cluster {database['DBClusterIdentifier']}",
            "Back the cluster up by its own snapshots.",
        )


def _discarded(found: list) -> list:
    return [one for one in found if _is_discarded(one)]


def _is_discarded(one: Snapshot) -> bool:
    """Whether it is one of ours that failed: it restores nothing, and its name is needed again."""
    return one.failed and one.managed and not one.held


def _of_name(found: list, identifier: str) -> Snapshot | None:
    return next((one for one in found if one.identifier == identifier and not _is_discarded(one)), None)


def _ready(one: Snapshot, planned: Steps) -> bool:
    """Whether a snapshot is ready to be verified; why not, is added to the steps."""
    if one.failed:
        planned.problems.append(f"{one.arn}: it failed, and its tag {snapshots.HOLD_TAG} says that it must stay")
    elif not one.good:
        planned.waiting.append(f"{one.arn}: {one.status} {one.progress} %")
    return one.good


def _verify(one: Snapshot, differences: list, planned: Steps) -> None:
    if differences:
        planned.problems.append(f"{one.arn}: {', '.join(differences)}")


def _differences(one: Snapshot, database: dict) -> list:
    found = []
    if one.engine != database["Engine"]:
        found.append(f"engine {one.engine}, not {database['Engine']}")
    if database.get("StorageEncrypted") and not one.encrypted:
        found.append("not encrypted, though the instance is")
    if one.size <= 0:
        found.append("of no size")
    if one.created is None:
        found.append("without a time")
    return found


def _copy_differences(one: Snapshot, source: Snapshot, key: str) -> list:
    pairs = (
        ("copy of", one.source, source.arn),
        ("data of", str(one.created), str(source.created)),
        ("engine", f"{one.engine} {one.engine_version}", f"{source.engine} {source.engine_version}"),
        ("size in GiB", one.size, source.size),
        ("KMS key", one.kms_key, key),
    )
    found = [f"{what} {is_one or 'none'}, not {should}" for what, is_one, should in pairs if is_one != should]
    return found + ([] if one.encrypted else ["not encrypted"])
