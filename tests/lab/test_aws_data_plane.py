"""The API and the real data plane together: what is declared in one happens in the other."""

from __future__ import annotations

import datetime
import http.client
import shutil
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from tests.lab.account import Account, forward, until
from tests.lab.conftest import start_server

pytestmark = pytest.mark.skipif(
    not shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin"), reason="haproxy is not installed"
)
NUMBER = "79"  # of a lab of its own, so that the addresses are nobody else's


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """The lab's AWS with its data plane."""
    state = tmp_path_factory.mktemp("real")
    options = ["--port=0", f"--state-dir={state}", "--set=health_check_scale=0.04", "--set=metrics_period=1"]
    process, endpoint = start_server([sys.executable, "-m", "lab.aws", *options], {"RAG_ADMIN_LAB_NUMBER": NUMBER})
    yield Account(endpoint)
    process.terminate()
    process.wait(20)


class Colored(ThreadingHTTPServer):
    """A target that answers with its colour, or breaks the connection when told to."""

    daemon_threads = True

    def __init__(self, color: str) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path != "/ready" and outer.crashing:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response(outer.ready if self.path == "/ready" else 200)
                self.send_header("Content-Length", str(len(color)))
                self.end_headers()
                self.wfile.write(color.encode())

            def log_message(self, *_arguments: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.crashing, self.ready = False, 200
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def target(self) -> dict[str, Any]:
        """The target in the API's words."""
        return {"Id": "127.0.0.1", "Port": self.server_address[1]}


def certificate() -> tuple[bytes, bytes]:
    """Return a certificate for lab.test, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab.test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("lab.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return signed.public_bytes(pem), key.private_bytes(pem, *plain)


@pytest.fixture(scope="module")
def site(real: Account) -> Iterator[SimpleNamespace]:
    """A load balancer with TLS whose default action forwards to blue; green is registered and not attached."""
    vpc = real.vpc()
    blue, green = Colored("blue"), Colored("green")
    arns = {server: real.group(vpc) for server in (blue, green)}
    for server, arn in arns.items():
        real.elbv2.register_targets(TargetGroupArn=arn, Targets=[server.target])
    balancer = real.elbv2.create_load_balancer(Name="site", Subnets=vpc.subnets)["LoadBalancers"][0]
    chain, key = certificate()
    imported = real.acm.import_certificate(Certificate=chain, PrivateKey=key)["CertificateArn"]
    listener = real.elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=8443,
        Certificates=[{"CertificateArn": imported}],
        DefaultActions=[forward({arns[blue]: 100})],
    )["Listeners"][0]["ListenerArn"]
    arn = balancer["LoadBalancerArn"]
    until(lambda: real.control.nodes().get(arn, {}).get("b", {}).get("state"), 10)
    found = SimpleNamespace(
        arn=arn, listener=listener, servers=(blue, green), blue=arns[blue], green=arns[green], chain=chain
    )
    found.nodes = {name: node["address"] for name, node in real.control.nodes()[arn].items()}
    yield found
    for server in (blue, green):
        server.shutdown()
        server.server_close()


@pytest.fixture
def blue_only(real: Account, site: SimpleNamespace) -> Iterator[None]:
    """Begin and end with all traffic on a healthy blue."""

    def settle() -> None:
        real.control.settings(lag_a=0, lag_b=0)
        for server in site.servers:
            server.crashing, server.ready = False, 200
        real.elbv2.modify_listener(ListenerArn=site.listener, DefaultActions=[forward({site.blue: 100})])
        until(lambda: real.health(site.blue) == [("healthy", None)])
        until(lambda: {ask(site, node) for node in "ab"} == {(200, "blue")})

    settle()
    yield
    settle()


def ask(site: SimpleNamespace, node: str) -> tuple[int, str]:
    """Return status and body of a request to a node, its certificate verified."""
    context = ssl.create_default_context(cadata=site.chain.decode())
    with socket.create_connection((site.nodes[node], 8443), timeout=5) as plain:
        connection = http.client.HTTPConnection("lab.test")
        connection.sock = context.wrap_socket(plain, server_hostname="lab.test")
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def attach(real: Account, site: SimpleNamespace, blue: int, green: int) -> None:
    """Give both groups a weight."""
    actions = [forward({site.blue: blue, site.green: green})]
    real.elbv2.modify_listener(ListenerArn=site.listener, DefaultActions=actions)


def test_traffic_moves_with_the_weights_on_each_node_after_its_lag(
    real: Account, site: SimpleNamespace, blue_only: None
) -> None:
    assert real.health(site.green) == [("unused", "Target.NotInUse")]
    attach(real, site, 100, 0)
    until(lambda: real.health(site.green) == [("healthy", None)])
    real.control.settings(lag_b=2)
    started = time.monotonic()
    attach(real, site, 0, 100)
    until(lambda: ask(site, "a") == (200, "green"), 2)
    assert ask(site, "b") == (200, "blue")
    until(lambda: ask(site, "b") == (200, "green"))
    assert time.monotonic() - started >= 2


def test_an_unhealthy_target_gets_no_requests_and_a_group_of_such_fails_open(
    real: Account, site: SimpleNamespace, blue_only: None
) -> None:
    sick = Colored("sick")
    real.elbv2.register_targets(TargetGroupArn=site.blue, Targets=[sick.target])
    until(lambda: real.health(site.blue) == [("healthy", None)] * 2)
    until(lambda: "sick" in {ask(site, "a")[1] for _ in range(4)})
    sick.ready = 503
    until(lambda: real.health(site.blue, sick.target) == [("unhealthy", "Target.ResponseCodeMismatch")])
    until(lambda: {ask(site, "a")[1] for _ in range(6)} == {"blue"})
    site.servers[0].ready = 503
    until(lambda: "sick" in {ask(site, "a")[1] for _ in range(4)})
    site.servers[0].ready = 200
    attributes = [{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
    real.elbv2.modify_target_group_attributes(TargetGroupArn=site.blue, Attributes=attributes)
    real.elbv2.deregister_targets(TargetGroupArn=site.blue, Targets=[sick.target])
    until(lambda: {ask(site, "a")[1] for _ in range(4)} == {"blue"})
    until(lambda: len(real.health(site.blue)) == 1)
    sick.shutdown()
    sick.server_close()


def test_an_empty_group_answers_503(real: Account, site: SimpleNamespace, blue_only: None) -> None:
    empty = real.group(SimpleNamespace(id=real.elbv2.describe_load_balancers()["LoadBalancers"][0]["VpcId"]))
    real.elbv2.modify_listener(ListenerArn=site.listener, DefaultActions=[forward({empty: 1})])
    until(lambda: ask(site, "a")[0] == 503)


def test_a_crashing_target_shows_in_the_load_balancers_metrics_only(
    real: Account, site: SimpleNamespace, blue_only: None
) -> None:
    site.servers[0].crashing = True
    assert {ask(site, node)[0] for node in "abab"} == {502}
    balancer = {"Name": "LoadBalancer", "Value": site.arn.partition(":loadbalancer/")[2]}
    group = {"Name": "TargetGroup", "Value": site.blue.rpartition(":")[2]}

    def total(name: str, *dimensions: dict[str, str]) -> float | None:
        now = datetime.datetime.now(datetime.UTC)
        points = real.cloudwatch.get_metric_statistics(
            Namespace="AWS/ApplicationELB",
            MetricName=name,
            Dimensions=dimensions,
            StartTime=now - datetime.timedelta(minutes=5),
            EndTime=now,
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in points) if points else None

    until(lambda: total("HTTPCode_ELB_502_Count", balancer) == 4)
    assert total("HTTPCode_Target_5XX_Count", balancer, group) is None
    assert (total("RequestCount", balancer, group) or 0) >= 4
