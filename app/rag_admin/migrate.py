"""Bring the schema to this code: the runner does it, here it learns who we are and where our migrations are."""

from __future__ import annotations

import sys

from . import credentials, runner, schema
from .runner import MigrationError
from .settings import Settings

__all__ = ["MigrationError", "downgrade", "migrate"]


def migrate(settings: Settings, revision: str = "head", phase: str = runner.EXPAND, check: bool = False) -> dict:
    """Apply what is missing.

    :returns: the names of what was ``applied``, whether that took others waiting, and how the ``schema`` stands.
    :raises MigrationError: when another runner holds the lock for too long, or a migration fails.
    :raises CredentialsError: when the credentials cannot be read.
    """
    answer = runner.upgrade(_url(settings), runner.Options(str(schema.MIGRATIONS)), revision, phase, check)
    if check:
        print(answer["sql"], file=sys.stderr)
    return {
        "applied": [step["revision"] for step in answer["applied"]],
        "retried": answer["retried"],
        "schema": schema.compare((answer["current"], None), schema.revisions()).as_dict(),
    }


def downgrade(settings: Settings, revision: str) -> dict:
    """Take migrations back until the schema is at a revision.

    :raises MigrationError: when one cannot be taken back.
    """
    answer = runner.downgrade(_url(settings), runner.Options(str(schema.MIGRATIONS)), revision)
    return {
        "reverted": [step["revision"] for step in answer["reverted"]],
        "schema": schema.compare((answer["current"], None), schema.revisions()).as_dict(),
    }


def _url(settings: Settings):
    from sqlalchemy.engine import URL

    login = credentials.source(settings).current()
    ssl = {"sslmode": login.sslmode, **({"sslrootcert": login.sslrootcert} if login.sslrootcert else {})}
    address = {"host": login.host, "port": login.port, "database": login.dbname, "query": ssl}
    return URL.create("postgresql+psycopg2", username=login.username, password=login.password, **address)
