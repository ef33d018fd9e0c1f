"""The module against a real PostgreSQL, for an application that knows nothing of this collection."""

from __future__ import annotations

from tests.app.support import PASSWORD, held


def revisions(steps) -> list[str]:
    return [step["revision"] for step in steps]


def test_predicted_applied_and_settled(shop):
    shop.migrate(revision="5f1e")
    planned = shop.migrate(check=True).result
    assert shop.database.sql("SELECT version_num FROM alembic_version") == "5f1e"
    done = shop.migrate().result
    assert {**done, "invocation": ""} == {**planned, "invocation": ""}
    assert (done["changed"], revisions(done["applied"]), done["current"], done["head"]) == (
        True,
        ["a02c"],
        "a02c",
        "07d9",
    )
    assert done["diff"] == {"before": {"revision": "5f1e"}, "after": {"revision": "a02c"}}
    assert revisions(done["pending"]) == ["07d9"]
    assert "ALTER TABLE orders ADD COLUMN note text" in done["sql"]
    assert "SET lock_timeout = '1800ms'" in done["sql"]
    again = shop.migrate().result
    assert (again["changed"], again["applied"], again["sql"]) == (False, [], "")
    contracted = shop.migrate(phase="contract").result
    assert (contracted["current"], contracted["pending"]) == ("07d9", [])


def test_an_empty_database_gets_everything(shop):
    assert revisions(shop.migrate().result["applied"]) == ["5f1e", "a02c", "07d9"]


def test_the_password_is_in_no_answer(shop):
    shop.database.write(password="wrong-password")
    failed = shop.migrate()
    assert failed.failed
    assert "password authentication failed" in failed.result["msg"]
    assert "wrong-password" not in failed.shown
    shop.database.write()
    assert PASSWORD not in shop.migrate().shown


def test_a_failure_names_the_migration_and_keeps_what_was_done(shop):
    shop.migrate(phase="all")
    shop.sql("b100", "ALTER TABLE orders ADD COLUMN paid boolean")
    shop.sql("b200", "ALTER TABLE nowhere ADD COLUMN x int")
    failed = shop.migrate()
    assert failed.failed
    assert "migration b200 (Step b200.) to succeed" in failed.result["msg"]
    assert 'relation "nowhere" does not exist' in failed.result["msg"]
    assert revisions(failed.result["applied"]) == ["b100"]
    assert shop.database.sql("SELECT version_num FROM alembic_version") == "b100"


def test_a_lock_that_stays_held_is_not_waited_for(shop):
    shop.migrate(revision="5f1e")
    with held(shop.database, "LOCK TABLE orders"):
        failed = shop.migrate(lock_timeout=0.3, retries=1)
    assert failed.failed
    assert "migration a02c (Step a02c.) to succeed; found in 2 tries" in failed.result["msg"]
    assert "lock timeout" in failed.result["msg"]
    done = shop.migrate(lock_timeout=0.3)
    assert done.result["applied"]


def test_waiting_ends_although_a_migration_has_a_lock_timeout_of_its_own(shop):
    shop.migrate(phase="all")
    shop.add(
        "c100",
        "expand",
        "with op.get_context().autocommit_block():\n"
        "        op.execute(\"SET lock_timeout = '2s'\")\n"
        "        op.execute('CREATE INDEX CONCURRENTLY notes ON orders (note)')",
    )
    with held(shop.database, "LOCK TABLE orders"):
        failed = shop.migrate(retry_timeout=2)
    assert failed.failed
    assert "found in 1 try: canceling statement due to lock timeout" in failed.result["msg"]
    assert shop.migrate().result["current"] == "c100"


def test_a_release_older_than_the_newest_contract_migration_is_refused(shop):
    shop.migrate(phase="all")
    shop.sql("d100", "ALTER TABLE orders ADD COLUMN paid boolean")
    assert shop.migrate().result["current"] == "d100"
    (shop.folder / "schema" / "versions" / "d100.py").unlink()
    assert shop.migrate().result["applied"] == []  # it knows what was taken away
    (shop.folder / "schema" / "versions" / "07d9.py").unlink()
    for check in (True, False):
        failed = shop.migrate(check)
        assert failed.failed
        assert "found the contract migration 07d9 of a later release" in failed.result["msg"]


def test_refused_before_anything_changes(shop, tmp_path):
    refusals = [
        ({"virtualenv": str(tmp_path)}, "bin/python to run"),
        ({"script_location": "nowhere"}, "migrations in nowhere"),
        ({"database_file": str(tmp_path / "none")}, "to be readable"),
        ({"database_file": None}, "database_file or the variable DATABASE_URL"),
        ({"revision": "ffff"}, "a revision of 5f1e to 07d9"),
        ({"user": "nobody-of-that-name"}, "to run as nobody-of-that-name"),
    ]
    for options, message in refusals:
        failed = shop.migrate(**options)
        assert failed.failed, options
        assert message in failed.result["msg"]
    (tmp_path / "text").write_text("not a database")
    failed = shop.migrate(database_file=str(tmp_path / "text"))
    assert "the database as a URL" in failed.result["msg"]
    assert "not a database" not in failed.result["msg"]
    assert shop.database.sql("SELECT to_regclass('alembic_version') IS NULL") == "t"


def test_the_code_runs_as_another_user(shop):
    shop.sql("c300", "SELECT 1")
    shop.add("c400", "expand", "import os; assert os.geteuid() == 65534 and 0 not in os.getgroups(), os.geteuid()")
    done = shop.migrate(phase="all", user="nobody")
    assert not done.failed, done.result
