"""The server around moto: one call at a time, several addresses, nobody held up."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.aws.core import Lab
from lab.aws.server import Application, listen
from lab.aws.settings import Settings


class Busy:
    """Stands in for moto: takes a while, and knows how many calls it served at once."""

    def __init__(self) -> None:
        self.now = self.most = self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.now += 1
        self.most = max(self.most, self.now)
        time.sleep(0.01)
        self.calls += 1
        self.now -= 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read()]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """A server on two addresses whose moto is a stand-in."""
    application = Application(Lab(tmp_path, Settings()))
    application.moto = Busy()
    servers = listen(application, ["127.0.0.1", "127.0.0.2"], 0)
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield application.moto, servers[0].port
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(address: str, port: int, body: bytes = b"") -> tuple[int, bytes]:
    """Return status and body of a request."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request("PUT", "/bucket/key", body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_calls_reach_moto_one_at_a_time(served: Any) -> None:
    moto, port = served
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: ask("127.0.0.1", port, str(number).encode()), range(20)))
    assert answers == [(200, str(number).encode()) for number in range(20)]
    assert (moto.calls, moto.most) == (20, 1)


def test_all_addresses_share_one_account(served: Any) -> None:
    moto, port = served
    assert {ask(address, port)[0] for address in ("127.0.0.1", "127.0.0.2")} == {200}
    assert moto.calls == 2


def test_a_slow_sender_holds_nobody_up(served: Any) -> None:
    _moto, port = served
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1")
        assert ask("127.0.0.1", port, b"x") == (200, b"x")
        slow.sendall(b"2")
        assert slow.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_body_in_chunks_is_read_whole(served: Any) -> None:
    _moto, port = served
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.sendall(
            b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        )
        received = b""
        while part := sender.recv(4096):
            received += part
        assert received.endswith(b"\r\n\r\nabc")


def test_an_address_that_is_taken_is_named(served: Any) -> None:
    _moto, port = served
    with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
        listen(Application.__new__(Application), ["127.0.0.1"], port)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"lag": 1}, "unknown setting 'lag'"),
        ({"lag_a": "1"}, "must be a number"),
        ({"lag_a": -1}, "must not be negative"),
        ({"metrics_period": 0}, "must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings().changed(values)
