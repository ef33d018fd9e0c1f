"""Migrations under load: nobody waits longer than the lock timeout, both versions of the application see no error.

A real PostgreSQL of this machine, the application's release in an environment of its own, pgbench, and requests to two
servers: one runs the code of the version before, one that of this version, on the same schema. A reader holds what the
first migration needs; the runner is killed in the backfill and while it builds an index, and run again.

    .venv/bin/python -m benchmarks.migrations            the reader stays for ten minutes
    .venv/bin/python -m benchmarks.migrations --reader 10
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.support import BenchmarkError, Figure, say, show
from lab import settings
from tests.app.support import Database, Postgres, free_port, held, install_release, wait_until

LIMIT = 2.0  # seconds: the lock timeout
BEFORE = "0002"  # what the version before knows
# The version before, as a patch of this one: it reads what 0008 takes away.
THEN, NOW = "is_active", "status = 'active'"
RUNNER = "application_name = 'alembic' AND datname = current_database()"
START = "import sys; from rag_admin.cli import main; sys.exit(main())"
SCRIPTS = {
    "read": "\\set id random(1, :users)\nSELECT username, email FROM users WHERE id = :id;\n",
    "write": "\\set id random(1, :users)\nUPDATE users SET email = email WHERE id = :id;\n",
}


@dataclass
class Requests:
    """Requests to one server, one after the other, until it is left."""

    url: tuple[str, int]
    answers: list[tuple[int, float]] = field(default_factory=list)

    def __enter__(self) -> Requests:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        body = json.dumps({"query": "user 7"})
        while not self._stop.is_set():
            began, status = time.monotonic(), 0
            try:
                with contextlib.closing(http.client.HTTPConnection(*self.url, timeout=30)) as connection:
                    connection.request("POST", "/api/query", body, {"Content-Type": "application/json"})
                    status = connection.getresponse().status
            except OSError:
                status = -1
            self.answers.append((status, time.monotonic() - began))
            time.sleep(0.02)

    @property
    def errors(self) -> int:
        """Answers other than 200."""
        return sum(status != 200 for status, _seconds in self.answers)

    @property
    def slowest(self) -> float:
        """Seconds of the slowest one."""
        return max(seconds for _status, seconds in self.answers)


class Application:
    """One version of the application: its commands and its server."""

    def __init__(self, python: Path, database: Database, folder: Path, source: Path | None = None) -> None:
        folder.mkdir()
        self.port, self.folder = free_port(), folder
        self.command = [str(python), "-c", START]
        self.environment = {
            "PATH": os.environ["PATH"],
            "APP_BIND": f"127.0.0.1:{self.port}",
            "APP_METRICS_BIND": f"127.0.0.1:{free_port()}",
            "APP_LOG_DIR": str(folder),
            "APP_DATABASE_FILE": str(database.file),
            "APP_WORKERS": "1",
            "RUNTIME_DIRECTORY": str(folder),
            **({"PYTHONPATH": str(source)} if source else {}),
        }

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start a command; its output goes to its folder."""
        output = (self.folder / "output").open("ab")
        return subprocess.Popen(
            [*self.command, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=output, text=True
        )

    def said(self) -> str:
        """What its commands said on standard error."""
        return (self.folder / "output").read_text()

    def run(self, *arguments: str) -> dict:
        """Run a command to its end and return its answer; raise BenchmarkError when it fails."""
        process = self.start(*arguments)
        out, _ = process.communicate()
        if process.returncode:
            raise BenchmarkError(f"{arguments}: {self.said()[-500:]}")
        return json.loads(out)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Requests]:
        """The server under requests, which end before it does."""
        process = self.start("serve")
        try:
            wait_until(self._ready, timeout=60, what="a server that is ready")
            with Requests(("127.0.0.1", self.port)) as requests:
                yield requests
        finally:
            process.terminate()
            process.communicate()

    def _ready(self) -> bool:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200


