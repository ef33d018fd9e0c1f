"""What a gate reads, for real: a Prometheus, a load balancer of two addresses, CloudWatch of the lab's AWS."""

from __future__ import annotations

import http.server
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import loop
from ansible_collections.techcorp.rag_admin.plugins.modules import metric_gate
from botocore.config import Config

from tests.lab.account import REGION

NODES = ("127.0.0.1", "127.0.0.2")


class Balancer:
    """Two addresses that answer as told; each test sets what.

    `share`: part of green by node. `failure`: a function of the colour, giving a status, "reset", "hang" or None.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.share = dict.fromkeys(NODES, 0.0)
        self.failure: Callable[[str], int | str | None] = lambda _color: None
        self.hosts: set[str | None] = set()
        self.requests = 0
        self.context = context
        self.servers = []
        port = 0
        for node in NODES:
            server = http.server.ThreadingHTTPServer((node, port), self._handler(node))
            server.daemon_threads = True
            port = server.server_address[1]
            if context:
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers.append(server)
        self.port = port

    def close(self) -> None:
        """Refuse connections from now on."""
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def _handler(self, node: str) -> type[http.server.BaseHTTPRequestHandler]:
        balancer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                balancer.requests += 1
                balancer.hosts.add(self.headers.get("Host"))
                color = "green" if random.random() < balancer.share[node] else "blue"
                failure = balancer.failure(color)
                if failure == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    self.close_connection = True
                    return
                if failure == "hang":
                    time.sleep(3)
                self.send_response(failure if isinstance(failure, int) else 200)
                if not failure:
                    self.send_header("X-App-Color", color)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        return Handler


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    """A load balancer that sends everything to blue."""
    made = Balancer()
    yield made
    made.close()


def _prometheus_binary() -> Path:
    """Debian's Prometheus: the installed one, or its package unpacked into the cache."""
    if found := shutil.which("prometheus"):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rag-admin-lab" / "prometheus"
    binary = cache / "usr/bin/prometheus"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # apt's own user cannot write here, which it only warns of.
        subprocess.run(["apt-get", "download", "prometheus"], cwd=cache, check=True, capture_output=True)
        package = next(cache.glob("prometheus_*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, cache], check=True)
    return binary


class Exporter:
    """What a target of Prometheus exposes: the text that the test sets."""

    text = ""

    def __init__(self) -> None:
        exporter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(exporter.text.encode())

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture(scope="session")
def exporter() -> Iterator[Exporter]:
    """A target of the Prometheus."""
    made = Exporter()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory, exporter: Exporter) -> Iterator[str]:
    """A Prometheus that scrapes itself and the exporter each second."""
    home = tmp_path_factory.mktemp("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (home / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: self, static_configs: [{{targets: ['{address}']}}]}}\n"
        f"  - {{job_name: app, static_configs: [{{targets: ['{exporter.address}']}}]}}\n"
    )
    command = [str(_prometheus_binary()), f"--config.file={home / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={home / 'data'}", f"--web.listen-address={address}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"http://{address}/-/ready")
            yield f"http://{address}"
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    for _ in range(150):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer")


@pytest.fixture
def gate(endpoint: str) -> Callable[..., dict[str, Any]]:
    """Run the module's code in this process: `gate(check_mode=False, **options)`."""

    def client(service: str, aws_config: dict[str, Any]) -> Any:
        session = boto3.Session("lab", "lab", region_name=REGION)
        return session.client(service, endpoint_url=endpoint, config=Config(**aws_config))

    def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        valid = ArgumentSpecValidator(metric_gate.ARGUMENT_SPEC).validate({"interval": 0.3, "grace": 1, **options})
        assert not valid.error_messages, valid.error_messages
        connect = Connector(SimpleNamespace(params={}, client=client), Clock())
        return loop.run(connect, valid.validated_parameters, check_mode)

    return run


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Balancer, Path]]:
    """A load balancer with a certificate for app.example, and the file of the authority that signed it."""
    home = tmp_path_factory.mktemp("tls")
    key, certificate = home / "key.pem", home / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=app.example"]
    command += ["-addext", "subjectAltName=DNS:app.example"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made = Balancer(context)
    yield made, certificate
    made.close()
