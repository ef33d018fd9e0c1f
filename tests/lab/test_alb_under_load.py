"""No request fails while a load balancer node changes under load."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
import websockets.sync.client
import websockets.sync.server

from lab import traffic
from tests.lab.alb_fixtures import (
    HOST,
    PORT,
    Backend,
    address,
    backends,
    certificate,
    eventually,
    group,
    nodes,
    rule,
    state,
)

RATE = 150
URL = f"https://{HOST}:{PORT}"


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Backend]]:
    """A blue and a green target."""
    with backends("blue", "green") as found:
        yield found


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of an authority and a certificate with its key."""
    public, pem = certificate()
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    file.write_text(public)
    return file, pem


@pytest.fixture
def echo() -> Iterator[dict[str, Any]]:
    """A WebSocket server that says everything again; yields it as a target."""

    def handle(connection: websockets.sync.server.ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with websockets.sync.server.serve(handle, address(8), 9100) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"address": address(8), "port": 9100, "traffic": "on"}
        server.shutdown()


def load(tls: tuple[Path, str], addresses: list[str], **options: Any) -> traffic.Traffic:
    options = {"rate": RATE, "http2_share": 0.3, "connections": 8, "timeout": 5} | options
    return traffic.Traffic(f"{URL}/", addresses=addresses, ca=tls[0], **options)


def test_nothing_fails_while_weights_change_100_times(tmp_path: Path, pair: list[Backend], tls: Any) -> None:
    groups = {backend.color: group(backend.target()) for backend in pair}
    with nodes(tmp_path, 2) as (both, events):

        def apply(blue: int, green: int) -> None:
            for node in both:
                node.apply(state([rule({"blue": blue, "green": green})], groups, tls[1]))

        apply(100, 0)
        with load(tls, [node.address for node in both]) as running:
            long = [
                traffic.start(f"{URL}/sleep/8", address=node.address, ca=tls[0], http2=http2)
                for node in both
                for http2 in (False, True)
            ]
            for turn in range(100):
                apply(*((0, 100), (30, 70), (100, 0))[turn % 3])
                time.sleep(0.07)
            apply(0, 100)
            time.sleep(0.3)
            moved = time.time()
            time.sleep(1)
        summary = running.summary()
        assert summary["failed"] == 0, summary["errors"]
        assert summary["rate"] == pytest.approx(RATE, rel=0.02)
        assert set(summary["protocols"]) == {traffic.HTTP1, traffic.HTTP2}
        assert set(running.summary(since=moved)["colors"]) == {"green"}
        reused = Counter(record["reused"] for record in traffic.read(running.output))
        assert reused[False] < reused[True] / 10, "connections are not kept"
        slept = [future.result() for future in long]
        assert [record["status"] for record in slept] == [200] * 4
        assert [node.reloads for node in both] == [0, 0]
        # The log has each request, once.
        eventually(lambda: len(events) == summary["total"] + len(slept))
        colors = Counter(summary["colors"]) + Counter(record["color"] for record in slept)
        assert Counter(event["group"] for event in events) == colors
        print(f"{summary['total']} requests, {summary['failed']} failed, p99 {summary['latency']['p99'] * 1000:.0f} ms")


