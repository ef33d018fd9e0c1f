"""The metrics of a worker.

Each worker writes its own memory-mapped files and the exporter adds them up. The files are named after the worker's
*slot* (0, 1, …), not after its process: a worker that replaces another goes on where that one stopped. Counters never
go back, and the number of files stays that of the slots however often workers are replaced.
"""

from __future__ import annotations

import prometheus_client
from prometheus_client import values

# Set by the server after the fork; unique among the workers that live at the same time.
slot = 0

# Has to happen before the first metric is made.
values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot)

# Requests may run for half a minute (LB idle timeout: 60 s), so the buckets reach as far. A quantile is known no better
# than the bucket it lies in: with steps of 2 and more, a gate that allows twice the old version's p95 missed one time
# in six a version that took three times as long, and stopped some that took a tenth longer.
BUCKETS = (
    *(0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0),
)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

REQUESTS = prometheus_client.Counter("http_requests_total", "Requests answered", ["method", "endpoint", "status"])
DURATION = prometheus_client.Histogram(
    "http_request_duration_seconds", "Time to answer a request, in seconds", ["method", "endpoint"], buckets=BUCKETS
)
CONNECTIONS = prometheus_client.Gauge(
    "database_connections_active", "Database connections in use by requests", multiprocess_mode="livesum"
)


def observe(method: str, rule: str | None, status: int, duration: float) -> None:
    """Count one answered request.

    :param rule: the URL rule that matched, None when none did: paths are the client's choice, rules are ours, so the
        number of series is bounded.
    :param duration: seconds.
    """
    method = method if method in METHODS else "OTHER"
    endpoint = rule or "unmatched"
    REQUESTS.labels(method, endpoint, str(status)).inc()
    DURATION.labels(method, endpoint).observe(duration)
