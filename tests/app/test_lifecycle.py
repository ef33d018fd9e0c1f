"""Stopping, replacing and losing workers."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from tests.app.support import wait_until


def in_background(work):
    """Start ``work`` in a thread and return a function that waits for its result."""
    box = []

    def run():
        try:
            box.append(work())
        except Exception as error:  # the test looks at it
            box.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join()
        return box[0]

    return result


def test_graceful_stop_finishes_what_is_in_flight(serve, database):
    server = serve(APP_FAULTS="enabled")
    long = in_background(lambda: server.request("GET", "/faults/sleep/3"))
    started = time.monotonic()
    time.sleep(0.5)
    os.killpg(server.process.pid, signal.SIGTERM)  # as a service manager may: to every process at once
    time.sleep(0.5)
    assert server.metrics(), "the metrics must stay readable while the last requests finish"
    answer = long()
    assert (answer.status, answer.json()) == (200, {"slept": 3})
    assert server.process.wait(5) == 0
    assert 3 <= time.monotonic() - started < 6
    assert not list((server.directory / "run").iterdir()), "the metrics directory was left behind"


def test_connections_are_kept_and_closed_with_notice(serve, database):
    """An idle connection is the load balancer's to close; a stopping worker says so in its last answer."""
    server = serve()
    with contextlib.closing(server.connect()) as connection:
        for _ in range(3):
            connection.request("GET", "/health")
            response = connection.getresponse()
            assert response.headers["Connection"] == "keep-alive"
            response.read()
        server.process.terminate()
        while response.headers["Connection"] == "keep-alive":
            time.sleep(0.05)
            connection.request("GET", "/health")
            response = connection.getresponse()
            response.read()
            assert response.status == 200
        assert response.headers["Connection"] == "close"
    assert server.process.wait(5) == 0


def test_replacing_workers_drops_no_request(serve, database):
    """Workers that have reached max_requests go one after another, under kept connections."""
    server = serve(APP_MAX_REQUESTS="100")
    first = set(server.workers())
    deadline = time.monotonic() + 3
    statuses = []

    def client():
        connection = server.connect()
        while time.monotonic() < deadline:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            if response.headers["Connection"] == "close":
                connection.close()
                connection = server.connect()
            time.sleep(0.005)
        connection.close()

    clients = [in_background(client) for _ in range(4)]
    assert [result() for result in clients] == [None] * 4
    assert set(statuses) == {200}
    assert not first & set(server.workers()), "no worker was replaced: this test would show nothing"
    metrics = server.metrics()
    assert metrics['http_requests_total{endpoint="/",method="GET",status="200"}'] == len(statuses)


def test_lost_master_takes_everything_with_it(serve, database):
    server = serve()
    children = server.children()
    server.process.kill()
    server.process.wait()

    def gone():
        try:
            server.metrics()
        except OSError:
            return True
        return False

    wait_until(gone, what="end of the exporter")
    assert len(children) == 3
