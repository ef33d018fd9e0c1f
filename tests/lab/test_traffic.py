"""The load generator: a steady rate, and each failure that a user would see."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import traffic
from tests.lab.alb_fixtures import HOST, PORT, Backend, address, backends, certificate, group, nodes, rule, state

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Faulty:
    """A server that does with each request what `answer` says: bytes to send, "close", "cut", "reset" or "hang"."""

    def __init__(self, answer: Callable[[int], bytes | str]) -> None:
        self.requests = 0
        self.connections = 0
        self._answer = answer
        self._listener = socket.create_server((address(7), 0), backlog=500)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{address(7)}:{self.port}/"

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while b"\r\n\r\n" in connection.recv(65536):
                self.requests += 1
                match self._answer(self.requests):
                    case bytes(data):
                        connection.sendall(data)
                    case "reset":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        return
                    case "close":
                        return
                    case "cut":
                        connection.sendall(OK[:-1])
                        return
                    case _:
                        time.sleep(5)


@pytest.fixture
def faulty() -> Iterator[Callable[..., Faulty]]:
    """Start faulty servers."""
    servers: list[Faulty] = []

    def start(answer: Callable[[int], bytes | str]) -> Faulty:
        servers.append(Faulty(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


FAULTS = {
    "close": "connection closed",
    "reset": "connection reset",
    "hang": "timeout",
    "cut": "answer cut short",
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n": "502",
    b"nonsense\r\n\r\n": "protocol error: illegal status line: bytearray(b'nonsense')",
}


def test_each_failure_is_counted_once_and_nothing_is_sent_again(faulty: Callable[..., Faulty]) -> None:
    faults = list(FAULTS)

    def answer(number: int) -> bytes | str:
        # Good answers between: a connection has been kept for a while when a failure meets it.
        return faults[number // 4 % len(faults)] if number % 4 == 0 else OK

    server = faulty(answer)
    with traffic.Traffic(server.url, rate=60, connections=1, timeout=0.5) as running:
        time.sleep(2)
    summary, records = running.summary(), list(traffic.read(running.output))
    assert server.requests == len(records) == summary["total"]
    assert server.connections < server.requests
    expected = Counter(FAULTS[faults[number // 4 % len(faults)]] for number in range(4, server.requests + 1, 4))
    assert summary["errors"] == dict(expected)
    assert summary["failed"] == expected.total() > len(FAULTS)
    assert {record["reused"] for record in records if traffic.failed(record)} == {True, False}


def test_nobody_there() -> None:
    with socket.create_server((address(7), 0)) as listener:
        url = f"http://{address(7)}:{listener.getsockname()[1]}/"
    record = traffic.send(url)
    assert (record["status"], record["error"]) == (None, "connection refused")
    assert traffic.failed(record)


def test_a_slow_server_gets_no_fewer_requests(faulty: Callable[..., Faulty]) -> None:
    def slow(_number: int) -> bytes:
        time.sleep(0.4)
        return OK

    server = faulty(slow)
    with traffic.Traffic(server.url, rate=60, connections=2) as running:
        time.sleep(2)
    summary = running.summary()
    assert summary["rate"] == pytest.approx(60, rel=0.03)
    assert summary["failed"] == 0
    assert summary["latency"]["p50"] == pytest.approx(0.4, abs=0.15)
    assert all(window["total"] == pytest.approx(60, abs=2) for window in summary["windows"][1:-1])


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Backend]]:
    """A blue and a green target."""
    with backends("blue", "green") as found:
        yield found


def test_protocols_nodes_colours_and_long_requests(tmp_path: Path, pair: list[Backend]) -> None:
    public, pem = certificate()
    (tmp_path / "ca.pem").write_text(public)
    url = f"https://{HOST}:{PORT}/"
    with nodes(tmp_path, 2) as (both, events):
        groups = {backend.color: group(backend.target()) for backend in pair}
        rules = [rule({"green": 1}, priority=1, paths=["/g*"]), rule({"blue": 1})]
        for node in both:
            node.apply(state(rules, groups, pem))
        addresses = [node.address for node in both]
        running = traffic.Traffic(
            url,
            addresses=addresses,
            ca=tmp_path / "ca.pem",
            rate=100,
            http2_share=0.25,
            request=["GET /", 'POST /green {"query": "x"}'],
            long_path="/sleep/1",
            long_every=0.6,
        ).start()
        time.sleep(1.2)
        during = time.time()
        time.sleep(0.5)
        summary = running.stop()
        regular = summary["total"] - summary["long"]["total"]
        assert summary["failed"] == 0, summary["errors"]
        assert summary["long"]["total"] >= 3
        assert summary["long"]["failed"] == 0
        assert summary["versions"] == {"1.0": summary["total"]}
        assert summary["colors"]["green"] == pytest.approx(regular / 2, abs=1)
        records = [record for record in traffic.read(running.output) if not record["long"]]
        assert Counter(record["protocol"] for record in records)[traffic.HTTP2] == pytest.approx(regular / 4, abs=1)
        for protocol in (traffic.HTTP1, traffic.HTTP2):
            at = Counter(record["node"] for record in records if record["protocol"] == protocol)
            assert abs(at[addresses[0]] - at[addresses[1]]) <= 1
        assert {record["protocol"] for record in traffic.read(running.output) if record["long"]} == {"http/1.1", "h2"}
        assert 0 < running.summary(since=during)["total"] < regular
        assert len(events) == summary["total"]
        # A certificate of somebody else is a failure, not something to look past.
        (tmp_path / "ca.pem").write_text(certificate()[0])
        assert traffic.send(url, address=addresses[0], ca=tmp_path / "ca.pem")["error"].startswith("certificate")


def test_one_long_request_beside(pair: list[Backend]) -> None:
    url = f"http://{pair[0].address}:{pair[0].port}"
    future = traffic.start(f"{url}/sleep/0.5", timeout=5)
    assert not future.done()
    record = future.result()
    assert (record["status"], record["color"], record["path"]) == (200, "blue", "/sleep/0.5")
    assert record["seconds"] == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGINT", "file", "duration"])
def test_it_ends_in_order(tmp_path: Path, pair: list[Backend], ending: str) -> None:
    output, flag = tmp_path / "out.jsonl", tmp_path / "flag"
    command = [sys.executable, "-m", "lab.traffic", f"--url=http://{pair[0].address}:{pair[0].port}/sleep/0.4"]
    command += ["--rate=20", f"--output={output}", f"--until-file={flag}"]
    process = subprocess.Popen(
        command + (["--duration=0.8"] if ending == "duration" else []), stdout=subprocess.PIPE, text=True
    )
    while not output.exists() or not output.read_text():
        time.sleep(0.02)
    time.sleep(0.3)
    if ending == "file":
        flag.touch()
    elif ending != "duration":
        process.send_signal(getattr(signal, ending))
    printed = json.loads(process.communicate(timeout=5)[0])
    assert process.returncode == 0
    # What was under way has been waited for.
    assert printed["total"] == printed["statuses"]["200"] > 5
    assert printed["failed"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--http2-share=0.5"], "HTTP/2 needs an https URL"),
        (["--http2-share=2"], "from 0 to 1"),
        (["--rate=0"], "above 0"),
        (["--request=GET x"], "expected 'METHOD /path"),
    ],
)
def test_wrong_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        traffic.main(["--url=http://127.0.0.1:1/", "--output=/dev/null", *arguments])
    assert words in capsys.readouterr().err


def test_traffic_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="from 0 to 1"):
        traffic.Traffic("https://127.0.0.1:1/", http2_share=3).start()


def test_summary(tmp_path: Path) -> None:
    def line(at: float, **found: object) -> str:
        plain = {"seconds": 0.1, "status": 200, "error": None, "color": "blue", "version": "1", "long": False}
        return (
            json.dumps({"at": at, **plain, "protocol": "h2", "node": "n", "path": "/", "reused": True, **found}) + "\n"
        )

    file = tmp_path / "log.jsonl"
    lines = [
        line(10.0),
        line(10.5, color="green", seconds=0.3),
        line(11.0, status=503, color=None, version=None),
        line(11.5, status=None, error="timeout", color=None, version=None),
        line(11.6, status=404),
        line(10.2, long=True, seconds=20, status=500),
    ]
    file.write_text("".join(lines) + '{"at": 12, "half a li')
    summary = traffic.summarise(file)
    assert (summary["total"], summary["failed"]) == (6, 3)
    assert summary["errors"] == {"503": 1, "timeout": 1, "500": 1}
    assert summary["statuses"] == {"200": 2, "404": 1, "500": 1, "503": 1}
    assert summary["colors"] == {"blue": 3, "green": 1}
    assert summary["latency"] == {"p50": 0.1, "p95": 0.3, "p99": 0.3, "max": 0.3}
    assert summary["long"] == {"total": 1, "failed": 1}
    assert summary["rate"] == 2.5
    assert summary["windows"] == [
        {"at": 10, "total": 2, "failed": 0, "colors": {"blue": 1, "green": 1}, "p95": 0.3},
        {"at": 11, "total": 3, "failed": 2, "colors": {"blue": 1}, "p95": 0.1},
    ]
    assert traffic.summarise(file, since=10.5, until=11.5)["total"] == 2
    assert traffic.summarise(file, since=99)["latency"]["p50"] is None
