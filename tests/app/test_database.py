"""The database may be down, behind, ahead, restarted, or have a new password."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path

from tests.app.support import PASSWORD, wait_until


def run(server, command):
    return subprocess.run([server.release.command, command], env=server.environment, capture_output=True, text=True)


HEAD = [f"{number:04}" for number in range(1, 9)]


def test_schema_behind_current_and_ahead(serve, database):
    server = serve(migrate=False)
    answer = server.request("GET", "/ready")
    assert answer.status == 503
    assert answer.json()["schema"] == {"state": "behind", "database": None, "code": "0008"}
    assert run(server, "check").returncode == 1
    assert server.request("GET", "/health").status == 200

    result = run(server, "migrate")
    assert json.loads(result.stdout)["applied"] == HEAD
    assert json.loads(run(server, "migrate").stdout)["applied"] == []
    assert server.request("GET", "/ready").status == 200
    assert json.loads(run(server, "check").stdout)["ok"] is True

    # The next version has expanded the schema while this one serves; rolling back to it migrates nothing.
    database.sql("UPDATE alembic_version SET version_num = '0009'")
    answer = server.request("GET", "/ready")
    assert (answer.status, answer.json()["schema"]["state"]) == (200, "ahead")
    assert json.loads(run(server, "migrate").stdout) == {
        "applied": [],
        "retried": 0,
        "schema": {"state": "ahead", "database": "0009", "code": "0008"},
    }

    # It has taken away what this one reads.
    assert database.sql("SELECT obj_description('alembic_version'::regclass)") == "contracted 0008"
    database.sql("COMMENT ON TABLE alembic_version IS 'contracted 0009'")
    answer = server.request("GET", "/ready")
    assert (answer.status, answer.json()["schema"]["state"]) == (503, "contracted")
    refused = run(server, "migrate")
    assert refused.returncode == 1
    assert "found the contract migration 0009 of a later release" in refused.stderr


def test_migrations_run_one_at_a_time(serve, database):
    server = serve(migrate=False)
    results = []
    threads = [threading.Thread(target=lambda: results.append(run(server, "migrate"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.returncode for result in results] == [0] * 4, results
    assert sorted(json.loads(result.stdout)["applied"] for result in results) == [[], [], [], HEAD]


def test_migrations_wait_for_a_runner_of_any_version(serve, database):
    server = serve(migrate=False)
    # The number is the same in every release, or two releases could migrate at once.
    holder = threading.Thread(target=database.sql, args=("SELECT pg_advisory_lock(1918986079), pg_sleep(1.5)",))
    started = time.monotonic()
    holder.start()
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    wait_until(lambda: database.sql(held) == "1", what="the lock")
    assert run(server, "migrate").returncode == 0
    assert time.monotonic() - started > 1.5
    holder.join()


def test_known_revisions_are_those_of_alembic(release):
    program = (
        "from rag_admin import schema; from alembic.script import ScriptDirectory\n"
        "script = ScriptDirectory(str(schema.MIGRATIONS))\n"
        "line = [(step.revision, step.module.phase) for step in script.walk_revisions()][::-1]\n"
        "known = [*schema.revisions().items()]\n"
        "assert len(script.get_heads()) == 1 and line == known, (line, known)"
    )
    subprocess.run([str(release.environment / "bin" / "python"), "-c", program], check=True)


def test_down_and_back(serve, database, postgres):
    """One server through a restart of the database; its kept connections are dead afterwards."""
    server = serve()
    for _ in range(8):  # so that both workers keep connections
        assert server.request("GET", "/ready").status == server.query("a").status == 200
    postgres.stop()
    try:
        answer = server.request("GET", "/ready")
        assert (answer.status, answer.json()) == (503, {"status": "not ready", "database": "unreachable"})
        answer = server.query("a")
        assert (answer.status, answer.json()["error"]["code"]) == (503, "database_unavailable")
        assert server.request("GET", "/health").status == 200
        assert any(line["event"] == "not ready" and line["reason"] for line in server.log())
    finally:
        postgres.start()
    # At once, not at the second try: a dead connection is replaced within the request.
    for _ in range(8):
        assert server.request("GET", "/ready").status == server.query("a").status == 200


def test_restart_of_the_database_between_two_requests_goes_unnoticed(serve, database, postgres):
    server = serve()
    for _ in range(8):
        assert server.query("a").status == 200
    postgres.stop()
    postgres.start()
    assert [server.query("a").status for _ in range(8)] == [200] * 8


def test_rotated_password(serve, database, postgres):
    server = serve()
    assert server.query("a").status == 200
    try:
        postgres.set_password("rotated-password")
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rag_admin'")
        assert server.query("a").status == 503, "the old password was expected to be refused"
        database.write(password="rotated-password")
        # By every worker: a few of them may have looked a moment too early.
        wait_until(lambda: all(server.query("a").status == 200 for _ in range(10)), what="use of the new password")
        assert server.request("GET", "/ready").status == 200
    finally:
        postgres.set_password(PASSWORD)
    assert "rotated-password" not in json.dumps(server.log())


def test_password_is_in_no_command_line_and_no_environment(serve, database):
    server = serve()
    server.query("a")
    processes = [server.process.pid, *server.children()]
    assert len(processes) == 4  # master, two workers, exporter
    for pid in processes:
        for name in ("cmdline", "environ"):
            assert PASSWORD.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    server.stop()
    database.write(password="wrong-password")
    check = run(server, "check")
    assert check.returncode == 1
    assert "password authentication failed" in json.loads(check.stdout)["database"]
    migrate = run(server, "migrate")
    assert migrate.returncode == 1
    assert "Traceback" not in migrate.stderr
    assert "wrong-password" not in check.stdout + check.stderr + migrate.stdout + migrate.stderr


def test_credentials_from_secrets_manager(serve, database, aws):
    aws("secretsmanager").create_secret(Name="rag-admin/database", SecretString=database.file.read_text())
    server = serve(
        APP_DATABASE_FILE="", APP_DATABASE_SECRET_ID="rag-admin/database", AWS_ENDPOINT_URL=aws.url, **aws.credentials
    )
    assert server.request("GET", "/ready").status == 200
    assert server.query("a").status == 200


def test_wrong_settings_stop_the_start(serve):
    server = serve(wait=False, migrate=False, APP_WORKERS="none", APP_COLOR="")
    assert server.process.wait(10) == 2
    assert (
        "APP_WORKERS: expected a whole number from 1 to 64, found 'none'" in (server.directory / "output").read_text()
    )
