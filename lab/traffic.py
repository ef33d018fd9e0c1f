"""A load generator that hides no failure.

    python -m lab.traffic --url https://rag-admin.lab.test:8443/ --addresses 127.77.1.1,127.77.1.2 \\
        --ca .lab/tls/ca.pem --rate 100 --http2-share 0.3 --output traffic.jsonl --duration 60

It sends at a steady rate whatever the answers do (an open loop): a slow server gets more requests at a time, not fewer
in all, and the time of a request counts from when it was due. It never sends a request twice: a keep-alive connection
that closes under a request is a failure of that request. Each request is one JSON line of the output:

    at        when it was due, seconds since the epoch          protocol  "http/1.1" or "h2"
    seconds   from then to the end of the answer, or failure    node      the address it was sent to
    status    of the answer, null without one                   reused    whether the connection had served before
    error     what went wrong with the connection, else null    path      what was asked for
    color, version  the answer's X-App-Color, X-App-Version     long      whether it is one of the long requests

SIGTERM or SIGINT ends it in order: nothing new is sent, what is under way is waited for.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import json
import math
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

HTTP1, HTTP2 = "http/1.1", "h2"

Record = dict[str, Any]


class Failure(Exception):
    """A request got no whole answer; the text says why in a few words."""


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Where requests go: the URL names host, port and TLS; the connection goes to whichever address is given."""

    url: str
    ca: str | None = None

    @property
    def secure(self) -> bool:
        """Whether it is https."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The name or address in the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        return urlsplit(self.url).netloc

    @property
    def port(self) -> int:
        """The port of the URL, or its scheme's."""
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def path(self) -> str:
        """The path and query of the URL."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def tls(self, protocol: str) -> ssl.SSLContext | None:
        """Return a context that offers one protocol, None for http."""
        if not self.secure:
            return None
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols([protocol])
        return context


@dataclass(frozen=True)
class Request:
    """What to ask for; a body makes it JSON."""

    method: str = "GET"
    path: str = "/"
    body: str = ""

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers beside those that name the host."""
        found = [("user-agent", "lab.traffic"), ("accept", "*/*")]
        if self.body:
            found += [("content-type", "application/json"), ("content-length", str(len(self.body.encode())))]
        return found


class Http1(asyncio.Protocol):
    """An HTTP/1.1 connection: one request at a time."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._http = h11.Connection(h11.CLIENT)
        self._answer = Answer()
        self._waiting: asyncio.Future[Answer] | None = None
        self.served = 0
        self.usable = True

    def connection_made(self, transport: Any) -> None:
        """Take the transport."""
        self._transport = transport

    async def send(self, request: Request) -> Answer:
        """Send a request and return its answer; raises Failure."""
        if not self.usable:
            raise Failure("connection closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._answer = Answer()
        headers = [("host", self._authority), *request.headers()]
        data = self._http.send(h11.Request(method=request.method, target=request.path, headers=headers)) or b""
        if request.body:
            data += self._http.send(h11.Data(data=request.body.encode())) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._transport.write(data)
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the server."""
        self._take(data)

    def eof_received(self) -> None:
        """Take the server's end of the connection: it ends an answer without a length too."""
        self._take(b"")

    def connection_lost(self, error: Exception | None) -> None:
        """Take the end of the connection."""
        self._fail("connection reset" if isinstance(error, ConnectionResetError) else "connection closed")

    def _take(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Response):
                    self._answer.status = event.status_code
                    self._answer.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                elif isinstance(event, h11.EndOfMessage):
                    self._end()
                elif event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                elif isinstance(event, h11.ConnectionClosed):
                    self._fail("connection closed")
                    return
        except h11.RemoteProtocolError as error:
            # h11 says so of a connection that closes in the middle of an answer.
            self._fail("connection closed" if not data else f"protocol error: {error}")

    def _end(self) -> None:
        self.served += 1
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self.close()
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(self._answer)

    def _fail(self, reason: str) -> None:
        self.usable = False
        self._transport.abort()
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(Failure("answer cut short" if self._answer.status else reason))


