"""What the tests of the load balancer share: real targets, states, a certificate, nodes that are closed again."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.alb.node import Node

HOST = "alb.lab.test"
PORT = 8443

# Blocks that no lab uses; another one for each test process, so that several can run on a machine.
BLOCK = f"127.77.{200 + os.getpid() % 55}"
FIRST_PORT = 9000


def address(number: int) -> str:
    """Return one of the addresses of this test process."""
    return f"{BLOCK}.{(os.getpid() // 55 % 20) * 10 + 1 + number}"


class Backend:
    """A real web server in a process of its own; see alb_backend.py for what it answers."""

    def __init__(self, color: str, number: int) -> None:
        self.color = color
        self.address, self.port = address(9), FIRST_PORT + number
        script = Path(__file__).with_name("alb_backend.py")
        command = [sys.executable, str(script), self.address, str(self.port), color]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    @property
    def place(self) -> str:
        """Where it listens, as the access log has it."""
        return f"{self.address}:{self.port}"

    def target(self, traffic: str = "on") -> dict[str, Any]:
        """Return it as a target of a state."""
        return {"address": self.address, "port": self.port, "traffic": traffic}

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def backends(*colors: str) -> Iterator[list[Backend]]:
    """Run a backend for each colour."""
    found = [Backend(color, number) for number, color in enumerate(colors)]
    try:
        yield found
    finally:
        for backend in found:
            backend.close()


def group(*targets: dict[str, Any], stickiness_seconds: int | None = None) -> dict[str, Any]:
    """Return a target group of a state."""
    return {"protocol_version": "HTTP1", "targets": list(targets), "stickiness_seconds": stickiness_seconds}


def rule(
    weights: dict[str, int] | None = None,
    priority: int | None = None,
    fixed: dict[str, Any] | None = None,
    stickiness_seconds: int | None = None,
    **conditions: Any,
) -> dict[str, Any]:
    """Return a rule of a state."""
    return {
        "arn": f"arn:rule/{priority}",
        "priority": priority,
        "conditions": {"paths": [], "hosts": [], "headers": [], **conditions},
        "forward": [{"group": name, "weight": weight} for name, weight in (weights or {}).items()],
        "fixed": fixed,
        "stickiness_seconds": stickiness_seconds,
    }


def state(
    rules: list[dict[str, Any]], groups: dict[str, Any], pem: str | None = None, port: int = PORT
) -> dict[str, Any]:
    """Return a state with one listener, HTTPS when there is a certificate."""
    listener = {
        "arn": f"arn:listener/{port}",
        "port": port,
        "protocol": "HTTPS" if pem else "HTTP",
        "certificate_pem": pem,
        "rules": rules,
    }
    return {"listeners": [listener], "groups": groups}


def certificate() -> tuple[str, str]:
    """Return a certificate for HOST that is its own authority, and the same with its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address(address(0)))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return public, public + private


@contextmanager
def nodes(directory: Path, count: int = 1) -> Iterator[tuple[list[Node], list[dict[str, Any]]]]:
    """Yield nodes and the list that their events go to."""
    events: list[dict[str, Any]] = []
    found = [Node(f"n{number}", address(number), directory / f"n{number}", events.append) for number in range(count)]
    try:
        yield found, events
    finally:
        for node in found:
            node.close()


def eventually(test: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Return the first true value of a test; fails after some seconds without."""
    deadline = time.monotonic() + seconds
    while not (value := test()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return value
