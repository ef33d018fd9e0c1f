"""kill -9 of the controller around its mutating calls; the next run has to come to the same end."""

from __future__ import annotations

import threading
import time

import boto3
import pytest
from end_to_end.support import QUICK, Deployment

STEPS = {**QUICK, "blue_green_steps": [{"weight": 50}, {"weight": 100}]}
# before: the call never arrives. inside: it takes effect and the controller dies before it hears so.
KINDS = {"before": "lost_call", "inside": "slow_answer"}


def kill_at(deployment: Deployment, version: str, moment: str, **fault) -> None:
    """Start a rollout and kill it at the call that the fault is about."""
    number = deployment.aws.fault(KINDS[moment], seconds=60, count=1, **fault)
    run = deployment.start("deploy", version, variables=STEPS)
    came = run.kill_when(
        lambda: any(one["id"] == number and one["befallen"] for one in deployment.aws.faults()), 180, grace=0.2
    )
    deployment.aws.clear_faults(number)
    assert came, "the rollout never came to the call at which it was to be killed"


@pytest.mark.parametrize(
    ("moment", "fault"),
    [
        ("before", {"action": "ModifyListener", "skip": 1}),
        ("inside", {"action": "ModifyListener", "skip": 1}),
        ("inside", {"action": "ModifyListener", "skip": 0}),
        ("before", {"action": "PutObject", "resource": "*demo.json*", "skip": 4}),
        ("inside", {"action": "PutObject", "resource": "*demo.json*", "skip": 4}),
    ],
    ids=[
        "before the last shift",
        "inside the last shift",
        "inside the first shift",
        "before a record",
        "inside a record",
    ],
)
def test_a_killed_rollout_is_resumed_to_the_same_end(deployment: Deployment, moment: str, fault: dict):
    version = "1.0.0" if deployment.live_version() == "1.1.0" else "1.1.0"
    mark = deployment.aws.mark()
    kill_at(deployment, version, moment, **fault)
    resumed = deployment.run("deploy", version, variables=STEPS)
    assert resumed.rc == 0, resumed.errors
    assert deployment.record()["status"] == "succeeded"
    assert deployment.live_version() == version
    # Each change of weights took effect once. (Attaching costs a call only where the colour was not attached yet.)
    applied = [entry for entry in deployment.calls(mark, action="ModifyListener") if entry["applied"]]
    assert len({str(sorted(entry["parameters"].items())) for entry in applied}) == len(applied) >= 2
    # Green was raised only after the gate of the step before: the record's trail has them in this order.
    events = [
        (e["event"], ((e["detail"] or {}).get("position") or {}).get("step")) for e in deployment.record()["audit"]
    ]
    for step in (0, 1):
        assert events.index(("verified", step - 1)) < events.index(("intended", step))


def test_a_foreign_writer_stops_the_rollout_before_its_next_write(deployment: Deployment):
    version = "1.0.0" if deployment.live_version() == "1.1.0" else "1.1.0"
    steps = {**QUICK, "blue_green_steps": [{"weight": 50, "pause": "15s"}, {"weight": 100}]}
    run = deployment.start("deploy", version, variables=steps)
    waiting = threading.Thread(target=run.wait)
    waiting.start()
    deadline = time.monotonic() + 180
    while sorted(deployment.weights().values()) != [50, 50]:
        assert waiting.is_alive() and time.monotonic() < deadline, run.result.errors
        time.sleep(0.5)
    record = deployment.record()
    arn, live, new = record["forwards"][0]["arn"], record["live"], record["next"]
    groups = [
        {"TargetGroupArn": live["target_group_arn"], "Weight": 70},
        {"TargetGroupArn": new["target_group_arn"], "Weight": 30},
    ]
    boto3.client("elbv2").modify_listener(
        ListenerArn=arn, DefaultActions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
    )
    mark = deployment.aws.mark()
    waiting.join()
    assert run.result.rc != 0
    assert "70" in run.result.errors[-1]
    assert [call for call in deployment.writes(mark) if call[0] == "ModifyListener"] == []
    assert deployment.weights() == {live["color"]: 70, new["color"]: 30}
    # The operator decides: here, to take it back.
    assert deployment.run("rollback").rc == 0
    assert deployment.weights() == {live["color"]: 100, new["color"]: 0}