class Http2(asyncio.Protocol):
    """An HTTP/2 connection: many requests at a time."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        # The server is HAProxy: what it sends needs no check of each header, which costs more than all the rest.
        config = h2.config.H2Configuration(
            header_encoding="utf-8", validate_inbound_headers=False, validate_outbound_headers=False
        )
        self._http = h2.connection.H2Connection(config)
        # GOAWAY says that the server takes no new streams but finishes the ones it has; h2 would refuse their frames.
        machine, still = self._http.state_machine, h2.connection.ConnectionState.CLIENT_OPEN
        going_away = (still, h2.connection.ConnectionInputs.RECV_GOAWAY)
        machine._transitions = machine._transitions | {going_away: (None, still)}
        self._streams: dict[int, tuple[Answer, asyncio.Future[Answer]]] = {}
        self.served = 0
        self.usable = True

    def connection_made(self, transport: Any) -> None:
        """Take the transport and greet."""
        self._transport = transport
        self._http.initiate_connection()
        self._flush()

    async def send(self, request: Request) -> Answer:
        """Send a request and return its answer; raises Failure."""
        if not self.usable:
            raise Failure("connection closed")
        stream = self._http.get_next_available_stream_id()
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._streams[stream] = (Answer(), waiting)
        headers = [
            (":method", request.method),
            (":authority", self._authority),
            (":scheme", "https"),
            (":path", request.path),
            *request.headers(),
        ]
        self._http.send_headers(stream, headers, end_stream=not request.body)
        if request.body:
            self._http.send_data(stream, request.body.encode(), end_stream=True)
        self._flush()
        try:
            return await waiting
        finally:
            del self._streams[stream]
            if waiting.cancelled() and self.usable:
                with suppress(h2.exceptions.ProtocolError):
                    self._http.reset_stream(stream, 8)
                    self._flush()
            if not self.usable and not self._streams:
                self._transport.abort()

    def close(self) -> None:
        """Close the connection, unless requests are under way on it: they finish first."""
        self.usable = False
        if not self._streams:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the server."""
        try:
            events = self._http.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._fail(f"protocol error: {error}")
            return
        for event in events:
            self._take(event)
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Take the end of the connection."""
        self._fail("connection reset" if isinstance(error, ConnectionResetError) else "connection closed")

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.usable = False
            for stream, (_answer, waiting) in self._streams.items():
                if stream > (event.last_stream_id or 0) and not waiting.done():
                    waiting.set_exception(Failure("connection going away"))
            if not self._streams:
                self._transport.close()
            return
        answer, waiting = self._streams.get(getattr(event, "stream_id", None) or 0, (None, None))
        if isinstance(event, h2.events.DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if answer is None or waiting is None or waiting.done():
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = dict(event.headers)
            answer.status = int(answer.headers[":status"])
        elif isinstance(event, h2.events.StreamEnded):
            self.served += 1
            waiting.set_result(answer)
        elif isinstance(event, h2.events.StreamReset):
            waiting.set_exception(Failure("answer cut short" if answer.status else "stream reset"))

    def _flush(self) -> None:
        if data := self._http.data_to_send():
            self._transport.write(data)

    def _fail(self, reason: str) -> None:
        self.usable = False
        self._transport.abort()
        for answer, waiting in self._streams.values():
            if not waiting.done():
                waiting.set_exception(Failure("answer cut short" if answer.status else reason))


Connection = Http1 | Http2


class Client:
    """Opens connections to a target, sends requests and records what became of them."""

    def __init__(self, target: Target) -> None:
        """Prepare; raises OSError for a CA file that cannot be read."""
        self._target = target
        self._tls = {protocol: target.tls(protocol) for protocol in (HTTP1, HTTP2)}

    async def connect(self, address: str, protocol: str) -> Connection:
        """Return a new connection to an address; raises Failure."""
        loop = asyncio.get_running_loop()

        def make() -> Connection:
            return (Http1 if protocol == HTTP1 else Http2)(self._target.authority)

        tls = self._tls[protocol]
        try:
            transport, connection = await loop.create_connection(
                make, address, self._target.port, ssl=tls, server_hostname=self._target.host if tls else None
            )
        except ConnectionRefusedError:
            raise Failure("connection refused") from None
        except ssl.SSLCertVerificationError as error:
            raise Failure(f"certificate: {error.verify_message}") from None
        except OSError as error:
            raise Failure(f"no connection: {error.strerror or error}") from None
        chosen = transport.get_extra_info("ssl_object")
        if protocol == HTTP2 and (chosen is None or chosen.selected_alpn_protocol() != HTTP2):
            transport.abort()
            raise Failure("the server does not speak HTTP/2")
        return connection

    async def record(
        self,
        request: Request,
        address: str,
        protocol: str,
        connection: Connection | None = None,
        due: float | None = None,
        timeout: float = 10.0,
        is_long: bool = False,
    ) -> tuple[Record, Connection | None]:
        """Send one request and return its record, and the connection if it can serve again.

        connection: one to use; without it a new one is opened. due: when it should have been sent, in
        `time.time()`'s seconds, now when absent. timeout: seconds from now to the end of the answer.
        """
        due = time.time() if due is None else due
        began = time.perf_counter() - (time.time() - due)
        reused = connection is not None and connection.served > 0
        answer, error = Answer(), None
        try:
            async with asyncio.timeout(timeout):
                if connection is None:
                    connection = await self.connect(address, protocol)
                answer = await connection.send(request)
        except TimeoutError:
            error = "timeout"
        except Failure as failure:
            error = str(failure)
        except h2.exceptions.H2Error as failure:
            error = f"HTTP/2: {type(failure).__name__}"
        if connection is not None and (error or not connection.usable):
            connection.close()
            connection = None
        record = {
            "at": round(due, 6),
            "seconds": round(time.perf_counter() - began, 6),
            "status": answer.status or None,
            "error": error,
            "color": answer.headers.get("x-app-color"),
            "version": answer.headers.get("x-app-version"),
            "protocol": protocol,
            "node": address,
            "reused": reused,
            "path": request.path,
            "long": is_long,
        }
        return record, connection


@dataclass(frozen=True)
class Plan:
    """What the generator does; see `python -m lab.traffic --help`. Times in seconds, rate in requests a second."""

    target: Target
    addresses: tuple[str, ...]
    requests: tuple[Request, ...]
    rate: float = 100.0
    connections: int = 8
    http2_share: float = 0.0
    timeout: float = 10.0
    long_request: Request | None = None
    long_every: float = 20.0
    long_timeout: float = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError for a plan that cannot be carried out."""
        if self.rate <= 0 or self.connections < 1 or self.timeout <= 0 or self.long_every <= 0:
            raise ValueError("rate, connections, timeout and long-every must be above 0")
        if not 0 <= self.http2_share <= 1:
            raise ValueError(f"http2-share must be from 0 to 1, not {self.http2_share}")
        if self.http2_share and not self.target.secure:
            raise ValueError("HTTP/2 needs an https URL, as a load balancer offers it with TLS only")

    def protocol(self, number: int) -> str:
        """Return the protocol of a request, so that the share holds over any stretch of them."""
        return HTTP2 if int((number + 1) * self.http2_share) > int(number * self.http2_share) else HTTP1


