"""The benchmark's short form: two versions and pgbench on one schema, readers in the way, a runner that is killed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from benchmarks import migrations


@pytest.mark.slow
def test_both_versions_work_on_while_the_schema_changes(release, database):
    # PostgreSQL's own user writes pgbench's log, below a folder that it can enter.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        python = release.environment / "bin" / "python"
        # Twice the lock timeout: a busy machine is slow by itself. Without one it would be the reader's six seconds.
        figures = migrations.measure(python, database, folder, reader=6, users=20_000, limit=2 * migrations.LIMIT)
        assert not [figure for figure in figures if figure.good is False], figures
    finally:
        shutil.rmtree(folder)
