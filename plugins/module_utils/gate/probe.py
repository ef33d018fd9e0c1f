# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests through the load balancer, to each of its addresses, and what came of them."""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.evaluate import Reading

_THREADS = 16
_LONGEST = 120
# Requests that "recent" means: a version that breaks after an hour is not excused by that hour.
RECENT = 200
# While the version gets a small share of them, it takes more to tell.
RECENT_OF_SHARE = 1000
# Chance is granted what happens once in a thousand times; a node that looks stuck by chance is asked again anyway.
_SIGMAS = 3.3
# A node that has not moved gets many chances to look as if it had, so that more is demanded of it.
_SIGMAS_STUCK = 4.5
# A colour that should answer is missed by a node that has not moved when missing it by chance is this unlikely.
_NEGLIGIBLE = 1e-4
# Answers of a node that are looked at: enough for a share of 1 % to be told from nothing.
_MOST = 1000
# A statement about a share takes some hundred answers: that many polls are to bring them, but no flood.
_POLLS_TO_CONVERGE = 5
_MOST_AT_ONCE = 50
# While a colour gets a small share, so many more requests are made that its part of them still tells something.
_MOST_WATCHING = 30


class ProbeFailed(Exception):
    """No request could be made at all: the name does not resolve, or the certificate is not trusted.

    :ivar permanent: whether waiting cannot help.
    """

    def __init__(self, message: str, permanent: bool):
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True)
class Shot:
    """One request: ``error`` None for an answer below 500, ``color`` None when the answer did not tell."""

    address: str
    error: str | None
    color: str | None
    seconds: float


@dataclass
class Totals:
    """What came of all requests so far. Pure."""

    sent: int = 0
    failed: int = 0
    errors: Counter = field(default_factory=Counter)
    colors: Counter = field(default_factory=Counter)
    nodes: dict = field(default_factory=dict)
    recent: dict = field(default_factory=dict)
    failures: deque = field(default_factory=lambda: deque(maxlen=RECENT_OF_SHARE))
    seconds: dict = field(default_factory=dict)

    def add(self, shots: list) -> None:
        """Count these requests."""
        for shot in shots:
            node = self.nodes.setdefault(shot.address, {"sent": 0, "failed": 0, "colors": {}})
            self.sent += 1
            node["sent"] += 1
            self.failures.append(bool(shot.error))
            if shot.error:
                self.failed += 1
                node["failed"] += 1
                self.errors[shot.error] += 1
                continue
            if shot.color:
                self.colors[shot.color] += 1
                node["colors"][shot.color] = node["colors"].get(shot.color, 0) + 1
            self.recent.setdefault(shot.address, deque(maxlen=_MOST)).append(shot.color)
            self.seconds.setdefault(shot.color, []).append(shot.seconds)

    def result(self) -> dict:
        """As the module returns it."""
        return {
            "sent": self.sent,
            "failed": self.failed,
            "errors": dict(self.errors),
            "colors": dict(self.colors),
            "nodes": self.nodes,
        }

    def reading(self, check: dict) -> Reading:
        """What a check of these requests reads."""
        measure, color = check["measure"], check["color"]
        if measure == "failed_ratio":
            return Reading(value=self.failed / self.sent if self.sent else None, samples=self.sent)
        if measure == "recent_failed_ratio":
            recent = list(self.failures)[-check.get("recent", RECENT) :]
            return Reading(value=sum(recent) / len(recent) if recent else None, samples=len(recent))
        if measure == "share":
            answered = sum(self.colors.values())
            return Reading(value=self.colors[color] / answered if answered else None, samples=answered)
        mine = self.seconds.get(color, [])
        return Reading(
            value=percentile(mine, 0.95),
            baseline=percentile(self.seconds.get(check["baseline_color"], []), 0.95),
            samples=len(mine),
        )


def percentile(values: list, rank: float) -> float | None:
    """The value below or at which that part (0 to 1) of the values lies; None of none."""
    return sorted(values)[max(0, math.ceil(rank * len(values)) - 1)] if values else None


