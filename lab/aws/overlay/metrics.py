"""CloudWatch's AWS/ApplicationELB, fed by the data plane's requests and the targets' health, with AWS's gaps.

A metric has no data point where nothing happened; requests that the load balancer answers itself (502 of a crashed
target, 503, 504) count for the load balancer and not for the target group; a period can be read when it is over.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import CloudWatchBackend, MetricDatumBase
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from lab.aws.core import Lab
from lab.aws.overlay.forward_actions import attached

NAMESPACE = "AWS/ApplicationELB"
KEPT = 3 * 3600  # seconds of history
PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
UNITS = {"TargetResponseTime": "Seconds"}

Dimensions = tuple[tuple[str, str], ...]
Points = list[tuple[int, list[float]]]


class Published(NamedTuple):
    """When data points appear: a metric's own period and delay in seconds, and the time that it is now."""

    period: float
    delay: float
    now: float


class Series:
    """All values of all metrics, kept by second."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, Dimensions], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._lock = threading.Lock()
        self._pruned = 0.0

    def add(self, at: float, value: float, name: str, *dimensions: Dimensions) -> None:
        """Add a value of a metric for each of several dimension sets."""
        with self._lock:
            for entry in dimensions:
                self._seconds[name, entry][int(at)].append(value)
            if at > self._pruned + 60:
                self._pruned = at
                self._prune(int(at) - KEPT)

    def points(
        self, name: str, dimensions: Dimensions, window: tuple[float, float], period: int, published: Published
    ) -> Points:
        """Return (start of the period, its values) in a window of time, oldest first.

        The metric's own period decides what is published and when; the asked period puts such points together.
        """
        own = published.period
        found: dict[int, list[float]] = defaultdict(list)
        with self._lock:
            for second, values in self._seconds.get((name, dimensions), {}).items():
                start = second // own * own
                if window[0] // own * own <= start < window[1] and start + own + published.delay <= published.now:
                    found[int(start // period * period)] += values
        return sorted(found.items())

    def names(self) -> list[tuple[str, Dimensions]]:
        """Return which metrics there are."""
        with self._lock:
            return list(self._seconds)

    def _prune(self, oldest: int) -> None:
        for key, seconds in list(self._seconds.items()):
            for second in [second for second in seconds if second < oldest]:
                del seconds[second]
            if not seconds:
                del self._seconds[key]


def count(series: Series, event: dict[str, Any]) -> None:
    """Count one line of the data plane's access log (the event of lab.alb)."""
    balancer = (("LoadBalancer", "/".join(event["listener"].rpartition(":")[2].split("/")[1:4])),)
    both: tuple[Dimensions, ...] = (balancer,)
    if event["group"]:
        name, _dash, number = event["group"].rpartition("-")
        both = (balancer, (*balancer, ("TargetGroup", f"targetgroup/{name}/{number}")))
    at, status = event["at"], int(event["status"] or 0)
    if event["target"]:  # AWS counts a request when it has chosen a target for it
        series.add(at, 1, "RequestCount", *both)
    if event["origin"] == "target":
        series.add(at, 1, f"HTTPCode_Target_{status // 100}XX_Count", *both)
        series.add(at, float(event["seconds"]), "TargetResponseTime", *both)
        return
    if status >= 300:
        series.add(at, 1, f"HTTPCode_ELB_{status // 100}XX_Count", balancer)
    if status in (500, 502, 503, 504):
        series.add(at, 1, f"HTTPCode_ELB_{status}_Count", balancer)
    if event["target"] and str(event["reason"] or "").startswith("SC"):
        series.add(at, 1, "TargetConnectionErrorCount", *both)


def statistic(values: list[float], name: str) -> float:
    """Return a statistic (Sum, Average, p95 …) of at least one value; raises ValidationError for an unknown one."""
    if found := PERCENTILE.fullmatch(name):
        ordered = sorted(values)
        position = (len(ordered) - 1) * float(found[1]) / 100
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
    match name:
        case "SampleCount":
            return float(len(values))
        case "Sum":
            return float(sum(values))
        case "Average":
            return sum(values) / len(values)
        case "Minimum":
            return float(min(values))
        case "Maximum":
            return float(max(values))
    raise ValidationError(f"The value {name} for parameter Stat is not supported by the lab.")


