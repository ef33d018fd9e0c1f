"""How the database's schema stands to this code.

The migrations form one line and their file names begin with their revision, ``0001_users.py``, so a worker knows them
without loading Alembic and SQLAlchemy (a test holds this against Alembic itself).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg2
import psycopg2.errors

MIGRATIONS = Path(__file__).parent / "migrations"


def revisions() -> list[str]:
    """Every revision this code knows, oldest first."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


@dataclass(frozen=True)
class State:
    """``state`` is ``current``, ``ahead`` or ``behind``; the revisions are the database's and the code's newest."""

    state: str
    database: str | None
    code: str

    @property
    def usable(self) -> bool:
        """Whether this code can run on that schema.

        A schema that is ahead is fine: the next version's expand migrations run while this one still serves.
        """
        return self.state != "behind"

    def as_dict(self) -> dict[str, str | None]:
        """For a JSON answer."""
        return asdict(self)


def compare(database: str | None, known: list[str]) -> State:
    """Judge the database's revision.

    :param database: what ``alembic_version`` holds; None when nothing was ever applied.
    :param known: the revisions of this code, oldest first.
    """
    if database == known[-1]:
        state = "current"
    elif database is None or database in known:
        state = "behind"
    else:  # unknown here, so it was made after this code
        state = "ahead"
    return State(state, database, known[-1])


def current_revision(cursor: psycopg2.extensions.cursor) -> str | None:
    """The revision in the database, or None when no migration was ever applied."""
    try:
        cursor.execute("SELECT version_num FROM alembic_version")
    except psycopg2.errors.UndefinedTable:
        return None
    row = cursor.fetchone()
    return row[0] if row else None