@dataclass(frozen=True)
class Expectation:
    """That a colour gives a share (0 to 1) of the answers, up to chance and a tolerance (0 to 1).

    :ivar requests: answers of a node that are looked at, at least.
    :ivar before: the share that a node gives which has not moved yet.
    """

    color: str
    share: float
    tolerance: float
    requests: int
    before: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether chance plays no part."""
        return self.share in (0.0, 1.0)

    def needed(self) -> int:
        """Answers that tell a node that has moved from one that has not, at most a thousand."""
        if self.exact:
            return self.requests
        needed = max(self.requests, math.log(_NEGLIGIBLE) / math.log(1 - min(self.share, 1 - self.share)))
        if self.before not in (0.0, 1.0, self.share):
            both = _SIGMAS * _deviation(self.share) + _SIGMAS_STUCK * _deviation(self.before)
            needed = max(needed, (both / (self.share - self.before)) ** 2)
        return min(_MOST, math.ceil(needed))

    def at_once(self, requests: int) -> int:
        """Requests to a node at each poll while it is not yet known to have moved."""
        return max(requests, min(_MOST_AT_ONCE, math.ceil(self.needed() / _POLLS_TO_CONVERGE)))

    def watching(self, requests: int) -> int:
        """Requests to a node at each poll after that."""
        return max(requests, min(_MOST_WATCHING, math.ceil(requests / self.share))) if self.share else requests


def _deviation(share):
    return math.sqrt(share * (1 - share))


def unconverged(totals: Totals, addresses: list, expected: Expectation) -> list:
    """Why nodes do not yet answer as expected, one line each; none when all do.

    Only each node's newest answers count, as many as it takes. A share of 0 or 1 must be exact; between them chance is
    granted 3.3 standard deviations, and a colour is missed only when so many answers without it are no chance.
    """
    reasons = []
    count = expected.needed()
    rarer = min(expected.share, 1 - expected.share)
    for address in addresses:
        recent = list(totals.recent.get(address, ()))[-count:]
        if len(recent) < count:
            reasons.append(f"{address}: {len(recent)} of {count} answers")
            continue
        if not any(recent):
            reasons.append(f"{address}: answers do not tell their colour (color_header)")
            continue
        found = recent.count(expected.color) / count
        spread = 0 if expected.exact else _SIGMAS * _deviation(expected.share) / math.sqrt(count)
        unseen = not expected.exact and found in (0.0, 1.0) and (1 - rarer) ** count <= _NEGLIGIBLE
        if unseen or abs(found - expected.share) > spread + expected.tolerance:
            reasons.append(f"{address}: {found:.0%} {expected.color} of the last {count}, not {expected.share:.0%}")
    return reasons


class Prober:
    """Makes the requests, each on a connection of its own.

    :param settings: ``url``, ``addresses``, ``ca_path``, ``validate_certs``, ``timeout`` (seconds), ``requests`` (each
    time
        to each address), ``headers``, ``color_header``.
    :raises Failure: when the URL is not one of http or https.
    """

    def __init__(self, settings: dict):
        self._settings = settings
        url = urlsplit(settings["url"])
        if url.scheme not in ("http", "https") or not url.hostname:
            raise Failure("a http or https URL to probe", repr(settings["url"]), "Correct probe.url.")
        self._tls = url.scheme == "https"
        self._host = url.hostname
        self._port = url.port or (443 if self._tls else 80)
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._context = self._make_context() if self._tls else None

    def addresses(self) -> list:
        """Every address of the load balancer, IPv4 and IPv6; those given, else those its name has now.

        :raises ProbeFailed: when the name does not resolve.
        """
        if self._settings["addresses"]:
            return list(self._settings["addresses"])
        try:
            # Only families that this machine has an address of: elsewhere each probe over the other one would fail.
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        except OSError as error:
            raise ProbeFailed(f"{self._host} does not resolve: {error}", permanent=False) from error
        return sorted({item[4][0] for item in found})

    def shoot(self, addresses: list, requests: int | None = None) -> list:
        """One round of requests to all addresses.

        :param requests: to each of them; by default as many as the settings say.
        :raises ProbeFailed: when the certificate is not trusted.
        """
        targets = list(addresses) * (requests or self._settings["requests"])
        with ThreadPoolExecutor(min(len(targets), _THREADS)) as pool:
            return list(pool.map(self._request, targets))

    def _request(self, address):
        began = time.monotonic()
        connection = _Connection(address, self._host, self._port, self._settings["timeout"], self._context)
        color = error = None
        try:
            headers = {"Connection": "close", "User-Agent": "metric_gate", **(self._settings["headers"] or {})}
            connection.request("GET", self._path, headers=headers)
            response = connection.getresponse()
            response.read()
            color = response.getheader(self._settings["color_header"])
            error = f"HTTP {response.status}" if response.status >= 500 else None
        except ssl.SSLCertVerificationError as failure:
            raise ProbeFailed(
                f"the certificate of {self._host} at {address} is not trusted: {failure.verify_message}",
                permanent=True,
            ) from failure
        except (OSError, http.client.HTTPException) as failure:
            error = _described(failure)
        finally:
            connection.close()
        return Shot(address, error, color, time.monotonic() - began)

    def _make_context(self):
        if not self._settings["validate_certs"]:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        try:
            return ssl.create_default_context(cafile=self._settings["ca_path"])
        except OSError as error:
            raise Failure("CA certificates in probe.ca_path", f"{error}", "Give a file of PEM certificates.") from error


def _described(failure):
    """An error's kind and what it says, without what differs each time; the kind alone of "OSError" tells nothing."""
    said = getattr(failure, "strerror", None) or str(failure)
    return f"{type(failure).__name__}: {said[:_LONGEST]}" if said else type(failure).__name__


class _Connection(http.client.HTTPConnection):
    """To one address, while Host header and server name stay those of the URL."""

    def __init__(self, address, host, port, timeout, context):
        super().__init__(host, port, timeout=timeout)
        self._address = address
        self._context = context
        self.default_port = 443 if context else 80

    def connect(self):
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._context:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
