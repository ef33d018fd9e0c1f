"""A real PostgreSQL, and an application that is not ours."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import database, postgres, release  # noqa: F401 - fixtures

MIGRATION = '''"""{title}."""

from alembic import op

revision = "{revision}"
down_revision = {down!r}
phase = "{phase}"


def upgrade():
    print("what a migration prints is not part of the answer")
    {body}
'''


class Shop:
    """Somebody else's application: migrations in a folder, Alembic in an environment beside it."""

    def __init__(self, folder: Path, database: Any, run_module: Callable[..., Any]) -> None:  # noqa: F811
        self.folder, self.database, self._run = folder, database, run_module
        (folder / "schema" / "versions").mkdir(parents=True)
        self._last: str | None = None

    def add(self, revision: str, phase: str, body: str) -> None:
        """Add a migration; its body is a statement of Python."""
        text = MIGRATION.format(title=f"Step {revision}", revision=revision, down=self._last, phase=phase, body=body)
        (self.folder / "schema" / "versions" / f"{revision}.py").write_text(text)
        self._last = revision

    def sql(self, revision: str, statement: str, phase: str = "expand") -> None:
        """Add a migration of one statement."""
        self.add(revision, phase, f"op.execute({statement!r})")

    def migrate(self, check: bool = False, **options: Any) -> Any:
        """Run the module."""
        given = {
            "virtualenv": sys.prefix,
            "chdir": str(self.folder),
            "script_location": "schema",
            "database_file": str(self.database.file),
            **options,
        }
        return self._run("alembic", check, **given)


@pytest.fixture
def shop(database: Any, run_module: Callable[..., Any]) -> Iterator[Shop]:  # noqa: F811
    """With three migrations, in a folder that every user of this machine can read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Shop(Path(folder), database, run_module)
        _add_migrations(made)
        yield made


def _add_migrations(made: Shop) -> None:
    made.sql("5f1e", "CREATE TABLE orders (id bigint PRIMARY KEY, amount int)")
    made.sql("a02c", "ALTER TABLE orders ADD COLUMN note text")
    made.sql("07d9", "ALTER TABLE orders DROP COLUMN amount", "contract")
