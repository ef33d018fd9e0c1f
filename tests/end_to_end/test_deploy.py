"""Shipping and taking back, on real processes."""

from __future__ import annotations

import re

import pytest
from end_to_end.support import QUICK, Deployment

from lab import settings, traffic


def test_demo_ships_without_a_failed_request_and_takes_the_broken_version_back(shown: str, deployment: Deployment):
    figures = re.search(r"1\.1\.0 +shipped.*?(\d+) sent, (\d+) failed", shown, re.DOTALL)
    assert figures and int(figures[1]) > 1000 and int(figures[2]) == 0
    seconds = re.search(r"rollback +([\d.]+) s", shown)
    assert seconds and float(seconds[1]) <= 2.0
    assert deployment.live_version() == "1.1.0"
    assert deployment.record()["status"] == "rolled_back"
    assert (settings.ROOT / "reports" / "demo.html").stat().st_size > 10_000


def test_a_version_that_is_live_is_not_shipped_again(deployment: Deployment):
    deployment.ensure("1.1.0")
    mark = deployment.aws.mark()
    result = deployment.run("deploy", "1.1.0", variables=QUICK)
    assert (result.rc, result.changed) == (0, 0), result.errors
    assert deployment.writes(mark) == []


def test_check_mode_writes_nothing_and_goes_through_to_the_end(deployment: Deployment):
    deployment.ensure("1.1.0")
    before = deployment.record(), deployment.weights()
    mark = deployment.aws.mark()
    result = deployment.run("deploy", "1.0.0", "--check", "--diff")
    assert result.rc == 0, result.errors
    assert deployment.writes(mark) == []
    assert (deployment.record(), deployment.weights()) == before
    assert "finish | Say what is live" in " ".join(result.tasks)


def test_status_says_what_is_live_and_writes_nothing(deployment: Deployment):
    deployment.ensure("1.1.0")
    mark = deployment.aws.mark()
    result = deployment.run("status")
    assert (result.rc, result.changed) == (0, 0), result.errors
    lines = result.of("status | Show both")["msg"]
    assert re.fullmatch(r"rag-admin: (blue|green) 1\.1\.0 is live", lines[0])
    assert deployment.writes(mark) == []


def test_cutovers_and_rollbacks_drop_no_request(deployment: Deployment, live_traffic):
    """A short form of benchmarks/cutovers.py: keep-alive, HTTP/2, the nodes lagging behind the API."""
    deployment.ensure("1.1.0")
    requests = live_traffic(rate=100)
    deployment.aws.settings(lag_a=1, lag_b=3)
    try:
        for version in ("1.0.0", "1.0.0"):
            shipped = deployment.run("deploy", version, variables=QUICK)
            assert shipped.rc == 0, shipped.errors
            assert deployment.live_version() == "1.0.0"
            back = deployment.run("rollback")
            assert back.rc == 0, back.errors
            assert deployment.live_version() == "1.1.0"
    finally:
        deployment.aws.settings(lag_a=0, lag_b=0)
    summary = requests.stop()
    assert summary["failed"] == 0, [one for one in traffic.read(requests.output) if traffic.failed(one)][:5]
    assert summary["total"] > 1000


def test_rollback_command_is_one_call_for_each_forward_without_discovery(deployment: Deployment):
    deployment.ensure("1.1.0")
    assert deployment.run("deploy", "1.0.0", variables=QUICK).rc == 0
    mark = deployment.aws.mark()
    assert deployment.run("rollback").rc == 0
    calls = [entry["action"] for entry in deployment.calls(mark, service="elbv2")]
    # One look whether the old colour still stands, since this rollout had ended well.
    assert calls[:2] == ["DescribeTargetHealth", "ModifyListener"]
    assert calls.count("ModifyListener") == 1
    assert deployment.live_version() == "1.1.0"


@pytest.mark.parametrize("core", ["oldest", "newest"])
def test_ships_with_other_ansible_cores(deployment: Deployment, core: str):
    version = "1.0.0" if deployment.live_version() == "1.1.0" else "1.1.0"
    result = deployment.run("deploy", version, variables=QUICK, core=core)
    assert result.rc == 0, result.errors
    assert deployment.live_version() == version


def test_each_approval_is_for_one_hold(deployment: Deployment):
    version = "1.0.0" if deployment.live_version() == "1.1.0" else "1.1.0"
    holds = [{"weight": 20, "wait_for": "approval"}, {"weight": 50, "wait_for": "approval"}, {"weight": 100}]
    steps = {**QUICK, "blue_green_steps": holds}
    first = deployment.run("deploy", version, variables=steps)
    assert first.rc == 0, first.errors
    record = deployment.record()
    assert (record["status"], record["lease"]) == ("awaiting_approval", None)
    assert sorted(deployment.weights().values()) == [20, 80]
    approval = {**steps, "blue_green_approve": record["rollout_id"]}
    assert deployment.run("deploy", version, variables=approval).rc == 0
    assert deployment.record()["status"] == "awaiting_approval"
    assert sorted(deployment.weights().values()) == [50, 50]
    approved = deployment.run("deploy", version, variables=approval)
    assert approved.rc == 0, approved.errors
    assert deployment.record()["status"] == "succeeded"
    assert deployment.live_version() == version


def test_hooks_run_before_and_after_each_phase(deployment: Deployment, tmp_path):
    version = "1.0.0" if deployment.live_version() == "1.1.0" else "1.1.0"
    phases = ["before_attach", "after_attach", "before_step", "after_step", "after_finish"]
    hooks = {}
    for phase in phases:
        hook = tmp_path / f"{phase}.yml"
        hook.write_text(f"- name: hook | {phase}\n  ansible.builtin.debug:\n    msg: '{{{{ blue_green_version }}}}'\n")
        hooks[phase] = [str(hook)]
    result = deployment.run("deploy", version, variables={**QUICK, "blue_green_hooks": hooks})
    assert result.rc == 0, result.errors
    ran = [name.split("hook | ")[1] for name in result.tasks if "hook | " in name]
    assert ran == phases
