"""RDS instances: states that take time, restores that take nothing over unasked, automated backups.

With an engine (lab.rds) each instance is a PostgreSQL cluster; without one it is only its description.
"""

from __future__ import annotations

import itertools
import logging
import random
import string
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.rds.exceptions import (
    DBInstanceAlreadyExists,
    DBInstanceNotFoundError,
    InvalidParameterCombination,
    InvalidParameterValue,
    RDSClientError,
)
from moto.rds.models import DBInstance, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from lab.aws.calls import Call, Response
from lab.aws.core import Lab, Proceed
from lab.aws.overlay import rds_parameters
from lab.rds.host import Host

log = logging.getLogger(__name__)

TURN = 0.1
LATEST = {"13": "13.22", "14": "14.19", "15": "15.14", "16": "16.10", "17": "17.6", "18": "18.1"}
DEFAULT_MAJOR = "15"
# What a restored instance takes from its source; all else comes from the call or is AWS's default.
KEPT = (
    "engine", "engine_version", "db_instance_class", "allocated_storage", "storage_type", "iops", "db_name", "port",
    "license_model", "master_username", "auto_minor_version_upgrade", "copy_tags_to_snapshot", "character_set_name",
    "backup_retention_period", "preferred_backup_window", "preferred_maintenance_window", "storage_encrypted",
    "kms_key_id",
)  # fmt: skip
# What a change waits with for the maintenance window, unless it is to be applied immediately.
DEFERRED = (
    "allocated_storage", "backup_retention_period", "db_instance_class", "engine_version", "iops",
    "master_user_password", "multi_az", "storage_type",
)  # fmt: skip
GROUP_CHANGES = ("ModifyDBParameterGroup", "ResetDBParameterGroup")
# What the formulas of parameter groups count with, whatever the class: the clusters share one small machine.
MEMORY = 1 << 30
# What an instance is when the work on its cluster failed.
FAILED = {
    "create": "failed",
    "restore": "incompatible-restore",
    "recover": "incompatible-restore",
    "restart": "incompatible-parameters",
}
RESERVED = 'Tag keys cannot start with the reserved prefix "aws:".'


def install(lab: Lab) -> None:
    """Replace what moto does with instances."""
    instances = Instances(lab)
    instances.install()

    def turn(call: Call, proceed: Proceed) -> Response:
        if call.service != "rds":
            return proceed(call)
        with lab.lock:
            lab.tasks.turn()
            response = proceed(call)
            if call.action in GROUP_CHANGES:
                instances.configure()
            lab.tasks.turn()
        return response

    def follow() -> None:
        while True:
            time.sleep(TURN)
            try:
                with lab.lock:
                    lab.tasks.turn()
            except Exception:
                log.exception("the loop of RDS")

    def use_host(_query: dict[str, str], document: Any) -> dict[str, Any]:
        host = Host(document["address"])
        with lab.lock:
            if any(True for _ in databases()) and (lab.engine is None or lab.engine.address != host.address):
                raise ValueError("there are instances already")
            if lab.engine is None:
                host.begin()
                lab.engine = host
        return {"majors": lab.engine.majors}

    lab.layer(turn)
    lab.loop(follow)
    lab.route("POST", "/rds/host", use_host)


def refuse_reserved(tags: Any) -> None:
    """Raise InvalidParameterValue for tags with AWS's own prefix."""
    if any(tag["Key"].lower().startswith("aws:") for tag in tags or []):
        raise InvalidParameterValue(RESERVED)


def databases() -> Iterator[DBInstance]:
    """Yield the instances of all regions that are no members of an Aurora cluster; hold the lock."""
    for regions in list(rds_backends.values()):
        for backend in list(regions.values()):
            yield from [one for one in backend.databases.values() if one.db_cluster_identifier is None]


def stamp(moment: datetime) -> datetime:
    """Return a time as RDS tells it: whole seconds."""
    return moment.replace(microsecond=0)


