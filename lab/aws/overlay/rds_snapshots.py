"""RDS snapshots and their copies: they take time, show progress, have quotas, and keys belong to a region."""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.rds.exceptions import (
    DBInstanceNotFoundError,
    DBSnapshotAlreadyExistsError,
    InvalidParameterValue,
    RDSClientError,
)
from moto.rds.models import DBSnapshot, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from lab.aws.core import Lab
from lab.aws.overlay.pages import page
from lab.aws.overlay.rds_instances import refuse_reserved, stamp

MANUAL_SNAPSHOTS = 100
COPIES_AT_ONCE = 20
PAGE = 100
UNDER_WAY = ("pending", "creating")


def install(lab: Lab) -> None:
    """Replace what moto does with snapshots."""
    snapshots = Snapshots(lab)
    begin = DBSnapshot.__init__

    def init(self: Any, *positional: Any, **named: Any) -> None:
        begin(self, *positional, **named)
        self.physical = f"snapshot-{uuid.uuid4()}"
        self.task = None
        self.source_region = self.source_db_snapshot_identifier = None
        # moto's copies forget in which the instance was.
        self.availability_zone = self.database.availability_zone
        self.license_model = self.database.license_model
        self.storage_type = self.database.storage_type

    def describe_db_snapshots(self: Any) -> ActionResult:
        filters = {entry["Name"]: entry["Values"] for entry in self.params.get("Filters", [])}
        names = ("DBInstanceIdentifier", "DBSnapshotIdentifier", "SnapshotType")
        found = self.backend.describe_db_snapshots(*(self.params.get(name) for name in names), filters)
        resource, size = self.params.get("DbiResourceId"), int(self.params.get("MaxRecords") or PAGE)
        if not 20 <= size <= PAGE:
            raise InvalidParameterValue(f"Invalid value {size} for MaxRecords. Must be between 20 and {PAGE}")
        found = [one for one in found if not resource or one.dbi_resource_id == resource]
        shown, marker = page(found, "db_snapshot_identifier", size, self.params.get("Marker"))
        return ActionResult({"DBSnapshots": shown, "Marker": marker})

    DBSnapshot.__init__ = init
    DBSnapshot.percent_progress = property(lambda self: 100 if self.status == "available" else self.reached())
    DBSnapshot.reached = lambda self: lab.tasks.progress(self) or 0
    # RDS tells no time of creation before a snapshot is there.
    DBSnapshot.snapshot_create_time = property(lambda self: stamp(self.created) if self.created else None)
    RDSResponse.describe_db_snapshots = describe_db_snapshots
    RDSBackend.find_snapshot = _find
    RDSBackend.automated_snapshots_of = _automated
    RDSBackend.create_db_snapshot = lambda backend, *positional, **named: snapshots.create(
        backend, *positional, **named
    )
    RDSBackend.copy_db_snapshot = lambda backend, **named: snapshots.copy(backend, **named)
    RDSBackend.delete_db_snapshot = lambda backend, name: snapshots.delete(backend, name)
    RDSBackend.drop_automated_snapshots = lambda backend, instance: snapshots.drop_automated(backend, instance)
    lab.route("POST", "/rds/snapshots", snapshots.arrange)


