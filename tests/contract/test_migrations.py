"""No migration of the application holds others up, or breaks the version before; each rule finds its case."""

from __future__ import annotations

import functools
import sys

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.migrations import runner
from contract import migrations, tree

sys.path.insert(0, str(tree.ROOT / "app"))
FOLDER = tree.ROOT / "app/rag_admin/migrations"


@functools.cache
def written() -> dict[str, tuple[str, str | None]]:
    """SQL and phase of each migration by its revision, as the preview shows them."""
    options = runner.Options(str(FOLDER))
    script, chain = runner._scripts(options)
    before = [None, *(step.revision for step in chain)]
    return {
        step.revision: (runner.preview(script, options, previous, [step]), step.phase)
        for previous, step in zip(before, chain, strict=False)
    }


REVISIONS = sorted(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


@pytest.mark.parametrize("revision", REVISIONS)
def test_migration_is_safe(revision: str):
    sql, phase = written()[revision]
    assert not migrations.problems(sql, phase)


SAMPLES = {
    "DROP TABLE users": {"ban-drop-table"},
    "ALTER TABLE users DROP COLUMN email": {"ban-drop-column"},
    "ALTER TABLE users DROP CONSTRAINT c": {"ban-drop-constraint"},
    "ALTER TABLE users ALTER COLUMN email DROP NOT NULL": {"ban-drop-not-null"},
    "DROP FUNCTION f()": {"ban-drop-function"},
    "ALTER TABLE users RENAME COLUMN email TO address": {"renaming-column"},
    "ALTER TABLE users RENAME TO people": {"renaming-table"},
    "ALTER TABLE users ADD COLUMN age bigint NOT NULL": {"adding-required-field"},
    "ALTER TABLE users ALTER COLUMN email SET NOT NULL": {"adding-not-nullable-field"},
    "ALTER TABLE users ADD COLUMN token text DEFAULT random()::text": {"adding-field-with-default"},
    "ALTER TABLE users ADD COLUMN n bigserial": {"rewrites-a-table"},
    "ALTER TABLE users ALTER COLUMN id TYPE numeric": {"changing-column-type"},
    "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0)": {"constraint-missing-not-valid"},
    "ALTER TABLE users ADD CONSTRAINT c UNIQUE (email)": {
        "constraint-missing-not-valid",
        "disallowed-unique-constraint",
    },
    "ALTER TABLE users ADD CONSTRAINT c FOREIGN KEY (team) REFERENCES teams (id)": {
        "adding-foreign-key-constraint",
        "constraint-missing-not-valid",
        "several-tables-in-one-transaction",
    },
    "CREATE INDEX i ON users (email)": {"require-concurrent-index-creation"},
    "DROP INDEX i": {"require-concurrent-index-deletion"},
    "REINDEX TABLE users": {"require-concurrent-reindex"},
    "CREATE INDEX CONCURRENTLY i ON users (email)": {
        "ban-concurrent-index-creation-in-transaction",
        "half-built-index-left",
    },
    "COMMIT; CREATE INDEX CONCURRENTLY i ON users (email); BEGIN": {"half-built-index-left"},
    "ALTER TABLE users ADD COLUMN a text; COMMIT; DROP INDEX CONCURRENTLY IF EXISTS i; BEGIN": {
        "concurrent-index-not-alone"
    },
    "TRUNCATE users": {"rewrites-a-table"},
    "COMMIT; VACUUM FULL users; BEGIN": {"rewrites-a-table"},
    "CLUSTER users": {"rewrites-a-table"},
    "UPDATE users SET email = lower(email)": {"data-not-in-batches"},
    "DELETE FROM users WHERE email IS NULL": {"data-not-in-batches"},
    "ALTER TABLE users ADD COLUMN a text; UPDATE users SET a = email WHERE id > 0": {"data-under-a-lock"},
    "ALTER TABLE users ADD COLUMN a text; ALTER TABLE users VALIDATE CONSTRAINT c": {"validation-under-a-lock"},
    "ALTER TABLE users ADD COLUMN a text; ALTER TABLE teams ADD COLUMN b text": {"several-tables-in-one-transaction"},
    "ALTER TABLE users ADD COLUMN a text; CREATE TRIGGER t BEFORE INSERT ON teams EXECUTE FUNCTION f()": {
        "several-tables-in-one-transaction"
    },
    "CREATE TABLE a (id bigint REFERENCES users, team bigint REFERENCES teams)": {"several-tables-in-one-transaction"},
}
GOOD = [
    "CREATE TABLE teams (id bigint PRIMARY KEY, leader bigint REFERENCES users); ALTER TABLE teams ADD COLUMN a text",
    "ALTER TABLE users ADD COLUMN a text; CREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION f()",
    "ALTER TABLE users ADD COLUMN a boolean NOT NULL DEFAULT true",
    "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
    "ALTER TABLE users VALIDATE CONSTRAINT c",
    "COMMIT; DROP INDEX CONCURRENTLY IF EXISTS i; CREATE INDEX CONCURRENTLY i ON users (email); BEGIN",
    "COMMIT; UPDATE users SET a = email WHERE id > 0 AND id <= 1000; BEGIN",
]


def as_written(body: str) -> str:
    return (
        f"SET lock_timeout = '1800ms';\nBEGIN;\n-- Running upgrade 1 -> 2\n{body};\n"
        "UPDATE alembic_version SET version_num='2' WHERE alembic_version.version_num = '1';\nCOMMIT;\n"
    )


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_rule_finds_its_case(sample: str):
    assert migrations.problems(as_written(sample), "expand") == SAMPLES[sample]


@pytest.mark.parametrize("sample", GOOD)
def test_what_is_safe_passes(sample: str):
    assert not migrations.problems(as_written(sample), "expand")


def test_contract_may_drop_and_nothing_else():
    allowed = {sample for sample in SAMPLES if not migrations.problems(as_written(sample), "contract")}
    assert allowed == {sample for sample, found in SAMPLES.items() if found <= migrations.CONTRACT_ONLY}
    assert len(allowed) == 5


def test_phase_and_lock_timeout_are_required():
    assert migrations.problems(as_written(GOOD[0]), None) == {"no-phase"}
    assert migrations.problems(GOOD[0], "expand") == {"no-lock-timeout"}
    assert migrations.problems(f"SET lock_timeout = '0'; {GOOD[0]}", "expand") == {"no-lock-timeout"}


def test_bodies_of_functions_are_not_split():
    function = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE a SET b = 1; RETURN NEW; END $$"
    assert migrations.statements(f"{function}; SELECT 1 -- ;\n") == [function, "SELECT 1"]
