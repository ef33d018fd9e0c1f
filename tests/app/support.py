"""What the fixtures of these tests are made of: a cluster, a release, a server, an account."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app"
VERSION = "1.1.0"
PASSWORD = "s3cret-Paßwort-of-the-test"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout: float = 15.0, what: str = "it"):
    """Poll until ``condition()`` is true and return what it returned; refused connections count as not yet."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if result := condition():
                return result
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout:g} s"
        time.sleep(0.05)


# --- PostgreSQL


class Postgres:
    """A throw-away cluster."""

    def __init__(self, directory: Path) -> None:
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        assert binaries, "PostgreSQL is missing: `make setup` installs it"
        self.bin = binaries[-1]
        self.directory = directory
        self.port = free_port()
        self.user = "postgres" if os.geteuid() == 0 else None  # initdb refuses root

    def run(self, program: str, *arguments: str, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(self.bin / program), *arguments],
            user=self.user,
            extra_groups=[] if self.user else None,
            cwd="/",
            check=True,
            capture_output=True,
            text=True,
            **options,
        )

    def create(self) -> None:
        self.run("initdb", "--no-sync", "-D", str(self.directory / "data"), "-U", "admin", "--auth=scram-sha-256",
                 "--auth-local=trust", "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip
        self.start()
        self.sql("CREATE ROLE rag_admin LOGIN", database="postgres")
        self.set_password(PASSWORD)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.directory} -c listen_addresses=127.0.0.1 -c fsync=off -c log_statement=all"
        log = str(self.directory / "log")
        # Its own standard streams, or the server keeps our pipes open.
        subprocess.run(
            [str(self.bin / "pg_ctl"), "-D", str(self.directory / "data"), "-w", "-l", log, "-o", options, "start"],
            user=self.user, extra_groups=[] if self.user else None, cwd="/", check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.directory / "data"), "-w", "-m", "immediate", "stop")

    def sql(self, statement: str, database: str) -> str:
        arguments = ["-h", str(self.directory), "-p", str(self.port), "-U", "admin", "-d", database]
        return self.run(
            "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *arguments, "-c", statement
        ).stdout.strip()

    def set_password(self, password: str) -> None:
        self.sql(f"ALTER ROLE rag_admin PASSWORD '{password}'", database="postgres")


@dataclass
class Database:
    """An empty database of one test, and the file with its credentials."""

    postgres: Postgres
    name: str
    file: Path

    def sql(self, statement: str) -> str:
        return self.postgres.sql(statement, self.name)

    def write(self, password: str = PASSWORD, **changes) -> None:
        values = {"engine": "postgres", "host": "127.0.0.1", "port": self.postgres.port, "dbname": self.name}
        self.file.write_text(json.dumps({**values, "username": "rag_admin", "password": password, **changes}))
        self.file.chmod(0o600)


def psql(database) -> subprocess.Popen:
    """A session as the administrator that takes its statements from standard input."""
    server = database.postgres
    command = [server.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", server.directory, "-p", str(server.port)]
    command += ["-U", "admin", "-d", database.name]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, user=server.user, extra_groups=[]
    )


@contextlib.contextmanager
def held(database, statement: str):
    """A transaction that stays open with what the statement has locked; yields a function that ends it."""
    process = psql(database)
    process.stdin.write(f"BEGIN ISOLATION LEVEL REPEATABLE READ; {statement};\n")
    process.stdin.flush()
    idle = "state = 'idle in transaction' AND datname = current_database()"
    wait_until(
        lambda: database.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {idle}") == "1",  # noqa: S608
        what="the open transaction",
    )
    try:
        yield process.kill
    finally:
        process.kill()
        process.communicate()


# --- The release


@dataclass(frozen=True)
class Release:
    """The release as it was built, and as it is installed."""

    tarball: Path
    contents: Path
    environment: Path

    @property
    def command(self) -> str:
        return str(self.environment / "bin" / "rag-admin")


def install_release(output: Path) -> Release:
    """Build a release and install it as a host does: from the tarball alone, every hash checked."""
    subprocess.run(
        [sys.executable, str(APP / "build_release.py"), "--version", VERSION, "--output", str(output)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    tarball = output / f"rag-admin-{VERSION}.tar.gz"
    contents, environment = output / "contents", output / "environment"
    with tarfile.open(tarball) as tar:
        tar.extractall(contents)  # noqa: S202 - made a moment ago
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    install = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--quiet", "--no-compile"]
    install += ["--no-index", "--find-links", "wheels", "--require-hashes", "--requirement", "requirements.lock"]
    subprocess.run(
        install,
        cwd=contents,
        check=True,
        env={**os.environ, "PIP_FIND_LINKS": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    return Release(tarball, contents, environment)


# --- A running server


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class Server:
    """``rag-admin serve`` as a process."""

    release: Release
    environment: dict[str, str]
    directory: Path
    port: int
    metrics_port: int
    process: subprocess.Popen | None = field(default=None)

    def start(self, wait: bool = True) -> Server:
        output = (self.directory / "output").open("ab")
        self.process = subprocess.Popen(
            [self.release.command, "serve"],
            env=self.environment,
            cwd="/",
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        if wait:
            wait_until(lambda: self.request("GET", "/health").status == 200, what="start of the server")
            wait_until(self.metrics, what="start of the metrics")
            expected = int(self.environment.get("APP_WORKERS", "2"))
            wait_until(lambda: len(self.workers()) == expected, what="start of all workers")
        return self

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=30)

    def connect(self, timeout: float = 30.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method: str, path: str, body=None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})} if body is not None else headers or {}
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())

    def query(self, text: str, **more) -> Answer:
        return self.request("POST", "/api/query", {"query": text, **more})

    def metrics(self) -> dict[str, float]:
        """The samples as they are exposed: ``name{labels}`` to value."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}

    def children(self) -> dict[int, list[str]]:
        """Processes of the server: id to command line."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        commands = {}
        for pid in map(int, children):
            with contextlib.suppress(FileNotFoundError):
                commands[pid] = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return commands

    def workers(self) -> list[int]:
        return [pid for pid, command in self.children().items() if "serve" in command]

    def log(self) -> list[dict]:
        """The lines of the log file; fails on one that is not JSON."""
        file = self.directory / "log" / "rag-admin.log"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# --- AWS


class Aws:
    """A moto server; ``aws("s3")`` is a client of it."""

    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-west-2"}

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, service: str):
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.credentials["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.credentials["AWS_SECRET_ACCESS_KEY"],
        )
