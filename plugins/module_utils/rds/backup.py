# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rds_backup does."""

from __future__ import annotations

from datetime import datetime, timedelta

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure, Failure, arn_parts
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import backup_plan, snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import snapshots_api as api
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.backup_plan import Copy, Wanted, World
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot

# Refusals that end by themselves: the instance is busy, or 100 snapshots exist or 20 copies run already.
_BUSY_CODES = ("InvalidDBInstanceState", "InvalidDBSnapshotState", "SnapshotQuotaExceeded")
_QUOTA_CODE = "SnapshotQuotaExceeded"
# How often one snapshot or copy is begun in a run: one that fails again and again fails for a reason.
_ATTEMPTS = 2
_LONGEST_PAUSE = 15.0  # seconds
# A day's run that finds a snapshot of that day is usually repeated, not due again; after so long it is due.
_DUE = timedelta(hours=20)


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """The module's result.

    :raises Failure: when a call fails, a backup is not what it must be, or the wait is over.
    """
    backup = Backup(connect, params)
    if check_mode:
        return backup.predict()
    return backup.complete(params["wait_timeout"] if params["wait"] else 0.0)


class Backup:
    """One run: the two regions, what is wanted, and what this run did."""

    def __init__(self, connect: Connector, params: dict):
        instance, copy = params["db_instance_identifier"].lower(), params["copy"]
        self._log, self._clock, self._wait = connect.log, connect.clock, params["wait"]
        self._here = connect("rds", NORMAL)
        self._there = connect("rds", NORMAL, region=copy["region"]) if copy else None
        self._database, self._now = api.describe_instance(self._here, instance)
        backup_plan.require_restorable(self._database, self._here.region)
        self._today = self._now.strftime("%Y-%m-%d")
        stamp = params["stamp"] or self._today
        snapshots.require_stamp(stamp)
        inherited = snapshots.tags_from_boto(self._database.get("TagList", []))
        self._tags = snapshots.tags_of_a_new_one(instance, stamp, inherited, params["tags"])
        target = _copy_target(connect, copy, self._here.region) if copy else None
        self._wanted = Wanted(instance, stamp, params["retention_days"], target)
        self._attempts: dict = {}
        self._held_up: list = []
        self._deleted: list = []
        self._first = self._look()
        # Both fix what this run may delete, which is what check mode says.
        self._steps = backup_plan.steps(self._first, self._wanted)
        self._expired = self._find_expired(self._first)

    def predict(self) -> dict:
        """What the real run would do.

        :raises Failure: when it would fail for what there is now.
        """
        planned = self._steps
        for one in planned.failed_here:
            self._plan_deletion(one, self._here, "failed")
        for one in planned.failed_there:
            self._plan_deletion(one, self._there, "failed")
        failed = {one.identifier for one in planned.failed_here}
        if planned.create:
            self._log.plan("CreateDBSnapshot", self._wanted.identifier)
        copies = backup_plan.predicted_copies(self._first, self._wanted)
        for identifier in copies:
            self._log.plan("CopyDBSnapshot", identifier)
        self._require_no_problems(planned, self._first)  # the real run meets them at its end too
        pending = not self._wait and not planned.settled
        if not pending:
            for aws, plan in self._expired:
                for one, reason in plan["delete"]:
                    self._plan_deletion(one, aws, reason)
        waiting = [*planned.waiting, *(f"{identifier}: to be made" for identifier in {*copies, *failed})]
        return self._result(self._first, pending, sorted(waiting) if pending else [])

    def complete(self, timeout: float) -> dict:
        """Take the next steps until there are none, or until the time is over; then delete what is too old.

        :raises Failure: see :func:`run`.
        """
        left: list = []

        def look(_elapsed):
            world = self._look()
            planned = backup_plan.steps(world, self._wanted)
            self._held_up.clear()
            self._take(planned, world)
            left[:] = [world, [*planned.waiting, *self._held_up]]
            return planned if planned.settled else None

        settled = poll(look, lambda calls: min(_LONGEST_PAUSE, 0.5 * calls), timeout, self._clock)
        if settled is None:
            return self._pending(*left, timeout)
        world = left[0]
        self._require_no_problems(settled, world)
        self._delete_expired()
        return self._result(self._look() if self._deleted else world, False, [])

    def _look(self) -> World:
        here, there = self._here.afresh(), self._there and self._there.afresh()
        instance = self._wanted.instance
        return World(
            self._database,
            api.describe_snapshots(here, instance),
            api.describe_snapshots(there, instance) if there else [],
        )

    def _take(self, planned: backup_plan.Steps, world: World) -> None:
        identifier = self._wanted.identifier
        for aws, found in ((self._here, planned.failed_here), (self._there, planned.failed_there)):
            for one in found:
                self._count(one, world)
                self._delete(aws, one, "failed")
        # The next look tells whether a failed one of that name is gone.
        if planned.create and identifier not in {one.identifier for one in planned.failed_here}:
            create = self._wanted.instance, self._tags
            self._begin(self._here, identifier, lambda aws: api.create_snapshot(aws, identifier, *create))
        for source in planned.copy:
            self._begin_copy(source)

    def _begin_copy(self, source: Snapshot) -> None:
        def begin(aws):
            api.copy_snapshot(aws, source, self._here.region, self._wanted.copy.kms_key)

        self._begin(self._there, source.identifier, begin)

    def _begin(self, aws: Aws, identifier: str, begin) -> None:
        """Begin a snapshot or a copy; what holds it up is kept for the message."""
        try:
            begin(aws.afresh())
        except AwsFailure as failure:
            if failure.code == "DBSnapshotAlreadyExists":
                return  # an attempt whose answer was lost
            if failure.code == "DBSnapshotNotFound":
                return  # its source is gone; the next look tells what to do
            if failure.code not in _BUSY_CODES:
                raise
            self._held_up.append(f"{identifier} in {aws.region}: {failure.code} ({_told(failure)})")
            if failure.code == _QUOTA_CODE:
                self._delete_expired(only=aws)  # makes room

    def _count(self, one: Snapshot, world: World) -> None:
        """Give up when what this run began has failed.

        :raises Failure: after :data:`_ATTEMPTS`.
        """
        self._attempts[one.arn] = self._attempts.get(one.arn, 0) + 1
        if self._attempts[one.arn] > _ATTEMPTS:
            raise Failure(
                f"{one.arn} to become available",
                f"it failed {self._attempts[one.arn]} times",
                "RDS says why in the instance's events; a source that was deleted or a KMS key that is not usable are"
                " usual. Nothing was deleted but what had failed.",
                **self._result(world, True, []),
            )

    def _find_expired(self, world: World) -> list:
        """What of each region is too old, ``[(client, plan)]``, sharing taken into account."""
        plans = backup_plan.expired(world, self._wanted)
        clients = (self._here, self._there)
        shared = {
            one.arn
            for aws, plan in zip(clients, plans, strict=True)
            for one, _reason in plan["delete"]
            if not one.failed and self._is_shared(aws, one)
        }
        if shared:
            mark = backup_plan.sharing
            world = World(world.database, mark(plans[0], shared), mark(plans[1], shared))
            plans = backup_plan.expired(world, self._wanted)
        for plan in plans:
            plan["delete"] = [(one, reason) for one, reason in plan["delete"] if not one.failed]
        return [(aws, plan) for aws, plan in zip(clients, plans, strict=True) if aws is not None]

    def _is_shared(self, aws: Aws, one: Snapshot) -> bool:
        try:
            return api.is_shared(aws.afresh(), one.identifier)
        except AwsFailure as failure:
            if failure.code == "DBSnapshotNotFound":
                return False  # somebody else deleted it
            raise

    def _delete_expired(self, only: Aws | None = None) -> None:
        """Delete what the first look found too old, unless it has been held, shared or copied since."""
        planned = {(aws.region, one.arn) for aws, plan in self._expired for one, _reason in plan["delete"]}
        if not planned:
            return
        for aws, plan in self._find_expired(self._look()):
            for one, reason in plan["delete"]:
                if (aws.region, one.arn) in planned and only in (None, aws):
                    self._delete(aws, one, reason)

    def _delete(self, aws: Aws, one: Snapshot, reason: str) -> None:
        try:
            api.delete_snapshot(aws.afresh(), one.identifier)
        except AwsFailure as failure:
            if failure.code == "InvalidDBSnapshotState":
                return  # in use after all; the next run sees to it
            if failure.code != "DBSnapshotNotFound":
                raise
        self._deleted.append(_deletion(one, aws.region, reason))

    def _plan_deletion(self, one: Snapshot, aws: Aws, reason: str) -> None:
        self._log.plan("DeleteDBSnapshot", one.identifier)
        self._deleted.append(_deletion(one, aws.region, reason))

    def _require_no_problems(self, planned: backup_plan.Steps, world: World) -> None:
        if planned.problems:
            raise Failure(
                "backups that can be relied on",
                "; ".join(planned.problems),
                "None that is too old was deleted. Find out who made or changed these, remove them and run again.",
                **self._result(world, False, []),
            )

    def _pending(self, world: World, waiting: list, timeout: float) -> dict:
        """The result of a run that leaves something to the next one.

        :raises Failure: when it was to wait for that.
        """
        result = self._result(world, True, waiting)
        if self._wait:
            raise Failure(
                f"the backup {self._wanted.identifier} to be complete within {timeout:g} s",
                "; ".join(waiting) or "it still to be seen",
                "Run again: the next run goes on where this one ended.",
                **result,
            )
        return result

    def _result(self, world: World, pending: bool, waiting: list) -> dict:
        kept = [
            {"identifier": one.identifier, "region": aws.region, "reason": reason}
            for aws, plan in self._expired
            for one, reason in plan["keep"]
            if not reason.startswith("within ")
        ]
        return {
            "changed": bool(self._log.calls or self._log.planned),
            "pending": pending,
            "waiting_for": waiting,
            "snapshot": _described(world.here, self._wanted.identifier),
            "snapshot_copy": _described(world.there, self._wanted.identifier),
            "deleted": list(self._deleted),
            "kept": kept,
            "restorable": self._restorable(world),
            "warnings": [] if pending else self._warnings(),
        }

    def _warnings(self) -> list:
        """Say that today's snapshot is not new, as after a run that began just after midnight."""
        found = next((one for one in self._first.here if one.identifier == self._wanted.identifier), None)
        if self._wanted.stamp != self._today or not found or not found.created or self._now - found.created < _DUE:
            return []
        age = (self._now - found.created).total_seconds() / 3600
        return [
            f"{found.identifier} was there already and is {age:.0f} hours old. Nothing newer was taken: give another"
            " stamp to take one, and have runs begin well before midnight in UTC or after it."
        ]

    def _restorable(self, world: World) -> list:
        """The newest point of each region that a restore could bring back."""
        points = []
        regions = [(self._here.region, world.here)] + ([(self._there.region, world.there)] if self._there else [])
        for region, found in regions:
            times = [(one.created, one.identifier) for one in found if one.good and one.created]
            newest, identifier = max(times, default=(None, None))
            points.append({"region": region, "snapshot": identifier, "at": _text(newest), "age": self._age(newest)})
        latest = self._database.get("LatestRestorableTime")
        if latest:
            points[0]["point_in_time"] = _text(latest)
            points[0]["age"] = min(self._age(latest), points[0]["age"] if points[0]["at"] else self._age(latest))
        return points

    def _age(self, instant: datetime | None) -> int | None:
        return max(0, int((self._now - instant).total_seconds())) if instant else None