@contextlib.contextmanager
def pgbench(database: Database, users: int, folder: Path) -> Iterator[None]:
    """Single-statement reads and writes, 200 a second; raises BenchmarkError when one fails."""
    server = database.postgres
    folder.mkdir()
    shutil.chown(folder, server.user or os.getuid())
    command = [str(server.bin / "pgbench"), "-n", "-c", "8", "-j", "1", "-R", "200", "-T", "7200", "-l"]
    command += ["-D", f"users={users}", "-h", str(server.directory), "-p", str(server.port), "-U", "admin"]
    for name, text in SCRIPTS.items():
        (folder / f"{name}.sql").write_text(text)
        command += ["-f", str(folder / f"{name}.sql")]
    process = subprocess.Popen(
        [*command, database.name], cwd=folder, user=server.user, extra_groups=[],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield
        if process.poll() is not None:
            raise BenchmarkError(f"pgbench ended: {process.stderr.read()[-500:]}")
    finally:
        process.terminate()
        process.communicate()


def longest_waits(folder: Path) -> tuple[dict[str, float], int]:
    """Seconds of the slowest statement of each script, without the time that it was late, and how many there were."""
    waits, count = dict.fromkeys(SCRIPTS, 0.0), 0
    for log in folder.glob("pgbench_log.*"):
        for line in log.read_text().splitlines():
            fields = line.split()
            if len(fields) < 7:  # the last one, cut
                continue
            name = list(SCRIPTS)[int(fields[3])]
            waits[name] = max(waits[name], (int(fields[2]) - int(fields[6])) / 1e6)
            count += 1
    return waits, count


def version_before(python: Path, folder: Path) -> Path:
    """Make the code of the version before out of this one's; return where to import it from."""
    installed = next(python.parent.parent.glob("lib/python3*/site-packages/rag_admin"))
    shutil.copytree(installed, folder / "rag_admin")
    for name in ("web.py", "exporter.py"):
        path = folder / "rag_admin" / name
        text = path.read_text()
        if NOW not in text:
            raise BenchmarkError(f"{name} no longer says {NOW}: make the version before anew")
        path.write_text(text.replace(NOW, THEN))
    for path in (folder / "rag_admin/migrations/versions").glob("0*.py"):
        if path.name[:4] > BEFORE:
            path.unlink()
    return folder


def interrupt(application: Application, database: Database, reached: str, what: str) -> float:
    """Migrate, and kill the runner when the SQL is true; return the seconds until nothing of it is left."""
    process = application.start("migrate")
    try:
        wait_until(lambda: process.poll() is not None or database.sql(reached) == "t", timeout=3600, what=what)
        if process.poll() is not None:
            raise BenchmarkError(
                f"the runner ended before {what}: {(application.folder / 'output').read_text()[-500:]}"
            )
    finally:
        process.kill()
        process.communicate()
    began = time.monotonic()
    left = f"SELECT count(*) = 0 FROM pg_stat_activity WHERE {RUNNER}"  # noqa: S608
    wait_until(lambda: database.sql(left) == "t", timeout=60, what="the end of the session")
    return time.monotonic() - began


def leave(database: Database, end: Callable[[], object], seconds: float) -> None:
    """Let a reader go so many seconds after a migration has begun to wait for it."""

    def run() -> None:
        waits = f"SELECT count(*) > 0 FROM pg_stat_activity WHERE {RUNNER} AND wait_event_type = 'Lock'"  # noqa: S608
        wait_until(lambda: database.sql(waits) == "t", timeout=120, what="a migration that waits")
        time.sleep(seconds)
        end()

    threading.Thread(target=run, daemon=True).start()


def measure(
    python: Path, database: Database, folder: Path, reader: float, users: int, limit: float = LIMIT
) -> list[Figure]:
    """Migrate from the version before to the end, under load.

    :param python: of an environment with the release.
    :param reader: seconds that the first reader stays.
    :param users: rows of the table.
    :param limit: seconds that a statement may take.
    """
    old = Application(python, database, folder / "old", version_before(python, folder / "source"))
    new = Application(python, database, folder / "new")
    old.run("migrate")
    database.sql(
        "INSERT INTO users (username, email, is_active)"  # noqa: S608
        f" SELECT 'user ' || n, n || '@example.org', n % 3 > 0 FROM generate_series(1, {users}) AS n; ANALYZE users"
    )
    with pgbench(database, users, folder / "load"), contextlib.ExitStack() as stack:
        leaving = contextlib.ExitStack()
        stack.push(leaving)
        before = leaving.enter_context(old.serving())
        with held(database, "SELECT count(*) FROM users") as end:
            say(f"a reader for {reader:g} s, and a migration that needs its table")
            leave(database, end, reader)
            column = (
                "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'status')"
            )
            first = interrupt(new, database, column, "the new column")
        tries = new.said().count("0003: somebody holds")
        say(f"tried again {tries} times; now the backfill, killed at half of it")
        half = f"SELECT status IS NOT NULL FROM users WHERE id = {users // 2}"  # noqa: S608
        second = interrupt(new, database, half, "half of the backfill")
        kept = int(database.sql("SELECT count(*) FROM users WHERE status IS NOT NULL"))
        resumed = new.run("migrate", "--revision", "0006")["applied"]
        say("the index, killed while it waits for a reader")
        with held(database, "SELECT count(*) FROM users") as end:
            invalid = "SELECT count(*) > 0 FROM pg_index WHERE NOT indisvalid"
            third = interrupt(new, database, invalid, "a half-built index")
            leave(database, end, min(reader, 5))
            resumed += new.run("migrate")["applied"]
        say("both versions serve")
        after = stack.enter_context(new.serving())
        time.sleep(3)
        unequal = database.sql("SELECT count(*) FROM users WHERE is_active IS DISTINCT FROM (status = 'active')")
        leaving.close()
        say("the old version is gone; the contract phase, against another reader")
        with held(database, "SELECT count(*) FROM users") as end:
            leave(database, end, min(reader, 5))
            contracted = new.run("migrate", "--phase", "contract")
        time.sleep(2)
    waits, statements = longest_waits(folder / "load")
    half_built = database.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    return [
        Figure("statements of pgbench", statements),
        Figure.at_most("longest read", waits["read"], limit, " s"),
        Figure.at_most("longest write", waits["write"], limit, " s"),
        Figure("requests to the version before", len(before.answers)),
        Figure.equal("  errors", before.errors, 0),
        Figure("  slowest", f"{before.slowest:.2f} s"),
        Figure("requests to this version", len(after.answers)),
        Figure.equal("  errors", after.errors, 0),
        Figure("  slowest", f"{after.slowest:.2f} s"),
        Figure("tried again while the first reader was there", tries, "> 0", tries > 0),
        Figure("killed: seconds until the server gave up", f"{max(first, second, third):.1f} s"),
        Figure("killed in the backfill: rows that were kept", kept, "> 0", 0 < kept < users),
        Figure.equal("resumed", " ".join(resumed), "0004 0005 0006 0007"),
        Figure.equal("half-built indexes left", half_built, "0"),
        Figure.equal("rows on which the versions differ", unequal, "0"),
        Figure.equal("contract, when the old version was gone", " ".join(contracted["applied"]), "0008"),
    ]


def refused() -> Figure:
    """Whether the playbook refuses the contract phase while the old colour is registered, by its own test."""
    test = "tests/integration/migrations/test_contract_phase.py"
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", test], cwd=settings.ROOT, capture_output=True)
    return Figure.equal("contract refused while the old colour is registered", done.returncode == 0, True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Migrate under load, and look who waits.")
    parser.add_argument(
        "--reader", type=float, default=600, help="seconds that the reader stays (default: %(default)s)"
    )
    parser.add_argument("--users", type=int, default=200_000, help="rows of the table (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        release = install_release(folder / "release")
        (folder / "cluster").mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder / "cluster", "postgres")
        cluster = Postgres(folder / "cluster")
        try:
            cluster.create()
            cluster.sql("CREATE DATABASE bench OWNER rag_admin", database="postgres")
            database = Database(cluster, "bench", folder / "database.json")
            database.write()
            figures = measure(release.environment / "bin/python", database, folder, options.reader, options.users)
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                cluster.stop()
    return show("migrations under load", [*figures, refused()])


if __name__ == "__main__":
    sys.exit(main())
