"""Migrations under the application that uses the schema: nobody waits, nothing is lost, interruptions are made good."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.app.support import held, psql, wait_until

BEFORE_STATUS = "0002"  # what the version before this one knows
EXPANDED, HEAD = "0007", "0008"
HERE = "(SELECT oid FROM pg_database WHERE datname = current_database())"
RUNNER = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = {HERE}"  # noqa: S608


class Migrations:
    """The command of the installed release against one database."""

    def __init__(self, release, database) -> None:
        self.command = release.command
        self.database = database
        self.environment = {"PATH": os.environ["PATH"], "APP_DATABASE_FILE": str(database.file)}

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [self.command, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str) -> dict:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return {**json.loads(out), "said": err}

    def refused(self, *arguments: str) -> str:
        process = self.start(*arguments)
        _out, err = process.communicate(timeout=120)
        assert process.returncode == 1, err
        assert "Traceback" not in err
        return err

    def shape(self) -> str:
        """What the schema looks like; equal shapes are equal schemas."""
        return self.database.sql(
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2;"
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1;"
            "SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace ORDER BY 1;"
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;"
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
        )

    def old_schema(self, users: int = 0) -> None:
        """The schema of the version before, with every third user disabled."""
        self.run("migrate", "--revision", BEFORE_STATUS)
        self.database.sql(
            "INSERT INTO users (username, email, is_active)"  # noqa: S608
            f" SELECT 'u' || n, n || '@example.org', n % 3 > 0 FROM generate_series(1, {users}) AS n"
        )


@pytest.fixture
def migrations(release, database) -> Migrations:
    return Migrations(release, database)


def test_contract_waits_for_its_own_run(migrations, serve):
    migrations.old_schema(users=2500)
    server = serve(migrate=False)
    assert server.request("GET", "/ready").status == 503
    done = migrations.run("migrate")
    assert (done["applied"][0], done["applied"][-1]) == ("0003", EXPANDED)
    answer = server.request("GET", "/ready")
    assert (answer.status, answer.json()["schema"]["state"]) == (200, "expanded")
    assert server.query("example.org", limit=100).json()["count"] == 100

    # Both versions write while both columns are there, and each sees what the other wrote.
    migrations.database.sql("INSERT INTO users (username, email, is_active) VALUES ('old', 'old', false)")
    migrations.database.sql("INSERT INTO users (username, email, status) VALUES ('new', 'new', 'disabled')")
    migrations.database.sql("UPDATE users SET is_active = false WHERE username = 'u1'")
    migrations.database.sql("UPDATE users SET status = 'disabled' WHERE username = 'u2'")
    unequal = "SELECT count(*) FROM users WHERE is_active IS DISTINCT FROM (status = 'active')"
    assert migrations.database.sql(unequal) == "0"
    assert migrations.database.sql("SELECT count(*) FROM users WHERE status = 'active'") == str(2500 - 833 - 2)

    assert migrations.run("migrate", "--phase", "contract")["applied"] == [HEAD]
    assert server.request("GET", "/ready").json()["schema"]["state"] == "current"
    assert server.query("example.org", limit=100).json()["count"] == 100


def test_every_migration_can_be_taken_back(migrations):
    migrations.run("migrate", "--revision", "0001")
    migrations.database.sql(
        "INSERT INTO users (username, email, is_active)"
        " SELECT 'u' || n, n, n % 3 > 0 FROM generate_series(1, 1500) AS n"
    )
    shapes = {"0001": migrations.shape()}
    for number in range(2, 9):
        revision = f"{number:04}"
        assert migrations.run("migrate", "--revision", revision, "--phase", "all")["applied"] == [revision]
        shapes[revision] = migrations.shape()
    contracted = "SELECT obj_description('alembic_version'::regclass)"
    assert migrations.database.sql(contracted) == f"contracted {HEAD}"
    for number in range(7, 0, -1):
        revision = f"{number:04}"
        assert migrations.run("downgrade", revision)["reverted"] == [f"{number + 1:04}"]
        assert migrations.shape() == shapes[revision], revision
        assert migrations.database.sql(contracted) == ""
    assert migrations.database.sql("SELECT count(*) FROM users WHERE NOT is_active") == "500"
    assert len(migrations.run("migrate", "--phase", "all")["applied"]) == 7
    assert len(migrations.run("downgrade", "base")["reverted"]) == 8
    assert migrations.database.sql("SELECT count(*) FROM alembic_version") == "0"


def test_phases_are_applied_in_their_order(migrations):
    migrations.run("migrate", "--revision", "0002")
    assert "Ship the release first" in migrations.refused("migrate", "--phase", "contract")
    assert "0001 to 0008" in migrations.refused("migrate", "--revision", "0042")


def test_preview_changes_nothing_and_is_what_would_run(migrations):
    migrations.old_schema()
    before = migrations.shape()
    predicted = migrations.run("migrate", "--check", "--phase", "all")
    assert migrations.shape() == before
    for text in ("SET lock_timeout = '1800ms'", "CREATE INDEX CONCURRENTLY", "NOT VALID", "UPDATE users SET status"):
        assert text in predicted["said"]
    by_a_person = psql(migrations.database)
    by_a_person.communicate(predicted["said"])
    assert by_a_person.returncode == 0
    by_hand = migrations.shape()
    assert migrations.run("migrate", "--phase", "all")["applied"] == []
    assert migrations.run("downgrade", BEFORE_STATUS)["reverted"][0] == HEAD
    really = migrations.run("migrate", "--phase", "all")
    assert really["applied"] == predicted["applied"]
    assert migrations.shape() == by_hand


def test_a_reader_holds_up_the_migration_and_nobody_else(migrations, serve):
    """It gives up within its limit, lets the others pass, and tries again until the reader is gone."""
    migrations.old_schema(users=100)
    slowest, stop = [0.0], threading.Event()

    def query():
        while not stop.is_set():
            began = time.monotonic()
            migrations.database.sql("SELECT count(*) FROM users WHERE is_active")
            slowest[0] = max(slowest[0], time.monotonic() - began)

    with held(migrations.database, "SELECT count(*) FROM users") as end:
        running = migrations.start("migrate")
        thread = threading.Thread(target=query)
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'alembic' AND wait_event_type = 'Lock'"
        wait_until(lambda: migrations.database.sql(waits) == "1", what="a migration that waits")
        wait_until(lambda: migrations.database.sql(waits) == "0", what="its end")
        end()
        out, err = running.communicate(timeout=60)
        stop.set()
        thread.join()
    assert running.returncode == 0, err
    assert json.loads(out)["retried"] >= 1
    assert "0003: somebody holds what it needs; again in" in err
    assert 1 < slowest[0] <= 2.2, "a query waited for longer than the lock timeout"


def kill(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_killed_in_the_backfill(migrations):
    migrations.old_schema(users=20_000)
    migrations.run("migrate", "--revision", "0003")
    left = "SELECT count(*) FROM users WHERE status IS NULL"
    # The last row is held: the backfill has done all batches but the last, and waits.
    with held(migrations.database, "UPDATE users SET email = email WHERE username = 'u20000'"):
        process = migrations.start("migrate", "--revision", "0004")
        wait_until(lambda: int(migrations.database.sql(left)) <= 1000, what="the batches before the last")
        kill(process)
        wait_until(lambda: migrations.database.sql(RUNNER) == "0", what="the end of the lock")
    assert migrations.database.sql("SELECT version_num FROM alembic_version") == "0003"
    assert 0 < int(migrations.database.sql(left)) <= 1000, "what was done is kept"
    assert migrations.run("migrate")["applied"] == ["0004", "0005", "0006", "0007"]
    assert migrations.database.sql(left) == "0"


def test_killed_while_it_builds_an_index(migrations):
    migrations.old_schema(users=100)
    migrations.run("migrate", "--revision", "0006")
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    with held(migrations.database, "SELECT count(*) FROM users") as end:
        process = migrations.start("migrate")
        wait_until(lambda: migrations.database.sql(invalid) == "1", what="a half-built index")
        kill(process)
        # The statement is given up although the reader is still there, and the lock of the one runner with it.
        wait_until(lambda: migrations.database.sql(RUNNER) == "0", timeout=10, what="the end of the lock")
        end()
    assert migrations.database.sql(invalid) == "1"
    assert migrations.run("migrate")["applied"] == ["0007"]
    assert migrations.database.sql(invalid) == "0"
    assert migrations.database.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'users_active'::regclass") == "t"


def test_the_runner_is_the_one_of_the_collection(release):
    """One implementation: the application carries a copy of what the module sends to other applications."""
    own = next(release.environment.glob("lib/python3*/site-packages/rag_admin/runner.py"))
    ours = Path(__file__).resolve().parents[2] / "plugins/module_utils/migrations/runner.py"
    assert own.read_text() == ours.read_text()
