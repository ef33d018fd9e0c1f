"""How the database's schema stands to this code.

The migrations form one line, their file names begin with their revision, ``0001_users.py``, and each says its phase on
a line of its own, so a worker knows them without loading Alembic and SQLAlchemy (a test holds this against Alembic).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg2
import psycopg2.errors

from .runner import CONTRACTED

MIGRATIONS = Path(__file__).parent / "migrations"


def revisions() -> dict[str, str]:
    """Every revision this code knows and its phase, oldest first."""
    paths = sorted((MIGRATIONS / "versions").glob("[0-9]*_*.py"))
    return {path.name.partition("_")[0]: re.search(r'(?m)^phase = "(\w+)"$', path.read_text())[1] for path in paths}


@dataclass(frozen=True)
class State:
    """How it stands, and the newest revisions of database and code.

    ``state`` is ``current``; ``expanded``, when only contract migrations are missing; ``ahead``; ``behind``; or
    ``contracted``, when a later release has taken away what this code may use.
    """

    state: str
    database: str | None
    code: str

    @property
    def usable(self) -> bool:
        """Whether this code can run on that schema.

        A schema that is ahead is fine: the next version's expand migrations run while this one still serves. One that
        is not contracted yet is too: those migrations wait until the version before is gone.
        """
        return self.state not in ("behind", "contracted")

    def as_dict(self) -> dict[str, str | None]:
        """For a JSON answer."""
        return asdict(self)


def compare(found: tuple[str | None, str | None], known: dict[str, str]) -> State:
    """Judge the database's revision.

    :param found: what :func:`current_revision` returns.
    :param known: the revisions of this code and their phases, oldest first.
    """
    names, (database, contracted) = list(known), found
    if contracted is not None and contracted not in known:
        state = "contracted"
    elif database is not None and database not in known:  # so it was made after this code
        state = "ahead"
    else:
        missing = names[names.index(database) + 1 :] if database else names
        needed = [name for name in missing if known[name] != "contract"]
        state = "current" if not missing else "behind" if needed or not database else "expanded"
    return State(state, database, names[-1])


def current_revision(cursor: psycopg2.extensions.cursor) -> tuple[str | None, str | None]:
    """The revision in the database and the newest contract migration; None when there was none."""
    try:
        cursor.execute(
            "SELECT version_num, obj_description('alembic_version'::regclass, 'pg_class') FROM alembic_version"
        )
    except psycopg2.errors.UndefinedTable:
        return None, None
    revision, comment = cursor.fetchone() or (None, None)
    return revision, comment.removeprefix(CONTRACTED) if comment and comment.startswith(CONTRACTED) else None