class Snapshots:
    """The snapshots of all regions."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def create(
        self,
        backend: Any,
        db_instance_identifier: str,
        db_snapshot_identifier: str,
        snapshot_type: str = "manual",
        tags: Any = None,
    ) -> DBSnapshot:
        """Begin a snapshot of an available instance, which is backing-up meanwhile."""
        instance = backend.databases.get(db_instance_identifier)
        if instance is None:
            raise DBInstanceNotFoundError(db_instance_identifier)
        refuse_reserved(tags)
        if db_snapshot_identifier in backend.database_snapshots:
            raise DBSnapshotAlreadyExistsError(db_snapshot_identifier)
        if instance.status != "available":
            message = (
                f"Cannot create a snapshot because the database instance {instance.db_instance_identifier} "
                "is not currently in the available state."
            )
            raise RDSClientError("InvalidDBInstanceState", message)
        if snapshot_type == "manual":
            _require_quota(backend)
        snapshot = self._add(backend, instance, db_snapshot_identifier, snapshot_type, tags)
        instance.status = "backing-up"

        def done(_result: Any, error: BaseException | None) -> None:
            self._finish(snapshot, error)
            if snapshot_type == "automated" and not error:
                instance.backed_up = instance.backed_up or snapshot.finished
            if instance.status == "backing-up":
                instance.status = "available"

        work = self._work("snapshot", instance=instance.dbi_resource_id, snapshot=snapshot.physical)
        snapshot.task = self._lab.tasks.start(snapshot, done, work=work)
        snapshot.status = "creating"
        return snapshot

    def copy(
        self,
        backend: Any,
        source_db_snapshot_identifier: str,
        target_db_snapshot_identifier: str,
        kms_key_id: str | None = None,
        tags: Any = None,
        copy_tags: bool | None = False,
        **_others: Any,
    ) -> DBSnapshot:
        """Begin a copy into the back end's region; copies of one source instance wait for each other."""
        refuse_reserved(tags)
        source = _find(backend, source_db_snapshot_identifier, anywhere=True)
        if source.status != "available":
            raise RDSClientError("InvalidDBSnapshotState", "The source snapshot is not in the available state.")
        if target_db_snapshot_identifier in backend.database_snapshots:
            raise DBSnapshotAlreadyExistsError(target_db_snapshot_identifier)
        if kms_key_id:
            kms_key_id = _usable_key(backend, kms_key_id)
        elif source.encrypted and source.backend is not backend:
            raise InvalidParameterValue("Must specify new KMS key for cross region encrypted snapshot copy.")
        running = [one for one in backend.database_snapshots.values() if one.status in UNDER_WAY and one.source_region]
        if len(running) >= COPIES_AT_ONCE:
            raise RDSClientError(
                "SnapshotQuotaExceeded", f"Cannot copy more than {COPIES_AT_ONCE} snapshots across regions"
            )
        _require_quota(backend)
        if copy_tags and not tags:
            tags = [tag for tag in source.tags if not tag["Key"].startswith("aws:")]
        # moto would give a copy the tags of the instance.
        database = copy.copy(source.database)
        database.copy_tags_to_snapshot = False
        snapshot = self._add(
            backend, database, target_db_snapshot_identifier, "manual", tags, kms_key_id or source.kms_key_id
        )
        snapshot.database = source.database
        snapshot.source_region = source.backend.region_name
        snapshot.source_db_snapshot_identifier = source.arn
        snapshot.original_snapshot_create_time = source.original_snapshot_create_time
        snapshot.copied_from = source
        queue = [one.task for one in running if one.dbi_resource_id == source.dbi_resource_id]

        def done(_result: Any, error: BaseException | None) -> None:
            self._finish(snapshot, error or snapshot.doomed)

        work = self._work("copy_snapshot", source=source.physical, target=snapshot.physical)
        # A copy that waits is pending; the next turn makes the others creating.
        snapshot.status = "pending"

        def begun() -> None:
            snapshot.status = "creating"

        after = queue[-1] if queue else None
        snapshot.task = self._lab.tasks.start(snapshot, done, work=work, after=after, starts=begun)
        return snapshot

    def delete(self, backend: Any, name: str) -> DBSnapshot:
        """Delete a manual snapshot; a copy that is being made of it fails."""
        snapshot = _find(backend, name)
        if snapshot.snapshot_type == "automated":
            raise RDSClientError("InvalidDBSnapshotState", "automated snapshots cannot be deleted.")
        if snapshot.status in UNDER_WAY:
            raise RDSClientError("InvalidDBSnapshotState", "Cannot delete a snapshot that is not in available state.")
        return self._drop(backend, snapshot)

    def drop_automated(self, backend: Any, instance: Any) -> None:
        """Delete an instance's automated snapshots."""
        for snapshot in _automated(backend, instance, any_status=True):
            self._drop(backend, snapshot)

    def arrange(self, _query: dict[str, str], document: Any) -> dict[str, Any]:
        """Give a snapshot (arn) an age (seconds), or tags as only AWS itself sets them (tags: {key: value})."""
        region = document["arn"].split(":")[3]
        with self._lab.lock:
            for regions in rds_backends.values():
                snapshot = _find(regions[region], document["arn"])
                if seconds := document.get("age"):
                    moment = datetime.fromtimestamp(utcnow().replace(tzinfo=UTC).timestamp() - seconds, UTC)
                    snapshot.created = snapshot.original_snapshot_create_time = moment.replace(tzinfo=None)
                if tags := document.get("tags"):
                    snapshot.add_tags([{"Key": key, "Value": value} for key, value in tags.items()])
                return {"arn": snapshot.arn}
        raise ValueError("there is no account")

    def _add(self, backend: Any, database: Any, name: str, kind: str, tags: Any, key: str | None = None) -> DBSnapshot:
        snapshot = DBSnapshot(backend, database, name, kind, tags, None, key)
        snapshot.asked = utcnow()
        snapshot.created = snapshot.original_snapshot_create_time = snapshot.finished = None
        snapshot.doomed = snapshot.copied_from = None
        backend.database_snapshots[name] = snapshot
        return snapshot

    def _finish(self, snapshot: DBSnapshot, error: BaseException | None) -> None:
        snapshot.copied_from = None
        snapshot.created, snapshot.finished = snapshot.asked, stamp(utcnow())
        if self._lab.engine:
            # A cluster can be recovered to what lies after its backup only; times are told in whole seconds.
            snapshot.finished += timedelta(seconds=1)
        snapshot.original_snapshot_create_time = snapshot.original_snapshot_create_time or stamp(snapshot.created)
        snapshot.status = "failed" if error else "available"

    def _drop(self, backend: Any, snapshot: DBSnapshot) -> DBSnapshot:
        for regions in rds_backends.values():
            for other in list(regions.values()):
                for copied in other.database_snapshots.values():
                    if copied.copied_from is snapshot:
                        copied.doomed = RuntimeError("the source was deleted")
        backend.database_snapshots.pop(snapshot.db_snapshot_identifier, None)
        snapshot.status = "deleted"
        if work := self._work("delete_snapshot", snapshot=snapshot.physical):
            self._lab.tasks.start(snapshot, lambda _result, _error: None, work=work)
        return snapshot

    def _work(self, action: str, **details: Any) -> Any:
        engine = self._lab.engine
        return (lambda: engine(action, **details)) if engine else None