def _copy_target(connect: Connector, copy: dict, region: str) -> Copy:
    """Where copies go, the key by its ARN.

    :raises Failure: when the region is the instance's own, or the key is of another region or not usable.
    """
    if copy["region"] == region:
        raise Failure(
            f"another region than {region} in copy.region", copy["region"], "Name the region of the disaster recovery."
        )
    key = copy["kms_key_id"]
    if key.startswith("arn:") and arn_parts(key)["region"] != copy["region"]:
        raise Failure(
            f"a KMS key of {copy['region']}, where the copy is to be, in copy.kms_key_id",
            key,
            "A copy is encrypted with a key of its own region: name one there.",
        )
    found = api.describe_key(connect("kms", NORMAL, region=copy["region"]), key)
    if found.get("KeyState", "Enabled") != "Enabled" or not found.get("Enabled", True):
        raise Failure(
            f"KMS key {key} in {copy['region']} to be enabled", found.get("KeyState", "disabled"), "Enable it."
        )
    return Copy(copy["region"], found["Arn"], copy["retention_days"])


def _told(failure: AwsFailure) -> str:
    response = getattr(failure.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Message", "")


def _deletion(one: Snapshot, region: str, reason: str) -> dict:
    return {"identifier": one.identifier, "region": region, "created": _text(one.created), "reason": reason}


def _described(found: list, identifier: str) -> dict | None:
    for one in found:
        if one.identifier == identifier:
            return {
                "identifier": identifier,
                "arn": one.arn,
                "status": one.status,
                "progress": one.progress,
                "created": _text(one.created),
                "size": one.size,
                "encrypted": one.encrypted,
                "kms_key_id": one.kms_key or None,
                "tags": one.tags,
            }
    return None


def _text(instant: datetime | None) -> str | None:
    return instant.isoformat(timespec="seconds") if instant else None
