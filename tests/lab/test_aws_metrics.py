"""CloudWatch's AWS/ApplicationELB."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.aws.data_plane import group_id
from lab.aws.overlay.metrics import Published, Series, count, statistic
from tests.lab.account import until

LISTENER = "arn:aws:elasticloadbalancing:us-west-2:1:listener/app/lb/0123/4567"
BALANCER = (("LoadBalancer", "app/lb/0123"),)
GROUP = (*BALANCER, ("TargetGroup", "targetgroup/my-blue/abcd"))


def event(status: int, **changes: Any) -> dict[str, Any]:
    """Return a line of the access log: by default an answer of a target."""
    line = {
        "group": "my-blue-abcd",
        "target": "10.0.0.1:80",
        "status": status,
        "origin": "target",
        "reason": "--",
        "seconds": 0.1,
        "listener": LISTENER,
        "at": 1000.5,
    }
    return line | changes


def counted(*events: dict[str, Any]) -> dict[tuple[str, Any], float]:
    """Return the sum of each metric that events make."""
    series = Series()
    for line in events:
        count(series, line)
    return {
        (name, dimensions): sum(series.points(name, dimensions, (0, 2000), 60, Published(60, 0, 2000))[0][1])
        for name, dimensions in series.names()
    }


# What counts


def test_an_answer_of_a_target_counts_for_group_and_load_balancer() -> None:
    found = counted(event(200), event(404), event(200))
    assert found == {
        (name, dimensions): value
        for dimensions in (BALANCER, GROUP)
        for name, value in (
            ("RequestCount", 3),
            ("HTTPCode_Target_2XX_Count", 2),
            ("HTTPCode_Target_4XX_Count", 1),
            ("TargetResponseTime", pytest.approx(0.3)),
        )
    }


def test_a_crashed_target_counts_as_the_load_balancers_502_only() -> None:
    found = counted(event(502, origin="lb", reason="SH"))
    assert found == {
        ("RequestCount", BALANCER): 1,
        ("RequestCount", GROUP): 1,
        ("HTTPCode_ELB_5XX_Count", BALANCER): 1,
        ("HTTPCode_ELB_502_Count", BALANCER): 1,
    }


def test_a_refused_connection_counts_as_connection_error_too() -> None:
    found = counted(event(502, origin="lb", reason="SC"))
    assert found["TargetConnectionErrorCount", GROUP] == found["TargetConnectionErrorCount", BALANCER] == 1


def test_a_request_without_a_target_is_not_in_the_request_count() -> None:
    found = counted(event(503, origin="lb", target=None, reason="SC"), event(504, origin="lb", group=None, target=None))
    assert found == {
        ("HTTPCode_ELB_5XX_Count", BALANCER): 2,
        ("HTTPCode_ELB_503_Count", BALANCER): 1,
        ("HTTPCode_ELB_504_Count", BALANCER): 1,
    }


def test_a_period_is_read_when_it_is_over_and_without_gaps_filled() -> None:
    series = Series()
    for at in (120, 121, 250):
        series.add(at, 1, "RequestCount", BALANCER)

    def sums(now: float, start: float = 0, period: int = 60) -> dict[int, float]:
        points = series.points("RequestCount", BALANCER, (start, 1000), period, Published(60, 5, now))
        return {at: sum(values) for at, values in points}

    assert sums(184.9) == {}
    assert sums(185) == {120: 2}
    assert sums(1000) == {120: 2, 240: 1}
    assert sums(1000, start=150) == {120: 2, 240: 1}  # the start is rounded down to the metric's period
    assert sums(1000, start=180) == {240: 1}
    assert sums(1000, period=300) == {0: 3}


def test_old_values_are_forgotten() -> None:
    series = Series()
    series.add(0, 1, "RequestCount", BALANCER)
    series.add(100_000, 1, "RequestCount", GROUP)
    assert series.names() == [("RequestCount", GROUP)]


def test_statistics() -> None:
    values = [float(number) for number in range(1, 102)]
    names = ("p0", "p50", "p95", "p99.9", "p100", "Average", "Maximum", "Minimum", "SampleCount", "Sum")
    found = [statistic(values, name) for name in names]
    assert found == [1, 51, 96, pytest.approx(100.9), 101, 51, 101, 1, 101, 5151]


# Through the API


def served(aws: Any, balancer: SimpleNamespace, *statuses: int, **changes: Any) -> None:
    """Count requests to the first group, three seconds ago."""
    at = time.time() - 3
    lines = [
        event(status, listener=balancer.listener, group=group_id(balancer.groups[0]), at=at) for status in statuses
    ]
    aws.control.requests([line | changes for line in lines])


def dimensions(balancer: SimpleNamespace, group: bool = True) -> list[dict[str, str]]:
    """Return a metric's dimensions in CloudWatch's form."""
    found = [{"Name": "LoadBalancer", "Value": balancer.arn.partition(":loadbalancer/")[2]}]
    return [*found, {"Name": "TargetGroup", "Value": balancer.groups[0].rpartition(":")[2]}] if group else found


def read(aws: Any, stats: dict[str, str], where: list[dict[str, str]], **options: Any) -> dict[str, float]:
    """Return the newest value of metrics by name; a metric without data points is missing."""
    now = datetime.now(UTC)
    queries = [
        {
            "Id": f"m{number}",
            "Label": name,
            "MetricStat": {
                "Metric": {"Namespace": "AWS/ApplicationELB", "MetricName": name, "Dimensions": where},
                "Period": 60,
                "Stat": stat,
            },
        }
        for number, (name, stat) in enumerate(stats.items())
    ]
    window = {"StartTime": now - timedelta(minutes=5), "EndTime": now + timedelta(minutes=1)} | options
    found = aws.cloudwatch.get_metric_data(MetricDataQueries=queries, **window)["MetricDataResults"]
    return {result["Label"]: sum(result["Values"]) for result in found if result["Values"]}


def test_metric_data(aws: Any) -> None:
    balancer = aws.balancer()
    served(aws, balancer, 200, 200, 500)
    served(aws, balancer, 502, origin="lb", reason="SH")
    names = ("RequestCount", "HTTPCode_Target_2XX_Count", "HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count")
    found = read(aws, dict.fromkeys(names, "Sum"), dimensions(balancer))
    assert found == {"RequestCount": 4, "HTTPCode_Target_2XX_Count": 2, "HTTPCode_Target_5XX_Count": 1}
    names = ("RequestCount", "HTTPCode_ELB_5XX_Count", "HTTPCode_ELB_502_Count", "HTTPCode_ELB_503_Count")
    found = read(aws, dict.fromkeys(names, "Sum"), dimensions(balancer, group=False))
    assert found == {"RequestCount": 4, "HTTPCode_ELB_5XX_Count": 1, "HTTPCode_ELB_502_Count": 1}


def test_percentiles(aws: Any) -> None:
    balancer = aws.balancer()
    for seconds in (0.1, 0.2, 0.9):
        served(aws, balancer, 200, seconds=seconds)
    assert read(aws, {"TargetResponseTime": "p50"}, dimensions(balancer)) == {"TargetResponseTime": pytest.approx(0.2)}
    now = datetime.now(UTC)
    answer = aws.cloudwatch.get_metric_statistics(
        Namespace="AWS/ApplicationELB",
        MetricName="TargetResponseTime",
        Dimensions=dimensions(balancer),
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=1),
        Period=300,
        Statistics=["SampleCount", "Maximum"],
        ExtendedStatistics=["p50"],
    )
    points = answer["Datapoints"]
    assert sum(point["SampleCount"] for point in points) == 3
    assert max(point["Maximum"] for point in points) == pytest.approx(0.9)
    assert all(point["ExtendedStatistics"].keys() == {"p50"} and point["Unit"] == "Seconds" for point in points)


def test_hosts_are_counted_while_the_group_is_in_use(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(), web()
    targets = [{"Id": "127.0.0.1", "Port": port} for port in (server.port, 1)]
    aws.elbv2.register_targets(TargetGroupArn=balancer.groups[0], Targets=targets)
    assert ("healthy", None) not in aws.health(balancer.groups[0])
    stats = {"HealthyHostCount": "Maximum", "UnHealthyHostCount": "Maximum"}
    until(lambda: read(aws, stats, dimensions(balancer)) == dict.fromkeys(stats, 1))
    balancer.groups.reverse()
    assert read(aws, stats, dimensions(balancer)) == {}


def test_metrics_are_listed(aws: Any) -> None:
    balancer = aws.balancer()
    served(aws, balancer, 200)
    found = aws.cloudwatch.list_metrics(Namespace="AWS/ApplicationELB", MetricName="RequestCount")["Metrics"]
    assert dimensions(balancer) in [metric["Dimensions"] for metric in found]


@pytest.mark.lab_only
def test_what_the_lab_cannot_compute_is_refused(aws: Any) -> None:
    balancer = aws.balancer()
    served(aws, balancer, 200)
    with pytest.raises(ClientError, match="not supported by the lab"):
        read(aws, {"TargetResponseTime": "tm95"}, dimensions(balancer))