class Generator:
    """Carries out a plan."""

    def __init__(self, plan: Plan, write: Callable[[Record], None]) -> None:
        self._plan = plan
        self._write = write
        self._client = Client(plan.target)
        self._idle: dict[str, deque[Connection]] = {address: deque() for address in plan.addresses}
        self._shared: dict[str, deque[Connection]] = {address: deque() for address in plan.addresses}
        self._open: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._bug: BaseException | None = None

    def stop(self) -> None:
        """Send nothing new."""
        self._stop.set()

    async def run(self) -> None:
        """Send until `stop`, then wait for what is under way."""
        regular = asyncio.create_task(self._regular())
        if self._plan.long_request:
            self._spawn(self._long())
        await regular
        while self._tasks:
            await asyncio.wait(self._tasks)
        for connection in [*self._all(self._idle), *self._all(self._shared)]:
            connection.close()
        if self._bug:
            raise self._bug

    async def _regular(self) -> None:
        start, number = time.time(), 0
        while not self._stop.is_set():
            due = start + number / self._plan.rate
            if (wait := due - time.time()) > 0:
                await asyncio.sleep(min(wait, 0.1))
                if wait > 0.1:
                    continue  # look whether it is time to stop
            self._spawn(self._one(number, due))
            number += 1

    async def _one(self, number: int, due: float) -> None:
        protocol = self._plan.protocol(number)
        # Each protocol visits the addresses in turn: what number decides would tie protocols to addresses.
        address = self._plan.addresses[self._sent[protocol] % len(self._plan.addresses)]
        self._sent[protocol] += 1
        request = self._plan.requests[number % len(self._plan.requests)]
        if protocol == HTTP1:
            await self._one_exclusive(request, address, due)
        else:
            await self._one_shared(request, address, due)

    async def _one_exclusive(self, request: Request, address: str, due: float) -> None:
        """HTTP/1.1: the connection that has been idle for longest; an extra one when all are busy."""
        idle = self._idle[address]
        while idle and not idle[0].usable:
            idle.popleft()
            self._open[address] -= 1
        # All connections are to be in use, so that none grows old: open new ones before one serves twice.
        connection = idle.popleft() if idle and self._open[address] >= self._plan.connections else None
        extra = connection is None and self._open[address] >= self._plan.connections
        if connection is None and not extra:
            self._open[address] += 1
        record, kept = await self._client.record(request, address, HTTP1, connection, due, self._plan.timeout)
        self._write(record)
        if extra and kept:
            kept.close()
        elif kept:
            idle.append(kept)
        elif not extra:
            self._open[address] -= 1

    async def _one_shared(self, request: Request, address: str, due: float) -> None:
        """HTTP/2: the connections in turn, whether busy or not; a quarter as many as of HTTP/1.1."""
        shared = self._shared[address]
        for connection in [each for each in shared if not each.usable]:
            shared.remove(connection)
        connection = None
        if len(shared) >= max(1, self._plan.connections // 4):
            connection = shared[0]
            shared.rotate(-1)
        record, kept = await self._client.record(request, address, HTTP2, connection, due, self._plan.timeout)
        self._write(record)
        if connection is None and kept:
            shared.append(kept)

    async def _long(self) -> None:
        """Start a long request every so often, each on its own connection, by the protocols and addresses in turn."""
        assert self._plan.long_request
        protocols = [HTTP1, HTTP2] if self._plan.http2_share else [HTTP1]
        number = 0
        while not self._stop.is_set():
            protocol = protocols[number % len(protocols)]
            address = self._plan.addresses[number // len(protocols) % len(self._plan.addresses)]
            self._spawn(self._one_long(self._plan.long_request, address, protocol))
            number += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._plan.long_every)

    async def _one_long(self, request: Request, address: str, protocol: str) -> None:
        record, kept = await self._client.record(
            request, address, protocol, timeout=self._plan.long_timeout, is_long=True
        )
        self._write(record)
        if kept:
            kept.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.exception() and self._bug is None:
            # A request without a record would be a failure that nobody sees.
            self._bug = task.exception()
            self.stop()

    @staticmethod
    def _all(pools: dict[str, deque[Connection]]) -> list[Connection]:
        return [connection for pool in pools.values() for connection in pool]


def send(
    url: str,
    address: str | None = None,
    ca: str | Path | None = None,
    http2: bool = False,
    timeout: float = 60.0,
    method: str = "GET",
    body: str = "",
) -> Record:
    """Send one request on a connection of its own and return its record (see the module's text).

    address: where to connect to, the URL's host when absent. timeout: seconds.
    """
    target = Target(url, str(ca) if ca else None)

    async def once() -> Record:
        protocol = HTTP2 if http2 else HTTP1
        where = address or socket.gethostbyname(target.host)
        request = Request(method, target.path, body)
        record, kept = await Client(target).record(request, where, protocol, timeout=timeout)
        if kept:
            kept.close()
        return record

    return asyncio.run(once())


def start(url: str, **arguments: Any) -> concurrent.futures.Future[Record]:
    """Send one request now, in the background; `.result()` waits for its record. Takes the arguments of `send`."""
    future: concurrent.futures.Future[Record] = concurrent.futures.Future()

    def work() -> None:
        try:
            future.set_result(send(url, **arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def failed(record: Record) -> bool:
    """Tell whether a request failed: a 5xx, or no whole answer."""
    return bool(record["error"]) or record["status"] is None or record["status"] >= 500


def read(file: Path | str) -> Iterator[Record]:
    """Yield the records of an output file, also of one that is still being written."""
    with Path(file).open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the nearest-rank percentile of ascending values, None of nothing."""
    return values[max(0, math.ceil(percent / 100 * len(values)) - 1)] if values else None


def summarise(
    file: Path | str, since: float | None = None, until: float | None = None, window: float = 1.0
) -> dict[str, Any]:
    """Return what became of the requests in an output file.

    since, until: only requests due in [since, until), epoch seconds. window: seconds of one entry of "windows".

    Returns {"total", "failed", "rate" (requests a second), "errors": {text or status: number}, "statuses", "colors",
    "versions", "nodes", "protocols": {value: number of requests}, "latency": {"p50", "p95", "p99", "max": seconds},
    "long": {"total", "failed"}, "windows": [{"at": epoch, "total", "failed", "colors": {color: number}, "p95"}]}.
    The long requests are in "long" and in the failures, but not in "latency" and "windows".
    """
    records = [
        record
        for record in read(file)
        if (since is None or record["at"] >= since) and (until is None or record["at"] < until)
    ]
    failures = [record for record in records if failed(record)]
    regular = [record for record in records if not record["long"]]
    latency = sorted(record["seconds"] for record in regular)
    times = [record["at"] for record in regular]
    long = [record for record in records if record["long"]]
    return {
        "total": len(records),
        "failed": len(failures),
        "rate": round((len(times) - 1) / (max(times) - min(times)), 2) if len(set(times)) > 1 else 0.0,
        "errors": dict(Counter(record["error"] or str(record["status"]) for record in failures)),
        "statuses": _counts(records, "status"),
        "colors": _counts(records, "color"),
        "versions": _counts(records, "version"),
        "nodes": _counts(records, "node"),
        "protocols": _counts(records, "protocol"),
        "latency": {
            **{f"p{percent}": percentile(latency, percent) for percent in (50, 95, 99)},
            "max": latency[-1] if latency else None,
        },
        "long": {"total": len(long), "failed": len([record for record in long if failed(record)])},
        "windows": _windows(regular, window),
    }


def _counts(records: Iterable[Record], key: str) -> dict[str, int]:
    return dict(sorted(Counter(str(record[key]) for record in records if record[key] is not None).items()))


def _windows(records: list[Record], window: float) -> list[dict[str, Any]]:
    found: dict[float, list[Record]] = {}
    for record in records:
        found.setdefault(math.floor(record["at"] / window) * window, []).append(record)
    return [
        {
            "at": at,
            "total": len(inside),
            "failed": len([record for record in inside if failed(record)]),
            "colors": _counts(inside, "color"),
            "p95": percentile(sorted(record["seconds"] for record in inside), 95),
        }
        for at, inside in sorted(found.items())
    ]


class Traffic:
    """The generator as a process: `with Traffic(url, …) as traffic: …`, afterwards `traffic.summary()`."""

    def __init__(self, url: str, output: Path | str | None = None, **options: Any) -> None:
        """Prepare.

        output: where the records go, a temporary file when absent. options: those of the command line with
        underscores; a list or tuple where one takes several values.
        """
        self.url = url
        self._temporary = None if output else tempfile.TemporaryDirectory(prefix="lab-traffic-")
        self.output = Path(output or Path(self._temporary.name) / "traffic.jsonl")  # type: ignore[union-attr]
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Traffic:
        """Start, and return when the first request has its answer; raises RuntimeError when none comes in 15 s."""
        command = [sys.executable, "-m", "lab.traffic", "--url", self.url, "--output", str(self.output)]
        for name, value in self._options.items():
            option = f"--{name.replace('_', '-')}"
            if name == "request":
                for each in [value] if isinstance(value, str) else value:
                    command += [option, each]
            elif value is not None:
                command += [option, ",".join(value) if isinstance(value, list | tuple) else str(value)]
        self.output.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            command,
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for its owner, who stops the traffic in order
        )
        deadline = time.monotonic() + 15
        while not (self.output.exists() and self.output.stat().st_size):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                output = self._process.communicate()[0]
                raise RuntimeError(f"the load generator got no answer within 15 s: {output.strip()[-2000:]}")
            time.sleep(0.02)
        return self

    def stop(self, timeout: float = 90.0) -> dict[str, Any]:
        """Stop sending, wait for what is under way and return the summary; raises RuntimeError when it failed."""
        if self._process is not None:
            process, self._process = self._process, None
            if process.poll() is None:
                process.terminate()
            try:
                output = process.communicate(timeout=timeout)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                output = process.communicate()[0]
            if process.returncode:
                raise RuntimeError(f"the load generator ended with {process.returncode}: {output.strip()[-2000:]}")
        return self.summary()

    def summary(self, since: float | None = None, until: float | None = None, window: float = 1.0) -> dict[str, Any]:
        """Return `summarise` of what is recorded so far."""
        return summarise(self.output, since, until, window)

    def __enter__(self) -> Traffic:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()


async def _main(plan: Plan, output: TextIO, duration: float | None, until_file: Path | None) -> None:
    generator = Generator(plan, lambda record: print(json.dumps(record, separators=(",", ":")), file=output))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, generator.stop)
    if duration is not None:
        loop.call_later(duration, generator.stop)

    async def look_after() -> None:
        while True:
            output.flush()
            if until_file and until_file.exists():
                generator.stop()
            await asyncio.sleep(0.1)

    beside = asyncio.create_task(look_after())
    await generator.run()
    beside.cancel()


def _request(text: str) -> Request:
    method, _space, rest = text.partition(" ")
    path, _space, body = rest.partition(" ")
    if not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"expected 'METHOD /path [JSON]', not {text!r}")
    return Request(method, path, body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; prints the summary without its windows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m lab.traffic", description="Send requests at a steady rate.")
    parser.add_argument("--url", required=True, help="scheme, host (for TLS and Host), port and path")
    parser.add_argument("--addresses", help="connect to these, separated by commas, instead of the URL's host")
    parser.add_argument("--ca", help="file with the certificate authority")
    parser.add_argument("--request", type=_request, action="append", help="'METHOD /path [JSON]'; several in turn")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--connections", type=int, default=8, help="HTTP/1.1 connections kept open to each address")
    parser.add_argument("--http2-share", type=float, default=0.0, help="part of the requests, 0 to 1, sent by HTTP/2")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for one request")
    parser.add_argument("--long-path", help="also send long requests for this path")
    parser.add_argument("--long-every", type=float, default=20.0, help="seconds from one long request to the next")
    parser.add_argument("--long-timeout", type=float, default=60.0, help="seconds for a long request")
    parser.add_argument("--output", type=Path, required=True, help="file for the records, one JSON object a line")
    parser.add_argument("--duration", type=float, help="stop after so many seconds")
    parser.add_argument("--until-file", type=Path, help="stop when this file appears")
    given = parser.parse_args(arguments)
    target = Target(given.url, given.ca)
    try:
        plan = Plan(
            target=target,
            addresses=tuple((given.addresses or socket.gethostbyname(target.host)).split(",")),
            requests=tuple(given.request or [Request("GET", target.path)]),
            rate=given.rate,
            connections=given.connections,
            http2_share=given.http2_share,
            timeout=given.timeout,
            long_request=Request("GET", given.long_path) if given.long_path else None,
            long_every=given.long_every,
            long_timeout=given.long_timeout,
        )
    except ValueError as error:
        parser.error(str(error))
    with given.output.open("w") as output:
        asyncio.run(_main(plan, output, given.duration, given.until_file))
    summary = summarise(given.output)
    del summary["windows"]
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
