"""A real PostgreSQL and a real release: what the tests talk to is what hosts run.

The release is built, unpacked and installed without a network into an environment of its own, from which every server
of these tests is started. PostgreSQL is a throw-away cluster on a free loopback port.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.support import Aws, Database, Postgres, Release, Server, free_port, install_release


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The cluster that the tests share; each takes a database of its own."""
    directory = Path(tempfile.mkdtemp(prefix="rag-admin-test-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    cluster = Postgres(directory)
    try:
        cluster.create()
        yield cluster
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database(postgres: Postgres, tmp_path: Path, request) -> Iterator[Database]:
    """A database without a schema."""
    name = "t_" + re.sub(r"\W", "_", request.node.name)[:50].lower()
    postgres.sql(f'CREATE DATABASE "{name}" OWNER rag_admin', database="postgres")
    made = Database(postgres, name, tmp_path / "database.json")
    made.write()
    yield made


@pytest.fixture(scope="session")
def release(tmp_path_factory) -> Release:
    """A release, built and installed."""
    return install_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def serve(release: Release, database: Database, tmp_path: Path) -> Iterator:
    """Start servers: ``serve(APP_COLOR="blue", migrate=True)``; they are stopped at the end."""
    started: list[Server] = []

    def start(migrate: bool = True, wait: bool = True, **variables: str) -> Server:
        directory = tmp_path / f"server-{len(started)}"
        (directory / "log").mkdir(parents=True)
        (directory / "run").mkdir()
        port, metrics_port = free_port(), free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "APP_COLOR": "green",
            "APP_BIND": f"127.0.0.1:{port}",
            "APP_METRICS_BIND": f"127.0.0.1:{metrics_port}",
            "APP_LOG_DIR": str(directory / "log"),
            "APP_DATABASE_FILE": str(database.file),
            "RUNTIME_DIRECTORY": str(directory / "run"),
            **variables,
        }
        server = Server(release, environment, directory, port, metrics_port)
        if migrate:
            subprocess.run([release.command, "migrate"], env=environment, check=True, capture_output=True)
        started.append(server)
        return server.start(wait)

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def aws() -> Iterator[Aws]:
    """An empty account."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = Aws(f"http://{host}:{port}")
    try:
        yield made
    finally:
        http.client.HTTPConnection(host, port).request("POST", "/moto-api/reset")
        server.stop()
