"""Bring the schema to this code's head: one runner at a time, never waiting long for a lock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions

from . import credentials, schema
from .database import connect
from .settings import Settings

# Any constant will do, as long as it stays this one: hosts that migrate at the same time must mean the same lock.
ADVISORY_LOCK = 0x7261675F  # "rag_"
LOCK_WAIT = 60.0  # seconds to wait for another runner
LOCK_TIMEOUT = 2.0  # seconds a migration may wait for a table, and hold up everybody behind it


class MigrationError(Exception):
    """The migrations could not be applied; the message says why."""


def migrate(settings: Settings) -> dict:
    """Apply what is missing.

    :returns: ``{"applied": [revision, …], "schema": {…}}``; nothing is applied to a schema that is ahead of this code.
    :raises MigrationError: when another runner holds the lock for too long, or a migration fails.
    :raises CredentialsError: when the credentials cannot be read.
    """
    login = credentials.source(settings).current()
    known = schema.revisions()
    try:
        with _connection(login) as guard, guard.cursor() as cursor:
            _lock(cursor)
            before = schema.compare(schema.current_revision(cursor), known)
            applied = _upgrade(login) if before.state == "behind" else []
            after = schema.compare(schema.current_revision(cursor), known)
    except psycopg2.Error as error:
        raise MigrationError(str(error).strip()) from None
    return {"applied": applied, "schema": after.as_dict()}


@contextlib.contextmanager
def _connection(login: credentials.Credentials) -> Iterator[psycopg2.extensions.connection]:
    # 0 is no limit: a backfill may take long. What must not take long is waiting for a lock, see LOCK_TIMEOUT.
    with contextlib.closing(connect(login, connect_timeout=5, statement_timeout=0)) as connection:
        yield connection


def _lock(cursor: psycopg2.extensions.cursor) -> None:
    """Take the lock that ends with this connection, whatever happens to us."""
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,))
        if cursor.fetchone()[0]:
            return
        if time.monotonic() > deadline:
            raise MigrationError(f"another migration has been running for more than {LOCK_WAIT:g} s; try again later")
        time.sleep(0.5)


def _upgrade(login: credentials.Credentials) -> list[str]:
    # Imported here: the server never needs them.
    import sqlalchemy
    import sqlalchemy.exc
    from alembic import command
    from alembic.config import Config

    def open_connection():
        connection = connect(login, connect_timeout=5, statement_timeout=0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(LOCK_TIMEOUT * 1000)}ms",))
        connection.autocommit = False
        return connection

    applied: list[str] = []
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS).replace("%", "%%"))
    # A creator instead of a URL: a URL with a password ends up in somebody's log.
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=open_connection, poolclass=sqlalchemy.NullPool)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            config.attributes["applied"] = applied
            command.upgrade(config, "head")
    except sqlalchemy.exc.DBAPIError as error:
        raise MigrationError(f"after {applied or 'none'} were applied: {str(error.orig).strip()}") from None
    return applied
