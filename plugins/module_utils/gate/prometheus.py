# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readings from Prometheus' HTTP API."""

from __future__ import annotations

import json
import math
import urllib.error
from pathlib import Path
from urllib.parse import urlencode

from ansible.module_utils.urls import open_url
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.evaluate import Reading

_PERMANENT = (400, 401, 403, 404)


class QueryFailed(Exception):
    """A query got no answer, or none that is a number.

    :ivar permanent: whether asking again cannot help.
    """

    def __init__(self, message: str, permanent: bool):
        super().__init__(message)
        self.permanent = permanent


class Prometheus:
    """One server.

    :param settings: ``url``, ``username``, ``password``, ``password_file``, ``token``, ``token_file``, ``ca_path``,
        ``validate_certs``, ``timeout`` (seconds); None for what is not used.
    """

    def __init__(self, settings: dict):
        self.url = settings["url"].rstrip("/")
        self._options = {
            "timeout": settings["timeout"],
            "validate_certs": settings["validate_certs"],
            "ca_path": settings["ca_path"],
            "headers": {"Accept": "application/json", **_authorization(settings)},
        }
        password = settings["password"] or _content(settings["password_file"])
        if settings["username"]:
            self._options.update(url_username=settings["username"], url_password=password, force_basic_auth=True)

    def read(self, check: dict, window: float, start: float, probed: int, answers: dict) -> Reading:
        """Read one check.

        :param window: seconds that take the place of ``$window``.
        :param start: seconds since the epoch that take the place of ``$start``.
        :param probed: requests that take the place of ``$probed``.
        :param answers: of this poll so far, by query: the same query is not asked twice.
        """
        numbers = {}
        for key, option in (("value", "query"), ("baseline", "baseline_query"), ("samples", "samples_query")):
            if not check[option]:
                continue
            query = fill_in(check[option], window, start, probed)
            try:
                if query not in answers:
                    answers[query] = self.query(query)
            except QueryFailed as failure:
                return Reading(error=f"{option} of {self.url}: {failure}", permanent=failure.permanent)
            numbers[key] = answers[query]
        return Reading(**numbers)

    def query(self, query: str) -> float | None:
        """The number that a query gives now; None when it gives nothing, or no number.

        :raises QueryFailed: when there is no answer, or more than one number.
        """
        address = f"{self.url}/api/v1/query?{urlencode({'query': query})}"
        try:
            with open_url(address, **self._options) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            raise _from_http(error, query) from error
        except Exception as error:  # open_url raises what its many layers raise: refused, reset, timeout, TLS
            raise QueryFailed(f"{type(error).__name__}: {error}", permanent=False) from error
        return parse(body, query)


def fill_in(query: str, window: float, start: float, probed: int) -> str:
    """The query with ``$window``, ``$start`` and ``$probed`` replaced."""
    values = {"$window": f"{math.ceil(window)}s", "$start": f"{start:.3f}", "$probed": str(probed)}
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def parse(body: bytes, query: str) -> float | None:
    """The one number in an answer.

    :raises QueryFailed: when it is none of Prometheus', or holds several.
    """
    try:
        data = json.loads(body)["data"]
        kind, result = data["resultType"], data["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise QueryFailed("the answer is not Prometheus': is the URL right?", permanent=True) from error
    if kind == "scalar":
        return _number(result[1])
    if kind != "vector":
        raise QueryFailed(f"expected one number, found a {kind} for {query}", permanent=True)
    if len(result) > 1:
        message = f"expected one number, found {len(result)} series for {query}: aggregate, for example with sum()"
        raise QueryFailed(message, permanent=True)
    return _number(result[0]["value"][1]) if result else None


def _number(text):
    number = float(text)
    return None if math.isnan(number) else number


def _from_http(error, query):
    try:
        message = json.loads(error.read())["error"]
    except (ValueError, KeyError, TypeError, OSError):
        message = error.reason
    text = f"HTTP {error.code} ({message}) for {query}"
    return QueryFailed(text, permanent=error.code in _PERMANENT)


def _authorization(settings):
    token = settings["token"] or _content(settings["token_file"])
    return {"Authorization": f"Bearer {token}"} if token else {}


def _content(path):
    return Path(path).read_text().strip() if path else None
