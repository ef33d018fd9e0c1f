"""RDS instances that are real: what a snapshot holds, and what a restore brings back, is asked of PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from lab.aws.control import Control
from tests.lab.account import until
from tests.lab.conftest import CHECKOUT, start_server
from tests.lab.rds_account import PASSWORD, Databases

HOST = "rds-test"
ROWS = 20_000
CHECKSUM = "SELECT count(*), md5(string_agg(id || value, ',' ORDER BY id)) FROM canary"


def lab(*arguments: str) -> str:
    """Run the lab's command and return what it prints."""
    command = [sys.executable, "-m", "lab", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """RDS whose instances are clusters on a host."""
    address = lab("rds", "up", "--name", HOST).split()[1]
    state = tmp_path_factory.mktemp("lab")
    server, endpoint = start_server(
        [sys.executable, "-m", "lab.aws", "--port=0", f"--state-dir={state}", "--data-plane=none",
         f"--rds-host={address}", "--set=rds_seconds=0", "--set=rds_archive_seconds=0.5"]
    )  # fmt: skip
    yield Databases(endpoint, Control(endpoint))
    server.terminate()
    server.wait(10)
    lab("host", "down", HOST)


def ask(about: dict[str, Any], *statements: str, database: str = "app") -> Any:
    """Run statements on an instance as its master user; return the first row of the last."""
    place = about["Endpoint"]
    with psycopg.connect(
        host=place["Address"], port=place["Port"], dbname=database, user="master", password=PASSWORD,
        sslmode="require", connect_timeout=5, autocommit=True,
    ) as connection:  # fmt: skip
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


@pytest.fixture(scope="module")
def source(rds: Databases) -> dict[str, Any]:
    """An instance with rows in it."""
    rds.here.create_db_parameter_group(
        DBParameterGroupName="clusters", DBParameterGroupFamily="postgres15", Description="clusters"
    )
    about = rds.settled(rds.instance(wait=0, DBName="app", DBParameterGroupName="clusters"), seconds=60)
    ask(
        about,
        "CREATE TABLE canary (id int PRIMARY KEY, value text)",
        "INSERT INTO canary SELECT n, md5(n::text) FROM generate_series(1, 20000) n",
    )
    return about


def test_a_snapshot_brings_back_the_rows_it_was_taken_of_in_another_region_too(
    rds: Databases, source: dict[str, Any]
) -> None:
    before = ask(source, CHECKSUM)
    assert before[0] == ROWS
    snapshot = rds.snapshot(source["DBInstanceIdentifier"], wait=0)
    rds.taken(snapshot, seconds=60)
    ask(source, "CREATE TABLE later (n int)")
    copied = rds.copy(snapshot, wait=0)
    rds.taken(copied, client=rds.there, seconds=60)
    # What the copy restores to does not hang on its source.
    rds.here.delete_db_snapshot(DBSnapshotIdentifier=snapshot)
    rds.there.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier="brought-back", DBSnapshotIdentifier=copied, BackupRetentionPeriod=0
    )
    restored = until(
        lambda: (one := rds.there.describe_db_instances()["DBInstances"][0])["DBInstanceStatus"] == "available" and one,
        60,
    )
    assert restored["Endpoint"] != source["Endpoint"]
    assert ask(restored, CHECKSUM) == before
    assert ask(restored, "SELECT to_regclass('later')") == (None,)
    ask(restored, "SELECT bt_index_check('canary_pkey', heapallindexed => true)")
    # A restored instance is one of its own.
    ask(restored, "DELETE FROM canary")
    assert ask(source, CHECKSUM) == before


def test_an_instance_is_restored_to_a_time(rds: Databases, source: dict[str, Any]) -> None:
    name = source["DBInstanceIdentifier"]
    before = ask(source, CHECKSUM)
    moment = ask(source, "SELECT date_trunc('second', clock_timestamp()) + interval '1 second'")[0]
    time.sleep(1.5)
    ask(source, "UPDATE canary SET value = 'lost'")
    loss = ask(source, "SELECT clock_timestamp()")[0]
    until(lambda: rds.about(name)["LatestRestorableTime"] > loss, 20)
    for target, options in (
        ("before-the-loss", {"RestoreTime": moment}),
        ("after-the-loss", {"UseLatestRestorableTime": True}),
    ):
        rds.here.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier=name, TargetDBInstanceIdentifier=target, BackupRetentionPeriod=0, **options
        )
    assert ask(rds.settled("before-the-loss", seconds=60), CHECKSUM) == before
    assert ask(rds.settled("after-the-loss", seconds=60), "SELECT DISTINCT value FROM canary") == ("lost",)
    ask(source, "UPDATE canary SET value = md5(id::text)")
    assert ask(source, CHECKSUM) == before