def test_nothing_fails_while_it_reloads(tmp_path: Path, pair: list[Backend], tls: Any, echo: dict[str, Any]) -> None:
    groups = {backend.color: group(backend.target()) for backend in pair} | {"echo": group(echo)}
    with nodes(tmp_path, 1) as ([node], events):

        def apply(turn: int, blue: int, green: int) -> None:
            rules = [
                rule({"echo": 1}, priority=1, paths=["/echo"]),
                rule({"blue": 1}, priority=10 + turn, paths=["/sleep/*"]),
                rule({"blue": blue, "green": green}),
            ]
            node.apply(state(rules, groups, tls[1]))

        apply(0, 1, 0)
        tunnel = {
            "uri": f"wss://{HOST}:{PORT}/echo",
            "ssl": traffic.Target(URL, str(tls[0])).tls(traffic.HTTP1),
            "sock": create_connection((node.address, PORT)),
        }
        with load(tls, [node.address]) as running, websockets.sync.client.connect(**tunnel) as socket:
            long = [
                traffic.start(f"{URL}/sleep/6", address=node.address, ca=tls[0], http2=http2) for http2 in (False, True)
            ]
            for turn in range(1, 9):
                apply(turn, turn % 2, 1 - turn % 2)
                socket.send(f"turn {turn}")
                assert socket.recv(5) == f"turn {turn}"
                time.sleep(0.3)
            # What is still connected to an old process gets the newest weights, too.
            apply(8, 0, 1)
            time.sleep(0.3)
            moved = time.time()
            time.sleep(1)
            assert set(running.summary(since=moved)["colors"]) == {"green"}
            assert [future.result()["status"] for future in long] == [200] * 2
            # Old processes end when their connections have: all but the one that has the WebSocket.
            eventually(lambda: len(node._master.workers()[1]) == 1)
        summary = running.summary()
        assert summary["failed"] == 0, summary["errors"]
        assert summary["rate"] == pytest.approx(RATE, rel=0.02)
        assert (node.reloads, node.restarts) == (8, 0)
        eventually(lambda: len(events) == summary["total"] + len(long) + 1)
        assert [(event["status"], event["origin"]) for event in events if event["group"] == "echo"] == [(101, "target")]
        eventually(lambda: node._master.workers()[1] == [])


def test_an_idle_connection_follows_new_rules_and_weights_after_a_reload(
    tmp_path: Path, pair: list[Backend], tls: Any
) -> None:
    groups = {backend.color: group(backend.target()) for backend in pair}

    async def color(connection: traffic.Connection) -> str:
        return (await connection.send(traffic.Request())).headers["x-app-color"]

    async def play() -> None:
        client = traffic.Client(traffic.Target(URL, str(tls[0])))
        http1, http2 = [await client.connect(node.address, each) for each in (traffic.HTTP1, traffic.HTTP2)]
        assert [await color(http1), await color(http2)] == ["blue", "blue"]
        another = rule({}, priority=5, paths=["/x"])
        node.apply(state([rule({"blue": 1, "green": 0}), another], groups, tls[1]))
        node.apply(state([rule({"blue": 0, "green": 1}), another], groups, tls[1]))
        assert len(node._master.workers()[1]) == 1
        await asyncio.sleep(0.3)
        # HTTP/2 can say that a connection goes away; HTTP/1.1 says it with the next answer.
        assert [http1.usable, http2.usable] == [True, False]
        assert await color(http1) == "green"
        assert not http1.usable

    with nodes(tmp_path, 1) as ([node], _events):
        node.apply(state([rule({"blue": 1, "green": 0})], groups, tls[1]))
        asyncio.run(play())


def test_a_websocket_stays_on_its_target_when_weights_move(
    tmp_path: Path, pair: list[Backend], echo: dict[str, Any]
) -> None:
    groups = {"echo": group(echo), "green": group(pair[1].target())}
    with nodes(tmp_path) as ([node], _events):
        node.apply(state([rule({"echo": 1, "green": 0})], groups))
        with websockets.sync.client.connect(f"ws://{node.address}:{PORT}/") as socket:
            for weights in ({"echo": 0, "green": 1}, {"green": 1}):
                node.apply(state([rule(weights)], {name: groups[name] for name in weights}))
                socket.send("still here")
                assert socket.recv(5) == "still here"
        assert traffic.send(f"http://{node.address}:{PORT}/")["color"] == "green"


def test_new_connections_and_requests_meet_a_killed_haproxy_briefly(
    tmp_path: Path, pair: list[Backend], tls: Any
) -> None:
    groups = {"blue": group(pair[0].target())}
    with nodes(tmp_path) as ([node], _events):
        node.apply(state([rule({"blue": 1})], groups, tls[1]))
        with load(tls, [node.address], rate=50) as running:
            time.sleep(0.5)
            node._process.kill()
            eventually(lambda: node.restarts == 1)
            back = time.time()
            time.sleep(1)
        assert running.summary(until=back)["failed"] > 0, "the generator hides failures"
        assert running.summary(since=back)["failed"] == 0
        with suppress(IndexError):
            failures = [record["at"] for record in traffic.read(running.output) if traffic.failed(record)]
            assert failures[-1] - failures[0] < 3
