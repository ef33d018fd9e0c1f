"""The HTTP server: one WSGI application on several addresses, calls to moto one at a time."""

from __future__ import annotations

import io
import json
import logging
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.http import http_date
from werkzeug.serving import BaseWSGIServer, make_server

from lab.aws import calls
from lab.aws.calls import Call, Response
from lab.aws.core import Lab

log = logging.getLogger(__name__)


class Application:
    """The WSGI application: /lab/… controls the lab, everything else is AWS."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        body = _read(environ)
        path = environ.get("PATH_INFO", "")
        if path.startswith("/lab/"):
            response = self._control(environ, path.removeprefix("/lab"), body)
        elif path.startswith("/moto-api"):
            response = self._ask_moto(Call(environ["REQUEST_METHOD"], path, body, environ))
        else:
            response = self.lab.run(calls.recognise(environ, body), self._ask_moto)
        if response.cut:
            _cut(environ)
        headers = [(name, value) for name, value in response.headers if name.lower() != "connection"]
        present = {name.lower() for name, _value in headers}
        if "date" not in present:
            headers.append(("Date", http_date()))
        if "content-length" not in present and environ["REQUEST_METHOD"] != "HEAD":
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.status} {_phrase(response.status)}", headers)
        return [response.body]

    def _ask_moto(self, call: Call) -> Response:
        call.environ["wsgi.input"] = io.BytesIO(call.body)
        begun: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
            begun[:] = [status, headers]

        try:
            with self.lab.lock:
                chunks = self.moto(call.environ, start_response)
                try:
                    body = b"".join(chunks)
                finally:
                    getattr(chunks, "close", lambda: None)()
        except Exception as error:
            # moto raises for much that AWS refuses. A person reads the log, the caller gets an answer.
            log.exception("moto failed on %s %s", call.service, call.action or call.path)
            return calls.error(call, "InternalFailure", f"{type(error).__name__}: {error}", 500)
        return Response(int(begun[0].split()[0]), begun[1], body)

    def _control(self, environ: dict[str, Any], path: str, body: bytes) -> Response:
        handler = self.lab.routes.get((environ["REQUEST_METHOD"], path))
        try:
            if handler is None:
                known = ", ".join(f"{method} /lab{route}" for method, route in sorted(self.lab.routes))
                return _document(404, {"error": f"no such control; known: {known}"})
            document = json.loads(body) if body.strip() else None
            return _document(200, handler(dict(parse_qsl(environ.get("QUERY_STRING", ""))), document))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return _document(400, {"error": f"{type(error).__name__}: {error}"})


class Handler(MotoRequestHandler):
    """Writes only the headers that the application gives, and logs no line per request: the journal has them."""

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin an answer without http.server's own Date."""
        self.send_response_only(code, message)


def listen(application: Application, addresses: Sequence[str], port: int) -> list[BaseWSGIServer]:
    """Return servers bound to each address; port 0 takes one free port for all.

    Raises OSError naming the address that cannot be had.
    """
    servers: list[BaseWSGIServer] = []
    for address in addresses:
        # werkzeug exits the process when it cannot bind, so bind for it.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address, port))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}:{port}: {error.strerror}") from error
        listening.listen(256)
        port = listening.getsockname()[1]
        server = make_server(address, port, application, threaded=True, request_handler=Handler, fd=listening.detach())
        server.daemon_threads = True  # type: ignore[attr-defined]
        servers.append(server)
    return servers


def serve(lab: Lab, servers: Sequence[BaseWSGIServer]) -> None:
    """Start the loops and all servers; return when the last server ends."""
    for function in lab.loops:
        threading.Thread(target=function, name=function.__qualname__, daemon=True).start()
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _read(environ: dict[str, Any]) -> bytes:
    """Read the whole request before the lock is taken, so that a slow sender holds nobody up."""
    if length := environ.get("CONTENT_LENGTH"):
        return environ["wsgi.input"].read(int(length) if length.isdigit() else 0)
    if not environ.get("wsgi.input_terminated"):
        environ["CONTENT_LENGTH"] = "0"
        return b""
    body = environ["wsgi.input"].read()
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ.pop("wsgi.input_terminated")
    return body


def _cut(environ: dict[str, Any]) -> None:
    """Break the connection as a lost network does; raises ConnectionResetError, which ends the request quietly."""
    connection = environ.get("werkzeug.socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("cut by a fault")


def _document(status: int, document: Any) -> Response:
    return Response(status, [("Content-Type", "application/json")], json.dumps(document).encode() + b"\n")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
