# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rds_restore_drill does."""

from __future__ import annotations

import signal

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure, Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database import amcheck, observe, proof
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import drill_plan, instances_api, snapshots_api
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import clock

try:
    import psycopg2
except ImportError:
    psycopg2 = None

_HOPELESS = ("failed", "storage-full", "incompatible-restore", "incompatible-network", "incompatible-parameters")
_DELETION_TIMEOUT = 1800.0  # seconds
_LOGIN_TIMEOUT = 120.0  # seconds: an address that was made a moment ago is not known everywhere
_LONGEST_PAUSE = 15.0  # seconds


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """The module's result.

    :raises Failure: when the copy is not proven; its details are the result.
    """
    if psycopg2 is None:
        raise Failure("the Python library psycopg2 on the controller", "none", "Install psycopg2-binary.")
    drill = Drill(connect, params)
    if check_mode:
        return drill.predict()
    # An end that is asked for must not leave an instance behind.
    signal.signal(signal.SIGTERM, _end)
    return drill.hold()


def _end(_number, _frame):
    raise SystemExit("ended by SIGTERM")


class Drill:
    """One drill: what is restored, into what, and what came of it."""

    def __init__(self, connect: Connector, params: dict):
        instance = params["db_instance_identifier"].lower()
        name = (params["drill_identifier"] or f"{instance}-drill").lower()
        self._params = params = {**params, "db_instance_identifier": instance, "drill_identifier": name}
        self._aws, self._log, self._clock = connect("rds", NORMAL), connect.log, connect.clock
        self._name = name
        ttl = clock.seconds_of(params["ttl"], "ttl")
        max_age = clock.seconds_of(params["max_age"], "max_age")
        instances, self._now = instances_api.describe_instances(self._aws)
        self._live = instances.get(instance)
        drill_plan.require_apart(self._live, params)
        self._leftovers = drill_plan.leftovers(instances, name, self._now)
        found = [] if params["restore_time"] else snapshots_api.describe_snapshots(self._aws, instance)
        self._source = drill_plan.choose(params, self._live, found)
        if not params["snapshot_identifier"] and params["restore_time"] in ("", "latest"):
            drill_plan.require_young(self._source, self._now, max_age)
        self._options = drill_plan.options(params, self._live)
        self._tags = drill_plan.tags(params, self._source, self._now, ttl)
        instances_api.describe_security_groups(connect("ec2", NORMAL), params["vpc_security_group_ids"])
        instances_api.describe_subnet_group(self._aws, params["db_subnet_group_name"])
        instances_api.describe_parameter_group(self._aws, params["db_parameter_group_name"])
        self._result = {
            "changed": True,
            "verdict": "not_run",
            "failures": [],
            "source": self._source.name,
            "source_at": clock.to_text(self._source.at),
            "drill_identifier": name,
            "swept": list(self._leftovers),
            "reached": None,
            "rpo": None,
            "rto": None,
            "rows": None,
            "bytes": None,
        }

    def predict(self) -> dict:
        """What the real run would call."""
        for name in self._leftovers:
            self._log.plan("DeleteDBInstance", name)
        kind = "RestoreDBInstanceFromDBSnapshot" if self._source.snapshot else "RestoreDBInstanceToPointInTime"
        self._log.plan(kind, self._name)
        self._log.plan("DeleteDBInstance", self._name)
        return self._result

    def hold(self) -> dict:
        """Restore, prove, and delete again whatever comes.

        :raises Failure: see :func:`run`.
        """
        for name in self._leftovers:
            self._remove(name)
        live = self._record() if self._params["record"] and self._live else None
        try:
            self._prove(self._restore(), live)
        except Failure as failure:
            failure.details = {**self._result, "verdict": "failed", **failure.details}
            self._clean_up(failure)
            raise
        except BaseException:
            self._clean_up(None)
            raise
        self._remove(self._name)
        return self._result

    def _clean_up(self, failure: Failure | None) -> None:
        """Delete the drill's instance after a failure, which matters more than one of this."""
        try:
            self._remove(self._name)
        except Failure as another:
            if failure:
                failure.add(f"Its instance {self._name} was not deleted: {another}", orphan=self._name)

    def _record(self) -> dict:
        """What a copy has to hold, as the live database says."""
        connection = self._login(self._live, self._params["login_db"])
        try:
            observe.install(connection, False)
            live = observe.record(connection, self._params["tables"])
        finally:
            connection.close()
        # A snapshot ends where it was taken, and RDS recovers from an archive of its own: not where WAL ends.
        return {**live, "archived": None}

    def _restore(self) -> dict:
        """Begin to restore and wait for the instance; return it as AWS has it.

        :raises Failure: when it will not become available, or not in time.
        """
        began = self._clock.monotonic()
        aws = self._aws.afresh()
        try:
            if self._source.snapshot:
                snapshot = self._source.snapshot.identifier
                instances_api.restore_snapshot(aws, self._name, snapshot, self._options, self._tags)
            else:
                source = self._params["db_instance_identifier"]
                instances_api.restore_time(aws, self._name, source, self._source.at, self._options, self._tags)
        except AwsFailure as failure:
            if failure.code != "DBInstanceAlreadyExists":
                raise
            # An attempt whose answer was lost; the tags tell whether it was ours.
        seen: dict = {}

        def look(_elapsed):
            seen.update(self._find(self._name) or {})
            if seen.get("DBInstanceStatus") in _HOPELESS or not seen:
                return False
            ready = seen["DBInstanceStatus"] == "available" and seen.get("Endpoint", {}).get("Address")
            return True if ready else None

        timeout = self._params["wait_timeout"]
        ready = poll(look, lambda calls: min(_LONGEST_PAUSE, 0.5 * calls), timeout, self._clock)
        self._result["rto"] = round(self._clock.monotonic() - began, 1)
        if not ready:
            raise Failure(
                f"the restored instance {self._name} to be available within {timeout:g} s",
                seen.get("DBInstanceStatus", "none"),
                "RDS says why in the instance's events.",
            )
        if not drill_plan.is_drill(seen):
            raise Failure(f"{self._name} to be this drill's", "one without its tags", "Give another drill_identifier.")
        unlike = drill_plan.unlike(seen, self._params)
        if unlike:
            raise Failure(f"{self._name} to be apart from all else", ", ".join(unlike), "Nothing was read from it.")
        return seen

    def _prove(self, item: dict, live: dict | None) -> None:
        """Verify the restored instance through connections.

        :raises Failure: when it is not what it must be.
        """
        began = self._clock.monotonic()
        database = self._params["login_db"]
        connection = poll(lambda _elapsed: self._try_login(item, database), 2.0, _LOGIN_TIMEOUT, self._clock)
        connection = connection or self._login(item, database)
        try:
            seen = observe.observe(connection, live)
        finally:
            connection.close()
        names = [name for name in seen["databases"] if name != "rdsadmin"]
        damages = amcheck.by_sql(lambda name: self._login(item, name), names)
        verdict = proof.judge(self._wanted(live), seen, damages)
        self._result["rto"] = round(self._result["rto"] + self._clock.monotonic() - began, 1)
        keys = ("verdict", "failures", "reached", "rows", "bytes")
        self._result.update({key: verdict[key] for key in keys})
        if verdict["reached"] is not None:
            self._result["rpo"] = round(max(0.0, self._now.timestamp() - verdict["reached"]), 1)
        if verdict["verdict"] != "proven":
            raise Failure(
                f"{self._source.name} to be restored as it was",
                proof.summary(verdict),
                "The backup does not prove that the data can be had back.",
            )

    def _wanted(self, live: dict | None) -> proof.Wanted:
        at, given = self._source.at.timestamp(), self._params
        when = {"started": at} if self._source.snapshot else {"target": at}
        common = {"rpo": given["rpo"], "interval": given["interval"], "alembic_head": given["alembic_head"]}
        return proof.Wanted(live=live, **when, **common)

    def _remove(self, name: str) -> None:
        """Delete a drill's instance and wait until it is gone.

        :raises Failure: when it is not in time, or no drill's.
        """
        aws = self._aws.afresh()

        def look(_elapsed):
            item = self._find(name)
            if item is None:
                return True
            if not drill_plan.is_drill(item):
                raise Failure(f"{name} to be a drill's", "an instance without its tags", "It was left alone.")
            if item["DBInstanceStatus"] != "deleting":
                self._delete(aws, name)
            return None

        if not poll(look, lambda calls: min(_LONGEST_PAUSE, 0.5 * calls), _DELETION_TIMEOUT, self._clock):
            raise Failure(
                f"{name} to be gone within {_DELETION_TIMEOUT:g} s",
                "it still there",
                "The next drill deletes it, or delete it by hand.",
                orphan=name,
            )

    def _delete(self, aws: Aws, name: str) -> None:
        try:
            instances_api.delete_instance(aws, name)
        except AwsFailure as failure:
            # One that is still being made can be deleted later, one that is being deleted needs no more.
            if failure.code not in ("InvalidDBInstanceState", "DBInstanceNotFound"):
                raise

    def _find(self, name: str) -> dict | None:
        return instances_api.describe_instances(self._aws.afresh())[0].get(name)

    def _try_login(self, item: dict, database: str):
        try:
            return self._login(item, database)
        except Failure as failure:
            if "authentication failed" in str(failure):
                raise  # which no waiting mends
            return None

    def _login(self, item: dict, database: str):
        """A connection in autocommit mode to an instance.

        :raises Failure: when there is none to be had.
        """
        given, endpoint = self._params, item["Endpoint"]
        tls = {"sslmode": given["ssl_mode"], **({"sslrootcert": given["ca_cert"]} if given["ca_cert"] else {})}
        try:
            connection = psycopg2.connect(
                host=endpoint["Address"],
                port=endpoint["Port"],
                dbname=database,
                user=given["login_user"],
                password=given["login_password"],
                connect_timeout=10,
                application_name="rds_restore_drill",
                **tls,
            )
        except psycopg2.Error as error:
            raise Failure(
                f"a connection to {database} on {item['DBInstanceIdentifier']} as {given['login_user']}",
                str(error).strip().splitlines()[0],
                "See whether the controller may reach the security group's port, and the login and ssl_mode.",
            ) from error
        connection.autocommit = True
        return connection
