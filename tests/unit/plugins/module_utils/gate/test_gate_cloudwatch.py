from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import cloudwatch

ARN = "arn:aws:elasticloadbalancing:us-west-2:123456789012"


def metric(name: str, **changes: Any) -> dict[str, Any]:
    fixed = {"namespace": "AWS/ApplicationELB", "dimensions": {"LoadBalancer": "app/x/1"}, "period": 60}
    return {"name": name, "statistic": "Sum", **fixed, **changes}


def check(**changes: Any) -> dict[str, Any]:
    fixed = {"metric": metric("HTTPCode_Target_5XX_Count"), "baseline_metric": None, "ratio": False}
    return {"name": "errors", "samples_metric": metric("RequestCount"), **fixed, **changes}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{ARN}:loadbalancer/app/web/50dc6c495c0c9188", "app/web/50dc6c495c0c9188"),
        (f"{ARN}:targetgroup/web-green/73e2d6bc24d8a067", "targetgroup/web-green/73e2d6bc24d8a067"),
        ("app/web/1", "app/web/1"),
    ],
)
def test_dimensions(value: str, expected: str) -> None:
    assert cloudwatch.dimension(value) == expected


def test_all_checks_are_one_list_of_queries() -> None:
    queries = cloudwatch.to_queries([check(), check(samples_metric=None)])
    assert [query["Id"] for query in queries] == ["value_0", "samples_0", "value_1"]
    assert queries[0]["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "LoadBalancer", "Value": "app/x/1"}]


class TestReading:
    def test_counts_add_up(self) -> None:
        reading = cloudwatch.to_reading(check(), 0, {"value_0": [1.0, 2.0], "samples_0": [50.0, 70.0]})
        assert (reading.value, reading.samples) == (3.0, 120.0)

    def test_a_missing_count_is_zero_only_when_there_were_requests(self) -> None:
        assert cloudwatch.to_reading(check(), 0, {"value_0": [], "samples_0": [5.0]}).value == 0.0
        assert cloudwatch.to_reading(check(), 0, {"value_0": [], "samples_0": []}).value is None
        assert cloudwatch.to_reading(check(), 0, {}).value is None
        assert cloudwatch.to_reading(check(samples_metric=None), 0, {"value_0": []}).value is None

    def test_a_missing_latency_is_never_zero(self) -> None:
        latency = check(metric=metric("TargetResponseTime", statistic="p95"))
        assert cloudwatch.to_reading(latency, 0, {"samples_0": [5.0]}).value is None

    def test_of_latency_the_newest_period_counts(self) -> None:
        latency = check(metric=metric("TargetResponseTime", statistic="p95"))
        assert cloudwatch.to_reading(latency, 0, {"value_0": [0.1, 0.3, 0.2]}).value == 0.2

    def test_ratio(self) -> None:
        results = {"value_0": [3.0], "samples_0": [60.0]}
        assert cloudwatch.to_reading(check(ratio=True), 0, results).value == 0.05
        assert cloudwatch.to_reading(check(ratio=True), 0, {"value_0": [3.0]}).value is None

    def test_a_refused_metric_is_unreadable(self) -> None:
        assert cloudwatch.to_reading(check(), 0, {"value_0": "CloudWatch: Forbidden"}).error == "CloudWatch: Forbidden"