def install(lab: Lab) -> None:
    """Answer CloudWatch's questions about AWS/ApplicationELB from the data plane."""
    series = Series()
    lab.on_request = lambda event: count(series, event)

    def points(metric: dict[str, Any], start: datetime, end: datetime, period: int) -> Points:
        dimensions = tuple(sorted((entry["Name"], entry["Value"]) for entry in metric.get("Dimensions") or []))
        published = Published(lab.settings.metrics_period, lab.settings.metrics_delay, time.time())
        return series.points(metric["MetricName"], dimensions, (_epoch(start), _epoch(end)), period, published)

    def answer(query: dict[str, Any], start: datetime, end: datetime, scan_by: str) -> dict[str, Any]:
        stat = query["MetricStat"]
        found = points(stat["Metric"], start, end, _period(stat["Period"]))
        if scan_by == "TimestampDescending":
            found.reverse()
        return {
            "id": query["Id"],
            "label": query.get("Label") or stat["Metric"]["MetricName"],
            "timestamps": [datetime.fromtimestamp(at, UTC).replace(tzinfo=None) for at, _values in found],
            "values": [statistic(values, stat["Stat"]) for _at, values in found],
            "status_code": "Complete",
        }

    data, filtered = CloudWatchBackend.get_metric_data, CloudWatchBackend.get_filtered_metrics
    statistics = CloudWatchResponse.get_metric_statistics

    def get_metric_data(self: Any, queries: list[Any], start_time: datetime, end_time: datetime, scan_by: str) -> Any:
        ours = [query for query in queries if _namespace(query) == NAMESPACE]
        others = [query for query in queries if _namespace(query) != NAMESPACE]
        if ours and any("Expression" in query for query in others):
            raise ValidationError(f"The lab does no metric math with {NAMESPACE}.")
        results = data(self, others, start_time, end_time, scan_by)
        wanted = [query for query in ours if query.get("ReturnData", True)]
        return results + [answer(query, start_time, end_time, scan_by) for query in wanted]

    def get_metric_statistics(self: Any) -> Any:
        if self._get_param("Namespace") != NAMESPACE:
            return statistics(self)
        wanted, extended = self._get_param("Statistics", []), self._get_param("ExtendedStatistics", [])
        start, end = self._get_param("StartTime"), self._get_param("EndTime")
        name = self._get_param("MetricName")
        if not wanted and not extended:
            raise ValidationError("Must specify either Statistics or ExtendedStatistics")
        if start >= end:
            raise ValidationError("The parameter StartTime must be less than the parameter EndTime.")
        metric = {"MetricName": name, "Dimensions": self._get_param("Dimensions", [])}
        found = points(metric, start, end, _period(self._get_param("Period")))
        datapoints = [
            {
                "Timestamp": datetime.fromtimestamp(at, UTC).replace(tzinfo=None),
                "Unit": UNITS.get(name, "Count"),
                **{each: statistic(values, each) for each in wanted},
                **({"ExtendedStatistics": {each: statistic(values, each) for each in extended}} if extended else {}),
            }
            for at, values in found
        ]
        return ActionResult({"Label": name, "Datapoints": datapoints})

    def get_filtered_metrics(self: Any, metric_name: str, namespace: str, dimensions: list[dict[str, str]]) -> Any:
        ours = [
            MetricDatumBase(NAMESPACE, name, [{"Name": key, "Value": value} for key, value in entry], datetime.now(UTC))
            for name, entry in series.names()
        ]
        wanted = [metric for metric in ours if metric.filter(namespace, metric_name, dimensions)]
        return filtered(self, metric_name, namespace, dimensions) + wanted

    def sample() -> None:
        while True:
            time.sleep(1)
            count_hosts(lab, series, time.time())

    CloudWatchBackend.get_metric_data = get_metric_data
    CloudWatchBackend.get_filtered_metrics = get_filtered_metrics
    CloudWatchResponse.get_metric_statistics = get_metric_statistics
    lab.loop(sample)
    lab.route("POST", "/requests", lambda _query, document: {"counted": _count_all(series, document)})


def count_hosts(lab: Lab, series: Series, at: float) -> None:
    """Add the numbers of healthy and unhealthy hosts of each group in use."""
    with lab.lock:
        groups = [
            (arn, balancer, [target.state for target in backend.target_groups[arn].targets.values()])
            for backend in lab.load_balancing()
            for arn, balancer in attached(backend).items()
            if arn in backend.target_groups
        ]
    for arn, balancer, states in groups:
        names = balancer.partition(":loadbalancer/")[2], arn.rpartition(":")[2]
        dimensions = tuple(zip(("LoadBalancer", "TargetGroup"), names, strict=True))
        series.add(at, states.count("healthy"), "HealthyHostCount", dimensions)
        series.add(at, states.count("unhealthy"), "UnHealthyHostCount", dimensions)


def _count_all(series: Series, events: Iterable[dict[str, Any]]) -> int:
    counted = 0
    for event in events:
        count(series, event)
        counted += 1
    return counted


def _namespace(query: Any) -> str:
    return ((query.get("MetricStat") or {}).get("Metric") or {}).get("Namespace", "")


def _period(value: Any) -> int:
    period = int(value)
    if period not in (1, 5, 10, 20, 30) and (period < 60 or period % 60):
        raise ValidationError("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
    return period


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
