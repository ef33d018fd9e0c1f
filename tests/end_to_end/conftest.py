"""One lab for all tests here, brought up by the demonstration itself; each test then works on what is live."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from end_to_end.support import Deployment

from lab import settings, traffic
from lab.aws.control import Control


@pytest.fixture(scope="session")
def shown() -> str:
    """What `make demo` printed. It leaves version 1.1.0 live and 1.0.0's hosts with the version that was taken back."""
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo"], cwd=settings.ROOT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="session")
def deployment(shown: str) -> Deployment:
    return Deployment(Control(settings.AWS_ENDPOINT))


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS's own client in the tests speaks to the lab too; a test leaves no fault behind."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    yield
    Control(settings.AWS_ENDPOINT).clear_faults()


@pytest.fixture
def live_traffic() -> Iterator[Callable[..., traffic.Traffic]]:
    """Start requests through both nodes of the load balancer; they are stopped at the end of the test."""
    started: list[traffic.Traffic] = []

    def start(**options) -> traffic.Traffic:
        url = f"https://{settings.APPLICATION}.lab.test:{settings.LISTENER_PORT}/"
        given = {
            "addresses": settings.node_addresses(settings.LOAD_BALANCER_BLOCK),
            "ca": settings.CA_CERTIFICATE,
            "rate": 100,
            "http2_share": 0.3,
            "request": ["GET /", 'POST /api/query {"query": "backup"}'],
            **options,
        }
        started.append(traffic.Traffic(url, **given).start())
        return started[-1]

    yield start
    for one in started:
        one.stop()