def test_what_was_not_archived_is_not_promised(rds: Databases, source: dict[str, Any]) -> None:
    name, resource = source["DBInstanceIdentifier"], source["DbiResourceId"]
    address = next(line.split()[1] for line in lab("host", "list").splitlines() if line.startswith(HOST))
    archive = f"/srv/rds/instances/{resource}/archive"

    def on_host(command: str) -> None:
        from lab import settings

        ssh = ["ssh", "-i", str(settings.SSH_KEY), "-o", f"UserKnownHostsFile={settings.KNOWN_HOSTS}"]
        subprocess.run([*ssh, f"root@{address}", command], check=True, capture_output=True)

    until(lambda: "LatestRestorableTime" in rds.about(name), 10)
    on_host(f"mv {archive} {archive}.away")
    try:
        time.sleep(1)
        stuck = rds.about(name)["LatestRestorableTime"]
        time.sleep(3)
        assert rds.about(name)["LatestRestorableTime"] == stuck
    finally:
        on_host(f"mv {archive}.away {archive}")
    until(lambda: rds.about(name)["LatestRestorableTime"] > stuck, 70)


def test_a_reboot_applies_what_a_change_alone_does_not(rds: Databases, source: dict[str, Any]) -> None:
    def change(**parameters: str) -> None:
        rds.here.modify_db_parameter_group(
            DBParameterGroupName="clusters",
            Parameters=[
                {
                    "ParameterName": name,
                    "ParameterValue": value,
                    "ApplyMethod": "immediate" if name == "work_mem" else "pending-reboot",
                }
                for name, value in parameters.items()
            ],
        )

    name = source["DBInstanceIdentifier"]
    change(work_mem="12345", max_connections="77")
    until(lambda: ask(source, "SHOW work_mem") == ("12345kB",), 10)
    assert ask(source, "SHOW max_connections") == ("50",)
    assert rds.about(name)["DBParameterGroups"][0]["ParameterApplyStatus"] == "pending-reboot"
    rds.here.reboot_db_instance(DBInstanceIdentifier=name)
    about = rds.settled(name, seconds=30)
    assert ask(about, "SHOW max_connections") == ("77",)
    assert about["DBParameterGroups"][0]["ParameterApplyStatus"] == "in-sync"


def test_parameters_that_no_server_starts_with_are_found_out(rds: Databases, source: dict[str, Any]) -> None:
    name = source["DBInstanceIdentifier"]
    huge = {"ParameterName": "shared_buffers", "ApplyMethod": "pending-reboot"}
    rds.here.modify_db_parameter_group(
        DBParameterGroupName="clusters", Parameters=[{**huge, "ParameterValue": "1000000000"}]
    )
    rds.here.reboot_db_instance(DBInstanceIdentifier=name)
    rds.settled(name, "incompatible-parameters", 30)
    rds.here.reset_db_parameter_group(DBParameterGroupName="clusters", Parameters=[huge])
    rds.here.reboot_db_instance(DBInstanceIdentifier=name)
    assert ask(rds.settled(name, seconds=30), CHECKSUM)[0] == ROWS


def test_a_version_that_the_host_lacks_is_not_there(rds: Databases) -> None:
    with pytest.raises(Exception, match="Cannot find version 14"):
        rds.instance(EngineVersion="14")


def test_a_deleted_instance_answers_no_more_and_its_last_snapshot_does(rds: Databases, source: dict[str, Any]) -> None:
    before = ask(source, CHECKSUM)
    rds.here.delete_db_instance(
        DBInstanceIdentifier=source["DBInstanceIdentifier"], FinalDBSnapshotIdentifier="the-last"
    )
    until(lambda: rds.gone(source["DBInstanceIdentifier"]), 60)
    with pytest.raises(psycopg.OperationalError):
        ask(source, "SELECT 1")
    rds.here.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier="from-the-last", DBSnapshotIdentifier="the-last", BackupRetentionPeriod=0
    )
    assert ask(rds.settled("from-the-last", seconds=60), CHECKSUM) == before
