"""Servers for the tests of the lab: the lab's AWS and, to prove that each behaviour is still needed, stock moto."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.account import Account
from tests.lab.rds_account import Databases

CHECKOUT = Path(__file__).parents[2]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes `aws` on the lab, and on stock moto where it must fail."""
    if "aws" in metafunc.fixturenames:
        # One that passes says that moto made the behaviour superfluous. Errors of other kinds are the test's own.
        lacking = (AssertionError, pytest.fail.Exception, ValueError)
        xfail = pytest.mark.xfail(strict=True, raises=lacking, reason="stock moto lacks it")
        lab_only = metafunc.definition.get_closest_marker("lab_only")
        metafunc.parametrize("aws", ["lab"] if lab_only else ["lab", pytest.param("stock", marks=xfail)], indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of tests that say nothing about moto."""
    config.addinivalue_line("markers", "lab_only: not run on stock moto, which does this too or has no say in it")


def start_server(command: list[str], variables: dict[str, str] | None = None) -> tuple[subprocess.Popen[str], str]:
    """Start a server and return it with the address that it prints."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | (variables or {})
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    for line in process.stdout or []:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            # Whatever it says later must not fill the pipe.
            threading.Thread(target=lambda: [None for _line in process.stdout], daemon=True).start()
            return process, found[0]
    raise RuntimeError(f"{command} ended: {''.join(lines)}")


@pytest.fixture(scope="session")
def lab_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The lab's AWS without a data plane, health checks five times as often as AWS allows."""
    state = tmp_path_factory.mktemp("lab")
    command = ["-m", "lab.aws", "--port=0", f"--state-dir={state}", "--data-plane=none"]
    process, endpoint = start_server(
        [sys.executable, *command, "--set=health_check_scale=0.04", "--set=metrics_period=1"]
    )
    yield endpoint
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
def stock_endpoint() -> Iterator[str]:
    """Stock moto."""
    process, endpoint = start_server([sys.executable, "-m", "moto.server", "-p", "0"])
    yield endpoint
    process.terminate()
    process.wait(10)


@functools.cache
def _databases(endpoint: str) -> Databases:
    return Databases(endpoint, Account(endpoint).control)


@functools.cache
def _account(endpoint: str) -> Account:
    return Account(endpoint)


@pytest.fixture
def aws(request: pytest.FixtureRequest) -> Any:
    """Clients of one of the servers, and what makes resources in it."""
    account = _account(request.getfixturevalue(f"{request.param}_endpoint"))
    yield account
    if request.param == "lab":
        account.control.clear_faults()
        account.control.settings(lag_a=0, lag_b=0, s3_date_skew=0)


@pytest.fixture
def rds(aws: Any) -> Iterator[Databases]:
    """RDS of one of the servers; nothing takes longer than it must."""
    databases = _databases(aws.endpoint)
    databases.pace(0)
    yield databases
    databases.pace(0)
    databases.clear()


@pytest.fixture
def web() -> Iterator[Callable[..., Any]]:
    """Start web servers whose `.status` and `.delay` (seconds) decide their answer; `.hits` counts."""
    servers = []

    def start(status: int = 200) -> Any:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.server.hits += 1
                self.server.agents.add(self.headers["User-Agent"])
                time.sleep(self.server.delay)
                self.send_response(self.server.status)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.status, server.delay, server.hits, server.agents = status, 0, 0, set()
        server.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
