"""The HTTP side: routes, validation, one log line and one observation for every request."""

from __future__ import annotations

import re
import time
import uuid

import flask
import psycopg2
import structlog
from werkzeug.exceptions import BadRequest, HTTPException

from . import __version__, metrics, schema
from .database import Database, DatabaseUnavailable
from .settings import Settings

log = structlog.get_logger("rag_admin")

LONGEST_QUERY = 200  # characters
MOST_RESULTS = 100
LARGEST_BODY = 16 * 1024  # bytes
REQUEST_ID = re.compile(r"[A-Za-z0-9._:=;-]{1,128}")
PROBES = {"/health", "/ready"}

SEARCH = """
SELECT id, username, email
FROM users
WHERE status = 'active' AND (username ILIKE %(pattern)s OR email ILIKE %(pattern)s)
ORDER BY id
LIMIT %(limit)s
"""


def create_app(settings: Settings, database: Database, probe: Database) -> flask.Flask:
    """Make the WSGI application.

    :param database: the pool that requests share.
    :param probe: a connection of its own for ``/ready``, so that busy requests do not make the instance look dead.
    """
    app = flask.Flask("rag_admin", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.json.sort_keys = False
    started = time.monotonic()
    slow_start = settings.faults.slow_start if settings.faults else 0.0
    known = schema.revisions()

    @app.before_request
    def begin():
        flask.g.started = time.monotonic()
        sent = flask.request.headers.get("X-Request-ID", "")
        flask.g.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        # The path without the query string, which may carry what nobody wants in a log.
        structlog.contextvars.bind_contextvars(
            request_id=flask.g.request_id, method=flask.request.method, path=flask.request.path
        )

    @app.after_request
    def finish(response: flask.Response) -> flask.Response:
        duration = time.monotonic() - flask.g.started
        rule = flask.request.url_rule
        response.headers["X-App-Version"] = __version__
        response.headers["X-App-Color"] = settings.color
        response.headers["X-Request-ID"] = flask.g.request_id
        metrics.observe(flask.request.method, rule.rule if rule else None, response.status_code, duration)
        line = {"status": response.status_code, "duration": round(duration, 6)}
        if response.status_code >= 500:
            log.error("request", **line)
        elif flask.request.path in PROBES:
            log.debug("request", **line)  # two a second from every load balancer node
        else:
            log.info("request", **line)
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException):
        return _error(error.code or 500, error.name.lower().replace(" ", "_"), error.description or error.name)

    @app.errorhandler(DatabaseUnavailable)
    def unavailable(error: DatabaseUnavailable):
        log.error("database unavailable", reason=str(error))
        return _error(503, "database_unavailable", "The database cannot be reached; try again.")

    @app.errorhandler(Exception)
    def broken(error: Exception):
        log.exception("unhandled exception")
        return _error(500, "internal_server_error", "Something went wrong; the log has it under this request's id.")

    @app.get("/")
    def index():
        return {"name": "rag-admin", "version": __version__, "color": settings.color}

    @app.get("/health")
    def health():
        return {"status": "ok", "version": __version__, "color": settings.color}

    @app.get("/ready")
    def ready():
        if time.monotonic() - started < slow_start:
            return {"status": "starting"}, 503
        try:
            state = schema.compare(probe.read(schema.current_revision), known)
        except (DatabaseUnavailable, psycopg2.Error) as error:
            log.warning("not ready", reason=str(error).strip())
            return {"status": "not ready", "database": "unreachable"}, 503
        answer = {"status": "ready" if state.usable else "not ready", "database": "ok", "schema": state.as_dict()}
        return answer, 200 if state.usable else 503

    @app.post("/api/query")
    def query():
        text, limit = _query_body()
        # The text is data: bound, and the characters that mean something to LIKE are escaped.
        pattern = "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"

        def search(cursor):
            cursor.execute(SEARCH, {"pattern": pattern, "limit": limit})
            return cursor.fetchall()

        results = [{"id": id_, "username": name, "email": email} for id_, name, email in database.read(search)]
        return {"query": text, "count": len(results), "results": results}

    if settings.faults:
        from . import faults

        faults.install(app, settings.faults)
        log.warning(
            "faults are enabled",
            error_rate=settings.faults.error_rate,
            latency=settings.faults.latency,
            crash=settings.faults.crash,
            slow_start=settings.faults.slow_start,
        )
    return app


def _error(status: int, code: str, message: str):
    return {"error": {"code": code, "message": message}}, status


def _query_body() -> tuple[str, int]:
    """The validated body of a query: text and the most results wanted.

    :raises BadRequest: saying what was expected.
    """
    try:
        body = flask.request.get_json()
    except (BadRequest, RecursionError):  # the latter from thousands of nested lists
        body = None
    if not isinstance(body, dict):
        raise BadRequest('Expected a JSON object such as {"query": "ada"}.')
    unknown = sorted(set(body) - {"query", "limit"})
    if unknown:
        raise BadRequest(f"Expected only query and limit, found also: {', '.join(unknown)[:100]}.")
    text, limit = body.get("query"), body.get("limit", 20)
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= LONGEST_QUERY:
        raise BadRequest(f"query: expected a text of 1 to {LONGEST_QUERY} characters.")
    # Half a surrogate pair is legal JSON and NUL is legal Unicode; PostgreSQL stores neither.
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise BadRequest("query: expected text without NUL and without unpaired surrogates.")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_RESULTS:
        raise BadRequest(f"limit: expected a whole number from 1 to {MOST_RESULTS}.")
    return text.strip(), limit
