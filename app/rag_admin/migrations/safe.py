"""What migrations need so that nobody waits for them, and so that one that was interrupted can be run again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

BATCH = 1000  # rows whose locks are held at once: some ten milliseconds
# Building an index concurrently holds up nobody, but itself waits for every transaction that is older than it.
INDEX_WAIT = "30min"


def create_index(name: str, table: str, definition: str) -> None:
    """Create an index while the table is in use; it must be the only thing in its migration.

    :param definition: columns in parentheses, and what may follow them, as SQL has it.
    """
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = '{INDEX_WAIT}'")
        if context.is_offline_mode():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        else:
            # What an interruption leaves behind is maintained by every write and used by no query.
            state = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
            valid = op.get_bind().execute(state, {"name": name}).scalar()
            if valid is False:
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} {definition}")
        op.execute("RESET lock_timeout")


def drop_index(name: str) -> None:
    """Drop an index while its table is in use; it must be the only thing in its migration."""
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = '{INDEX_WAIT}'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute("RESET lock_timeout")


def backfill(table: str, assignment: str, missing: str) -> None:
    """Update the rows that lack something, a batch a transaction; it must be the only thing in its migration.

    An interrupted one goes on where it was, because what it has done is no longer missing.

    :param assignment: what follows SET.
    :param missing: the condition that is true for a row that still has to be done, and false afterwards.
    """
    with op.get_context().autocommit_block():
        if context.is_offline_mode():
            op.execute(f"-- in batches of {BATCH} rows, each a transaction, until none is left")
            op.execute(_batch(table, assignment, missing, "0", str(BATCH)))
            return
        bind, after = op.get_bind(), 0
        while True:
            ids = sa.select(sa.column("id")).select_from(sa.table(table)).where(sa.column("id") > after)
            last = bind.execute(
                sa.select(sa.func.max(sa.column("id"))).select_from(
                    ids.order_by(sa.column("id")).limit(BATCH).subquery()
                )
            ).scalar()
            if last is None:
                return
            bind.exec_driver_sql(_batch(table, assignment, missing, str(after), str(last)))
            after = last


def _batch(table: str, assignment: str, missing: str, after: str, last: str) -> str:
    return f"UPDATE {table} SET {assignment} WHERE id > {after} AND id <= {last} AND {missing}"  # noqa: S608 - our own
