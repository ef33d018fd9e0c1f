"""Faults do what they say when they are switched on, and do not exist when they are not."""

from __future__ import annotations

import http.client
import subprocess
import time

import pytest

from tests.app.support import wait_until


def test_unreachable_by_default(serve, database, release):
    everything = {
        "APP_FAULT_ERROR_RATE": "1",
        "APP_FAULT_LATENCY": "5",
        "APP_FAULT_CRASH": "1",
        "APP_FAULT_SLOW_START": "600",
    }
    server = serve(**everything, APP_FAULTS="true")  # not the word
    workers = server.workers()
    started = time.monotonic()
    assert server.request("GET", "/ready").status == 200
    for _ in range(20):
        assert server.query("a").status == 200
    assert server.request("GET", "/faults/sleep/1").status == 404
    assert time.monotonic() - started < 3
    assert server.workers() == workers

    program = (
        "import sys; from rag_admin import settings, web\n"
        "app = web.create_app(settings.load({'APP_DATABASE_FILE': 'x', 'APP_FAULT_CRASH': '1'}), None, None)\n"
        "assert 'rag_admin.faults' not in sys.modules\n"
        "assert not [rule for rule in app.url_map.iter_rules() if 'fault' in rule.rule]"
    )
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(server.directory)}
    subprocess.run([str(release.environment / "bin" / "python"), "-c", program], check=True, env=environment)


def test_error_rate_spares_the_checks_of_the_load_balancer(serve, database):
    server = serve(APP_FAULTS="enabled", APP_FAULT_ERROR_RATE="0.5")
    statuses = [server.query("a").status for _ in range(100)]
    assert 20 < statuses.count(500) < 80
    assert statuses.count(200) == 100 - statuses.count(500)
    assert {server.request("GET", path).status for path in ("/health", "/ready") for _ in range(20)} == {200}
    metrics = server.metrics()
    assert metrics['http_requests_total{endpoint="/api/query",method="POST",status="500"}'] == statuses.count(500)


def test_latency(serve, database):
    server = serve(APP_FAULTS="enabled", APP_FAULT_LATENCY="0.4")
    started = time.monotonic()
    assert server.query("a").status == 200
    assert time.monotonic() - started > 0.4
    started = time.monotonic()
    assert server.request("GET", "/ready").status == 200
    assert time.monotonic() - started < 0.4


def test_crash_gives_no_answer(serve, database):
    server = serve(APP_FAULTS="enabled", APP_FAULT_CRASH="1")
    before = server.workers()
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        server.query("a")
    wait_until(lambda: len(set(server.workers()) - set(before)) == 1, what="a new worker")
    assert server.request("GET", "/health").status == 200
    assert not any("/api/query" in name for name in server.metrics()), "nobody saw an answer"


def test_slow_start(serve, database):
    server = serve(APP_FAULTS="enabled", APP_FAULT_SLOW_START="1.5")
    assert server.request("GET", "/health").status == 200
    answer = server.request("GET", "/ready")
    assert (answer.status, answer.json()) == (503, {"status": "starting"})
    wait_until(lambda: server.request("GET", "/ready").status == 200, what="the slow start's end")
