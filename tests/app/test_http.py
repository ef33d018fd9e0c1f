"""Answers, validation and log lines."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from tests.app.support import PASSWORD, VERSION


@pytest.fixture
def server(serve, database):
    made = serve()
    database.sql(
        "INSERT INTO users (username, email, status) VALUES "
        "('ada', 'ada@example.org', 'active'), ('grace', 'grace@example.org', 'active'), "
        "('adam', 'adam@example.org', 'disabled'), ('o''hara', '100%_sure@example.org', 'active')"
    )
    return made


def test_routes(server):
    """Every route, on one server."""
    for path in ("/", "/health", "/ready", "/nope", "/api/query"):
        answer = server.request("GET", path)
        assert answer.status == {"/nope": 404, "/api/query": 405}.get(path, 200)
        assert answer.headers["X-App-Version"] == VERSION
        assert answer.headers["X-App-Color"] == "green"
        assert answer.headers["Content-Type"] == "application/json"
    assert server.request("GET", "/metrics").status == 404, "metrics must not be on the public port"

    # --- the query reads the database, and its text is data
    found = server.query("ADA").json()
    assert [user["username"] for user in found["results"]] == ["ada"]  # adam is not active
    assert server.query("example.org", limit=2).json()["count"] == 2
    for text, names in {
        "o'hara": ["o'hara"],
        "%": ["o'hara"],
        "0%_s": ["o'hara"],
        "_": ["o'hara"],
        "\\": [],
        "'; DROP TABLE users; --": [],
        "%(pattern)s": [],
        "Жé😀": [],
    }.items():
        answer = server.query(text)
        assert answer.status == 200
        assert [user["username"] for user in answer.json()["results"]] == names, text

    # --- bad input
    for body, status in {
        b"": 400,
        b"{": 400,
        b"[]": 400,
        b"\xff": 400,
        b"null": 400,
        b"{}": 400,
        b'{"query": 1}': 400,
        b'{"query": ""}': 400,
        b'{"query": "  "}': 400,
        b'{"query": "a\\u0000"}': 400,
        b'{"query": "\\ud800"}': 400,
        b'{"query": "a", "limit": 0}': 400,
        b'{"query": "a", "limit": true}': 400,
        b'{"query": "a", "limit": 101}': 400,
        b'{"query": "a", "limit": 1e1}': 400,
        b'{"query": "a", "where": "1=1"}': 400,
        b'{"query": "' + b"a" * 201 + b'"}': 400,
        b'{"query": "' + b"a" * 20000 + b'"}': 413,
        b"[" * 5000: 400,
    }.items():
        answer = server.request("POST", "/api/query", body)
        assert answer.status == status, (body[:40], answer)
        assert answer.json()["error"]["message"]
    answer = server.request("POST", "/api/query", b"query=a", {"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 415


def test_log_lines(server, release):
    server.request("POST", "/api/query?token=do-not-log", {"query": "a"}, {"X-Request-ID": "Root=1-67891233-abcdef"})
    answer = server.request("GET", "/nope", headers={"X-Request-ID": 'bad"\\id'})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
    server.stop()

    lines = server.log()
    requests = [line for line in lines if line["event"] == "request"]
    query, missing = (next(line for line in requests if line["path"] == path) for path in ("/api/query", "/nope"))
    assert query["request_id"] == "Root=1-67891233-abcdef"
    assert (query["method"], query["status"], query["level"]) == ("POST", 200, "info")
    assert 0 < query["duration"] < 5
    assert abs(datetime.fromisoformat(query["timestamp"]).timestamp() - datetime.now().timestamp()) < 60
    assert missing["request_id"] == answer.headers["X-Request-ID"]
    assert not any(line["path"] in ("/health", "/ready") for line in requests), "probes would drown the rest"
    assert any("gunicorn" in line["event"] for line in lines), "gunicorn's own lines belong here too"
    text = (server.directory / "log" / "rag-admin.log").read_text() + (server.directory / "output").read_text()
    assert "do-not-log" not in text
    assert PASSWORD not in text
    assert PASSWORD.split("-")[0] not in text


def test_rotated_log_is_opened_anew(server):
    file = server.directory / "log" / "rag-admin.log"
    file.rename(file.with_suffix(".log.1"))
    server.request("GET", "/")
    assert [line["path"] for line in server.log()] == ["/"]