def _find(backend: Any, identifier: str, anywhere: bool = False) -> DBSnapshot:
    """Return a snapshot by name or ARN; anywhere: its ARN may name another region."""
    region, name = backend.region_name, identifier
    if identifier.startswith("arn:"):
        region, name = identifier.split(":")[3], identifier.split(":snapshot:")[-1]
    if region != backend.region_name and anywhere:
        backend = rds_backends[backend.account_id][region]
    if region != backend.region_name or name not in backend.database_snapshots:
        raise RDSClientError("DBSnapshotNotFound", f"DBSnapshot {identifier} not found.")
    return backend.database_snapshots[name]


def _automated(backend: Any, instance: Any, any_status: bool = False) -> list[DBSnapshot]:
    """Return an instance's automated snapshots, the oldest first."""
    return [
        one
        for one in backend.database_snapshots.values()
        if one.snapshot_type == "automated"
        and one.dbi_resource_id == instance.dbi_resource_id
        and (any_status or one.status == "available")
    ]


def _require_quota(backend: Any) -> None:
    manual = [one for one in backend.database_snapshots.values() if one.snapshot_type == "manual"]
    if len(manual) >= MANUAL_SNAPSHOTS:
        raise RDSClientError("SnapshotQuotaExceeded", f"Cannot create more than {MANUAL_SNAPSHOTS} manual snapshots")


def _usable_key(backend: Any, identifier: str) -> str:
    """Return the ARN of an enabled key of the back end's region; a key belongs to one region."""
    elsewhere = identifier.startswith("arn:") and identifier.split(":")[3] != backend.region_name
    try:
        key = None if elsewhere else backend.kms.describe_key(identifier)
    except Exception:  # moto raises one thing or another for what it does not know
        key = None
    if key is None or key.key_state != "Enabled":
        message = (
            f"The target KMS key [{identifier}] does not exist, is not enabled or you do not have permissions to "
            "access it."
        )
        raise RDSClientError("KMSKeyNotAccessibleFault", message)
    return key.arn
