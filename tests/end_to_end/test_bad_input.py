"""What cannot work is refused before anything is changed, and the message says what to do."""

from __future__ import annotations

import pytest
from end_to_end.support import QUICK, Deployment

CASES = {
    "unknown version": ("9.9.9", {}, None, ["9.9.9", "Publish it"]),
    "steps that go down": ("1.0.0", {"blue_green_steps": [{"weight": 50}, {"weight": 30}]}, None, ["rise", "[50, 30]"]),
    "steps that do not end at 100": ("1.0.0", {"blue_green_steps": [{"weight": 50}]}, None, ["100", "[50]"]),
    "unreachable gate source": (
        "1.0.0",
        {"blue_green_prometheus_url": "http://127.0.0.1:9"},
        None,
        ["http://127.0.0.1:9"],
    ),
    "no version": (None, {}, None, ["-e app_version"]),
    "listener that does not exist": ("1.0.0", {"blue_green_listeners": [{"port": 444}]}, None, ["444", "8443"]),
    "target group that does not exist": (
        "1.0.0",
        {"blue_green_target_groups": {"blue": "rag-admin-blue", "green": "no-such"}},
        None,
        ["no-such"],
    ),
    "permission missing": (
        "1.0.0",
        {},
        ("deny", {"action": "DescribeTargetGroups"}),
        ["elasticloadbalancing:DescribeTargetGroups"],
    ),
}


@pytest.mark.parametrize(("version", "variables", "fault", "words"), CASES.values(), ids=CASES)
def test_is_refused_before_anything_changes(deployment: Deployment, version, variables, fault, words):
    deployment.ensure("1.1.0")
    gates = {} if "blue_green_prometheus_url" in variables else QUICK
    mark = deployment.aws.mark()
    if fault:
        deployment.aws.fault(fault[0], **fault[1])
    result = deployment.run("deploy", version, variables={**gates, **variables})
    assert result.rc != 0
    assert deployment.writes(mark) == []
    for word in words:
        assert word in result.errors[-1], result.errors


def test_clock_skew_is_refused(deployment: Deployment):
    deployment.ensure("1.1.0")
    mark = deployment.aws.mark()
    deployment.aws.settings(s3_date_skew=600)
    try:
        result = deployment.run("deploy", "1.0.0", variables=QUICK)
    finally:
        deployment.aws.settings(s3_date_skew=0)
    assert result.rc != 0
    assert "clock" in result.errors[-1].lower()
    assert deployment.writes(mark) == []


def test_an_unfinished_rollout_is_not_touched_when_told_to_fail(deployment: Deployment):
    deployment.ensure("1.1.0")
    steps = {**QUICK, "blue_green_steps": [{"weight": 50, "wait_for": "approval"}, {"weight": 100}]}
    assert deployment.run("deploy", "1.0.0", variables=steps).rc == 0
    mark = deployment.aws.mark()
    refused = deployment.run("deploy", "1.0.0", variables={**steps, "blue_green_on_unfinished": "fail"})
    assert refused.rc != 0 and "unfinished" in refused.errors[-1]
    assert deployment.writes(mark) == []
    back = deployment.run("deploy", "1.0.0", variables={**steps, "blue_green_on_unfinished": "rollback"})
    assert back.rc == 0, back.errors
    assert deployment.live_version() == "1.1.0"
    assert deployment.record()["status"] == "rolled_back"
