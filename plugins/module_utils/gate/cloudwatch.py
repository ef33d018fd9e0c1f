# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readings from CloudWatch, all checks in one call."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import (
    CREDENTIAL_CODES,
    PERMISSION_CODES,
    AwsFailure,
)
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.evaluate import Reading

_COUNTS = ("Sum", "SampleCount")
_PERIODS_BACK = 5
# Seconds after a period's end by which an Application Load Balancer's metrics are to be had.
_PUBLISHED_AFTER = 120.0
_KINDS = (("value", "metric"), ("baseline", "baseline_metric"), ("samples", "samples_metric"))


def read(aws: Aws, checks: list, start: float, now: float) -> dict:
    """Read these checks, by name.

    Only whole periods since ``start`` count: a period that was already under way then holds what happened before.

    :param start, now: seconds since the epoch.
    """
    queries = to_queries(checks)
    periods = _periods(queries)
    begin = math.ceil(start / min(periods)) * min(periods)
    if begin >= now:
        return {check["name"]: Reading() for check in checks}
    try:
        results = _get_metric_data(aws, queries, begin, now)
    except AwsFailure as failure:
        permanent = failure.code in PERMISSION_CODES or failure.code in CREDENTIAL_CODES
        return {check["name"]: Reading(error=str(failure), permanent=permanent) for check in checks}
    return {check["name"]: to_reading(check, index, results) for index, check in enumerate(checks)}


def readable_since(checks: list, now: float) -> float:
    """A start that is so far back that there is something to ask for, in seconds since the epoch.

    Just to see whether it can be: with the gate's own start the range would be empty, and nothing would be asked.
    """
    return now - _PERIODS_BACK * max(_periods(to_queries(checks)))


def delay(checks: list) -> float:
    """Seconds until metrics of something that begins now can be there: a whole period, and the time to publish it."""
    return max(_periods(to_queries(checks))) + _PUBLISHED_AFTER


def to_queries(checks: list) -> list:
    """MetricDataQueries of all checks; the id tells check and kind."""
    queries = []
    for index, check in enumerate(checks):
        for kind, option in _KINDS:
            metric = check[option]
            if not metric:
                continue
            dimensions = [
                {"Name": name, "Value": dimension(value)} for name, value in sorted(metric["dimensions"].items())
            ]
            queries.append(
                {
                    "Id": f"{kind}_{index}",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": metric["namespace"],
                            "MetricName": metric["name"],
                            "Dimensions": dimensions,
                        },
                        "Period": metric["period"],
                        "Stat": metric["statistic"],
                    },
                }
            )
    return queries


def dimension(value: str) -> str:
    """A dimension's value; of the ARN of a load balancer or target group the part that CloudWatch wants."""
    if not str(value).startswith("arn:"):
        return str(value)
    resource = value.split(":", 5)[5]
    return resource.removeprefix("loadbalancer/")


def to_reading(check: dict, index: int, results: dict) -> Reading:
    """What the answers to one check's queries say.

    A count that is missing is zero only when there were requests: CloudWatch keeps no zeros.

    :param results: values by query id, or a message for a query that failed.
    """
    numbers = {}
    for kind, option in _KINDS:
        found = results.get(f"{kind}_{index}") if check[option] else None
        if isinstance(found, str):
            return Reading(error=found)
        numbers[kind] = _combined(found, check[option]["statistic"]) if found else None
    samples = numbers["samples"]
    for kind, option in _KINDS[:1]:
        if numbers[kind] is None and samples and check[option]["statistic"] in _COUNTS:
            numbers[kind] = 0.0
    if check["ratio"] and numbers["value"] is not None:
        numbers["value"] = numbers["value"] / samples if samples else None
    return Reading(**numbers)


def _periods(queries):
    return [query["MetricStat"]["Period"] for query in queries]


def _combined(values, statistic):
    """Counts add up; of anything else the newest period counts."""
    if statistic in _COUNTS:
        return float(sum(values))
    return {"Maximum": max, "Minimum": min}.get(statistic, lambda items: items[-1])(values)


def _get_metric_data(aws, queries, begin, now):
    results: dict = {}
    params = {
        "MetricDataQueries": queries,
        "StartTime": datetime.fromtimestamp(begin, timezone.utc),
        "EndTime": datetime.fromtimestamp(now, timezone.utc),
        "ScanBy": "TimestampAscending",
    }
    while True:
        answer = aws.read("get_metric_data", "the gate's metrics", **params)
        for result in answer["MetricDataResults"]:
            if result.get("StatusCode") in ("Forbidden", "InternalError"):
                messages = ", ".join(message["Value"] for message in result.get("Messages", []))
                results[result["Id"]] = f"CloudWatch: {result['StatusCode']} for {result['Label']} {messages}".strip()
                continue
            results.setdefault(result["Id"], []).extend(result["Values"])
        if not answer.get("NextToken"):
            return results
        params["NextToken"] = answer["NextToken"]