class Instances:
    """The instances of all regions."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        # Descriptions of deleted instances whose automated backups were kept.
        self._retained: list[DBInstance] = []

    def install(self) -> None:
        """Put these methods in the place of moto's."""
        begin, create_stock, delete_stock = (
            DBInstance.__init__,
            RDSBackend.create_db_instance,
            RDSBackend.delete_db_instance,
        )
        add_tags = RDSBackend.add_tags_to_resource

        def init(instance: Any, backend: Any, *positional: Any, **named: Any) -> None:
            if named.get("engine") == "postgres":
                named["engine_version"] = _version(named.get("engine_version"))
            begin(instance, backend, *positional, **named)
            instance.dbi_resource_id = "db-" + "".join(random.choices(string.ascii_uppercase + "234567", k=26))
            instance.place = None
            instance.backed_up = None  # when the first automated backup was done
            instance.archived = None  # up to when the log is archived, by the engine
            instance.pending_modified_values = {}
            instance.applied_groups = None

        def create(backend: Any, db_kwargs: Any) -> DBInstance:
            refuse_reserved(db_kwargs.get("tags"))
            if db_kwargs.get("db_cluster_identifier"):
                return create_stock(backend, db_kwargs)
            return self.create(backend, dict(db_kwargs))

        def delete(backend: Any, db_instance_identifier: str, **options: Any) -> DBInstance:
            instance = backend.databases.get(db_instance_identifier)
            if instance is None or instance.db_cluster_identifier:
                return delete_stock(backend, db_instance_identifier, **options)
            return self.delete(backend, instance, **options)

        def add_tags_to_resource(backend: Any, arn: str, tags: Any) -> Any:
            refuse_reserved(tags)
            return add_tags(backend, arn, tags)

        DBInstance.__init__ = init
        DBInstance.endpoint = property(_endpoint)
        DBInstance.latest_restorable_time = property(self.latest_restorable_time)
        DBInstance.save_automated_backup = lambda _instance: None
        RDSBackend.create_db_instance = create
        RDSBackend.delete_db_instance = delete
        RDSBackend.add_tags_to_resource = add_tags_to_resource
        for name in (
            "modify_db_instance",
            "reboot_db_instance",
            "stop_db_instance",
            "start_db_instance",
            "restore_db_instance_from_db_snapshot",
            "restore_db_instance_to_point_in_time",
            "describe_db_instance_automated_backups",
        ):
            setattr(RDSBackend, name, _method(getattr(self, name), getattr(RDSBackend, name)))
        # moto has no such call.
        RDSResponse.delete_db_instance_automated_backup = lambda response: ActionResult(
            {"DBInstanceAutomatedBackup": self.forget_automated_backup(response.backend, response.params)}
        )
        self._lab.loop(self._archive)

    def create(self, backend: Any, options: dict[str, Any]) -> DBInstance:
        """Create an instance: creating, then backing-up with its first automated backup, then available."""
        options.setdefault("backup_retention_period", 1)
        instance = self._add(backend, options)
        self._begin(
            instance,
            "creating",
            "create",
            version=instance.engine_version,
            port=instance.port,
            user=instance.master_username,
            password=getattr(instance, "_master_user_password", None),
            database=instance.db_name,
            settings=self._settings(instance),
        )
        return instance

    def delete(
        self,
        backend: Any,
        instance: DBInstance,
        final_db_snapshot_identifier: str | None = None,
        skip_final_snapshot: bool | None = False,
        delete_automated_backups: bool | None = True,
    ) -> DBInstance:
        """Delete an instance, after its final snapshot when one is wanted."""
        name = instance.db_instance_identifier
        if instance.status == "deleting":
            raise RDSClientError("InvalidDBInstanceState", f"Instance {name} is already being deleted.")
        if instance.deletion_protection:
            raise InvalidParameterCombination(
                "Cannot delete protected DB Instance, please disable deletion protection and try again."
            )
        if not skip_final_snapshot and not final_db_snapshot_identifier:
            raise InvalidParameterCombination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified."
            )
        if skip_final_snapshot and final_db_snapshot_identifier:
            raise InvalidParameterCombination(
                "FinalDBSnapshotIdentifier can not be specified when SkipFinalSnapshot is true."
            )
        snapshot = None
        if final_db_snapshot_identifier:
            snapshot = backend.create_db_snapshot(name, final_db_snapshot_identifier)
        instance.status = "deleting"
        keeps = not delete_automated_backups and instance.backed_up is not None

        def gone(_result: Any, error: BaseException | None) -> None:
            _tell(error, "delete", instance)
            backend.databases.pop(instance.db_instance_identifier, None)
            if keeps:
                self._retained.append(instance)
            else:
                backend.drop_automated_snapshots(instance)

        self._lab.tasks.start(
            instance,
            gone,
            work=self._work("delete", instance=instance.dbi_resource_id, keep_archive=keeps),
            after=snapshot.task if snapshot else None,
        )
        return instance

    def modify_db_instance(self, stock: Any, backend: Any, name: str, db_kwargs: Any) -> DBInstance:
        """Change an instance now, or note what waits for the maintenance window."""
        instance = backend.describe_db_instances(name)[0]
        if instance.db_cluster_identifier:
            return stock(backend, name, db_kwargs)
        _require_available(instance)
        self._check_security_groups(backend, db_kwargs)
        changes = dict(db_kwargs)
        immediately = changes.pop("apply_immediately", False)
        if not immediately:
            for key in [key for key in DEFERRED if key in changes]:
                instance.pending_modified_values[key] = changes.pop(key)
        else:
            changes = instance.pending_modified_values | changes
            instance.pending_modified_values = {}
        if set(changes) <= {"db_instance_identifier"}:
            return instance
        retention = instance.backup_retention_period
        stock(backend, name, {**changes, "apply_immediately": immediately})

        def changed() -> None:
            if instance.backup_retention_period and not retention:
                self._back_up(instance)
            elif retention and not instance.backup_retention_period:
                instance.backed_up = instance.archived = None
                backend.drop_automated_snapshots(instance)

        password = changes.get("master_user_password")
        action = {"user": instance.master_username, "password": password} if password else {}
        self._begin(instance, "modifying", "modify" if action else None, then=changed, **action)
        return instance

    def reboot_db_instance(self, _stock: Any, backend: Any, db_instance_identifier: str) -> DBInstance:
        """Restart an instance; only then static parameters apply."""
        instance = backend.describe_db_instances(db_instance_identifier)[0]
        if instance.status != "incompatible-parameters":
            _require_available(instance)
        self._begin(instance, "rebooting", "restart", then=lambda: None, settings=self._settings(instance))
        return instance

    def stop_db_instance(self, stock: Any, backend: Any, name: str, snapshot: str | None = None) -> DBInstance:
        """Stop an instance."""
        instance = stock(backend, name, snapshot)

        def stopped() -> None:
            instance.status = "stopped"

        self._begin(instance, "stopping", "stop", then=stopped, after=_task_of(backend, snapshot))
        return instance

    def start_db_instance(self, stock: Any, backend: Any, name: str) -> DBInstance:
        """Start a stopped instance."""
        instance = stock(backend, name)
        self._begin(instance, "starting", "start", then=lambda: None)
        return instance

    def restore_db_instance_from_db_snapshot(
        self, _stock: Any, backend: Any, from_snapshot_id: str, overrides: Any
    ) -> DBInstance:
        """Make an instance from a snapshot."""
        snapshot = backend.find_snapshot(from_snapshot_id)
        if snapshot.status != "available":
            raise RDSClientError("InvalidDBSnapshotState", "DB snapshot is not in available state.")
        options = self._restored(backend, snapshot.database, overrides)
        options |= {"storage_encrypted": snapshot.encrypted, "kms_key_id": snapshot.kms_key_id}
        options.setdefault("tags", [dict(tag) for tag in snapshot.tags if not tag["Key"].startswith("aws:")])
        if options["allocated_storage"] < snapshot.allocated_storage:
            message = "The allocated storage size can't be less than the source snapshot or backup size."
            raise InvalidParameterValue(message)
        instance = self._add(backend, options)
        self._begin(
            instance,
            "creating",
            "restore",
            snapshot=snapshot.physical,
            version=instance.engine_version,
            port=instance.port,
            settings=self._settings(instance),
        )
        return instance

    def restore_db_instance_to_point_in_time(
        self, _stock: Any, backend: Any, source: str | None, target: str, overrides: Any
    ) -> DBInstance:
        """Make an instance as its source was at a time."""
        original = self._source(backend, source, overrides)
        wanted, latest = overrides.get("restore_time"), overrides.get("use_latest_restorable_time")
        if bool(wanted) == bool(latest):
            message = "Either RestoreTime or UseLatestRestorableTime must be specified, and not both."
            raise InvalidParameterCombination(message)
        if not original.backup_retention_period or original.backed_up is None:
            message = f"Point in time restore is not enabled for instance {original.db_instance_identifier}."
            raise RDSClientError("PointInTimeRestoreNotEnabled", message)
        bases = original.backend.automated_snapshots_of(original)
        newest = self.latest_restorable_time(original)
        moment = newest if latest else _naive(wanted)
        bases = [base for base in bases if base.finished <= moment]
        if not bases or moment > newest:
            window = f"{stamp(original.backed_up).isoformat()}Z to {newest.isoformat()}Z"
            raise InvalidParameterValue(f"The specified restore time is not within the restorable window: {window}")
        options = self._restored(backend, original, overrides) | {"db_instance_identifier": target}
        options.setdefault("tags", [dict(tag) for tag in original.tags if not tag["Key"].startswith("aws:")])
        instance = self._add(backend, options)
        self._begin(
            instance,
            "creating",
            "recover",
            snapshot=bases[-1].physical,
            source=original.dbi_resource_id,
            to=moment.replace(tzinfo=UTC).isoformat(),
            version=instance.engine_version,
            port=instance.port,
            settings=self._settings(instance),
        )
        return instance

    def describe_db_instance_automated_backups(
        self, _stock: Any, backend: Any, db_instance_identifier: str | None = None, **filters: Any
    ) -> list[dict[str, Any]]:
        """Tell about the automated backups of instances there are and were."""
        there = [one for one in databases() if one.backend is backend and one.backup_retention_period]
        known = [(one, "active" if one.backed_up else "creating") for one in there]
        known += [(one, "retained") for one in self._retained if one.backend is backend]
        wanted = {
            "DBInstanceIdentifier": (db_instance_identifier or "").lower(),
            "DbiResourceId": filters.get("dbi_resource_id"),
            "DBInstanceAutomatedBackupsArn": filters.get("db_instance_automated_backups_arn"),
        }
        found = [self._automated_backup(one, status) for one, status in known]
        return [entry for entry in found if all(not value or entry[key] == value for key, value in wanted.items())]

    def forget_automated_backup(self, backend: Any, options: Any) -> dict[str, Any]:
        """Delete the automated backups of an instance that is gone."""
        for instance in [one for one in self._retained if one.backend is backend]:
            about = self._automated_backup(instance, "deleting")
            if options.get("dbi_resource_id") == instance.dbi_resource_id or (
                options.get("db_instance_automated_backups_arn") == about["DBInstanceAutomatedBackupsArn"]
            ):
                self._retained.remove(instance)
                backend.drop_automated_snapshots(instance)
                return about
        raise RDSClientError("DBInstanceAutomatedBackupNotFound", "There are no such retained automated backups.")

    def latest_restorable_time(self, instance: DBInstance) -> datetime | None:
        """Return up to when an instance can be restored: what is archived, and never before its first backup."""
        if instance.db_cluster_identifier:
            return utcnow()
        if instance.backed_up is None:
            return None
        if self._lab.engine:
            return stamp(instance.archived) if instance.archived else None
        period = max(1, int(self._lab.settings.rds_archive_seconds))
        moment = int(time.time()) // period * period
        return max(stamp(instance.backed_up), datetime.fromtimestamp(moment, UTC).replace(tzinfo=None))

    def _automated_backup(self, instance: DBInstance, status: str) -> dict[str, Any]:
        window = {}
        if instance.backed_up:
            window = {
                "EarliestTime": stamp(instance.backed_up),
                "LatestTime": self.latest_restorable_time(instance),
            }
        region, account = instance.backend.region_name, instance.backend.account_id
        backup = f"ab-{instance.dbi_resource_id.removeprefix('db-').lower()}"
        return {
            "DBInstanceAutomatedBackupsArn": f"arn:aws:rds:{region}:{account}:auto-backup:{backup}",
            "DBInstanceArn": instance.arn,
            "DBInstanceIdentifier": instance.db_instance_identifier,
            "DbiResourceId": instance.dbi_resource_id,
            "Region": region,
            "Status": status,
            "RestoreWindow": window,
            "AllocatedStorage": instance.allocated_storage,
            "BackupRetentionPeriod": instance.backup_retention_period,
            "Encrypted": instance.storage_encrypted,
            "Engine": instance.engine,
            "EngineVersion": instance.engine_version,
            "InstanceCreateTime": instance.created,
            "KmsKeyId": instance.kms_key_id,
            "MasterUsername": instance.master_username,
            "Port": instance.port,
        }

    def configure(self) -> None:
        """Give every cluster the values that its group has now; it takes those that need no restart."""
        for instance in databases():
            if self._lab.engine and instance.status in ("available", "backing-up"):
                work = self._work("configure", instance=instance.dbi_resource_id, settings=self._settings(instance))
                self._lab.tasks.start(
                    instance, lambda _result, error, of=instance: _tell(error, "configure", of), work=work
                )

    def _settings(self, instance: DBInstance) -> dict[str, str]:
        """Return what an instance's parameter group changes, as the cluster takes it."""
        group = instance.db_parameter_groups()[0]
        if not self._lab.engine or not group.parameters:
            return {}
        values = rds_parameters.values(group, MEMORY)
        return {name: values[name] for name in group.parameters}

    def _add(self, backend: Any, options: dict[str, Any]) -> DBInstance:
        name = options["db_instance_identifier"]
        if name in backend.databases:
            raise DBInstanceAlreadyExists
        backend._validate_db_identifier(name)
        self._check_security_groups(backend, options)
        majors = self._lab.engine.majors if self._lab.engine else []
        if majors and options["engine"] == "postgres":
            options["engine_version"] = _version(options.get("engine_version") or majors[-1])
            if options["engine_version"].partition(".")[0] not in majors:
                message = f"Cannot find version {options['engine_version']} for postgres"
                raise InvalidParameterCombination(message)
        instance = DBInstance(backend, **options)
        backend.databases[name] = instance
        instance.add_event("DB_INSTANCE_CREATE")
        return instance

    def _restored(self, backend: Any, source: DBInstance, overrides: Any) -> dict[str, Any]:
        refuse_reserved(overrides.get("tags"))
        options = {name: getattr(source, name, None) for name in KEPT}
        options["master_user_password"] = getattr(source, "_master_user_password", None)
        if source.option_group_supplied and source.option_group_name in backend.option_groups:
            options["option_group_name"] = source.option_group_name
        given = {key: value for key, value in dict(overrides).items() if value is not None}
        for key in ("db_snapshot_identifier", "source_db_instance_identifier", "target_db_instance_identifier"):
            given.pop(key, None)
        return options | given

    def _source(self, backend: Any, name: str | None, overrides: Any) -> DBInstance:
        resource, arn = (
            overrides.get(f"source_{key}") for key in ("dbi_resource_id", "db_instance_automated_backups_arn")
        )
        if name:
            return backend.describe_db_instances(name)[0]
        for instance in itertools.chain(self._retained, databases()):
            about = self._automated_backup(instance, "")
            if instance.backend is backend and (
                resource == instance.dbi_resource_id or arn == about["DBInstanceAutomatedBackupsArn"]
            ):
                return instance
        raise DBInstanceNotFoundError(resource or arn or "")

    def _check_security_groups(self, backend: Any, options: Any) -> None:
        network = ec2_backends[backend.account_id][backend.region_name]
        for group in options.get("vpc_security_group_ids") or []:
            if network.get_security_group_from_id(group) is None:
                raise InvalidParameterValue(f"Invalid security group , groupId= {group}, groupName=.")

    def _begin(
        self, instance: DBInstance, status: str, action: str | None, then: Any = None, after: Any = None, **details: Any
    ) -> None:
        """Put an instance into a state and, when the work is done, back it up or make it available."""
        instance.status = status

        def done(result: Any, error: BaseException | None) -> None:
            if instance.status != status:
                return
            if error:
                _tell(error, action or status, instance)
                instance.status = FAILED.get(action or "", "available")
                return
            if action in ("create", "restore", "recover"):
                instance.place = result or {"Address": instance.address, "Port": instance.port}
                instance.created = instance.instance_create_time = utcnow()
            instance.status = "available"
            if then:
                then()
            elif instance.backup_retention_period:
                self._back_up(instance)

        work = self._work(action, instance=instance.dbi_resource_id, **details) if action else None
        self._lab.tasks.start(instance, done, work=work, after=after)

    def _back_up(self, instance: DBInstance) -> None:
        """Take an automated backup."""
        moment = utcnow()
        name = f"rds:{instance.db_instance_identifier}-{moment:%Y-%m-%d-%H-%M}"
        instance.backend.create_db_snapshot(
            instance.db_instance_identifier, _free(name, instance.backend.database_snapshots), "automated"
        )

    def _work(self, action: str, **details: Any) -> Any:
        engine = self._lab.engine
        return (lambda: engine(action, **details)) if engine else None

    def _archive(self) -> None:
        """Have the engine archive each instance's log, for ever."""
        while True:
            time.sleep(self._lab.settings.rds_archive_seconds)
            if not (engine := self._lab.engine):
                continue
            with self._lab.lock:
                there = [one for one in databases() if one.backed_up and one.status in ("available", "backing-up")]
            for instance in there:
                try:
                    moment = engine("archive", instance=instance.dbi_resource_id)["restorable"]
                    instance.archived = datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)
                except Exception as error:
                    log.warning("archiving of %s: %s", instance.db_instance_identifier, error)


def _method(replacement: Any, stock: Any) -> Any:
    def method(backend: Any, *positional: Any, **named: Any) -> Any:
        return replacement(stock, backend, *positional, **named)

    method.__name__ = stock.__name__
    return method


def _endpoint(instance: Any) -> dict[str, Any] | None:
    if instance.db_cluster_identifier:
        return {"Address": instance.address, "Port": instance.port}
    return instance.place


def _version(wanted: str | None) -> str:
    """Return the version that AWS takes for what was asked: a major alone means its latest minor."""
    return LATEST.get(wanted or DEFAULT_MAJOR, wanted or "")


def _require_available(instance: DBInstance) -> None:
    if instance.status != "available":
        raise RDSClientError("InvalidDBInstanceState", "Database instance is not in available state.")


def _naive(moment: Any) -> datetime:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _task_of(backend: Any, snapshot: str | None) -> Any:
    return backend.database_snapshots[snapshot].task if snapshot else None


def _free(name: str, taken: Any) -> str:
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in names if one not in taken)


def _tell(error: BaseException | None, action: str, instance: DBInstance) -> None:
    if error:
        log.error("%s of %s: %s", action, instance.db_instance_identifier, error)
