# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster of this machine: its server, its program, and the one connection of a run."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import files

try:
    import psycopg2
    import psycopg2.extras
except ImportError:
    psycopg2 = None  # The module reports the missing library.

DEBIAN = Path("/usr/lib/postgresql")
READ = """SELECT json_build_object(
    'superuser', current_setting('is_superuser') = 'on',
    'version', current_setting('server_version_num')::int / 10000,
    'config_file', current_setting('config_file'),
    'libraries', (SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'),
    'loaded', extract(epoch FROM pg_conf_load_time()),
    'settings', (SELECT json_agg(s) FROM (SELECT name, setting, unit, vartype, context, min_val, max_val, enumvals,
                        boot_val, source, pending_restart FROM pg_settings) s),
    'entries', (SELECT coalesce(json_agg(f ORDER BY seqno), '[]') FROM (
                SELECT seqno, name, setting, sourcefile, sourceline FROM pg_file_settings WHERE name IS NOT NULL) f))"""


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is.

    :ivar main: its postgresql.conf.
    :ivar data: its data directory.
    :ivar program: the ``postgres`` that runs it, or would.
    :ivar address: folder and port of the running server's socket, None when it does not run.
    """

    main: Path
    data: Path
    program: Path
    address: tuple[str, str] | None


def find(main: Path) -> Cluster:
    """Find the cluster of a postgresql.conf.

    :raises Failure: when there is none.
    """
    texts, _strange = files.parse(_need(main))
    data = Path(texts.get("data_directory", main.parent))
    version = _need(data / "PG_VERSION").strip()
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        pid, port, folder = int(lines[0]), lines[3], lines[4]
        # What a killed server left may carry the pid of another program.
        program = Path(f"/proc/{pid}/exe").readlink()
        running = program.name == "postgres" and bool(folder)
    except (OSError, IndexError, ValueError):
        running = False
    if running:
        return Cluster(main, data, program, (folder, port))
    found = DEBIAN / version / "bin" / "postgres"
    if not found.exists():
        found = Path(shutil.which("postgres") or found)
    return Cluster(main, data, found, None)


def _need(path: Path) -> str:
    try:
        text = files.read(path)
    except PermissionError as error:
        raise Failure(
            f"to read {path}", error.strerror, "Run as the user who owns the cluster: become_user: postgres."
        ) from error
    if text is None:
        raise Failure(f"the file {path} of a cluster", "none", "Make the cluster first, and see that path names it.")
    return text


class Server:
    """The running server of a cluster, by one connection for everything."""

    def __init__(self, cluster: Cluster):
        folder, port = cluster.address
        try:
            self._connection = psycopg2.connect(
                host=folder, port=port, dbname="postgres", connect_timeout=10, application_name="postgresql_settings"
            )
        except psycopg2.Error as error:
            raise Failure(
                f"the server of {cluster.main} to take a connection at {folder}, port {port}",
                str(error).strip(),
                "See its log; run as its superuser: become_user: postgres.",
            ) from error
        self._connection.autocommit = True

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exception) -> None:
        self._connection.close()

    def _ask(self, query: str):
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    def read(self) -> dict:
        """All that is needed, in one query; see READ."""
        return self._ask(READ)

    def loaded(self) -> float:
        """When the server last read its files, seconds since the epoch."""
        return float(self._ask("SELECT extract(epoch FROM pg_conf_load_time())"))

    def reload(self) -> None:
        """Tell the server to read its files again."""
        self._ask("SELECT pg_reload_conf()")

    def refused(self, path: Path) -> list:
        """Settings of a file that the server did not take, but for those that need a restart."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT f.name, f.error FROM pg_file_settings f"
                " LEFT JOIN pg_settings s ON lower(s.name) = lower(f.name)"
                " WHERE f.sourcefile = %s AND f.error IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster'",
                (str(path),),
            )
            return [f"{name}: {error}" for name, error in cursor.fetchall()]


def judge(execute, cluster: Cluster, candidate: Path, path: Path) -> None:
    """Let the server's own parser read a candidate of the whole configuration, without starting anything.

    :param execute: runs a command; returns status, output and errors.
    :raises Failure: with what the parser says, in terms of the real files.
    """
    command = [str(cluster.program), "-C", "data_directory", "-D", str(cluster.data), "-c", f"config_file={candidate}"]
    status, _output, said = execute(command)
    if status == 0:
        return
    lines = [
        re.sub(r"^.*?(LOG|FATAL|ERROR|HINT|DETAIL|WARNING): +", "", line)
        for line in said.splitlines()
        if "contains errors" not in line and line.strip()
    ]
    text = "; ".join(lines).replace(str(candidate.parent / path.name), str(path))
    raise Failure(
        "PostgreSQL's own parser to accept the whole configuration",
        text.replace(str(candidate), str(cluster.main)) or f"status {status}",
        "Nothing was changed. Correct what it names and run again.",
    )


def require_libraries(wanted: dict, folder: Path) -> None:
    """Refuse libraries that are not there: the server would not start again.

    :raises Failure: naming them.
    """
    for name in ("shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"):
        libraries = [library.strip().strip('"') for library in str(wanted.get(name, "")).split(",")]
        missing = [each for each in libraries if each and "/" not in each and not (folder / f"{each}.so").exists()]
        if missing and folder.is_dir():
            raise Failure(
                f"the libraries of {name} in {folder}",
                f"none called {', '.join(missing)}",
                "Nothing was changed. Install their package or leave them out: the server would not start.",
            )
