"""kill -9 of the controller around its mutating calls; the next run has to come to the same end."""

from __future__ import annotations

import time

import pytest
from end_to_end.support import QUICK, Deployment

STEPS = {**QUICK, "blue_green_steps": [{"weight": 50}, {"weight": 100}]}
# before: the call never arrives. inside: it takes effect and the controller dies before it hears so.
KINDS = {"before": "lost_call", "inside": "slow_answer"}


def kill_at(deployment: Deployment, version: str, moment: str, **fault) -> None:
    """Start a rollout and kill it at the call that the fault is about."""
    number = deployment.aws.fault(KINDS[moment], seconds=20, count=1, **fault)
    run = deployment.start("deploy", version, variables=STEPS)
    deadline = time.monotonic() + 180
    while not any(one["id"] == number and one["befallen"] for one in deployment.aws.faults()):
        assert run.process.poll() is None, "the rollout ended before the call at which it was to be killed"
        assert time.monotonic() < deadline, "the rollout never came to the call at which it was to be killed"
        time.sleep(0.05)
    time.sleep(0.2)
    run.kill()
    run.process.wait()
    deployment.aws.clear_faults(number)


@pytest.mark.parametrize(
    ("moment", "fault"),
    [
        ("before", {"action": "ModifyListener", "skip": 1}),
        ("inside", {"action": "ModifyListener", "skip": 1}),
        ("inside", {"action": "ModifyListener", "skip": 0}),
        ("before", {"action": "PutObject", "resource": "*demo.json*", "skip": 4}),
        ("inside", {"action": "PutObject", "resource": "*demo.json*", "skip": 4}),
    ],
    ids=["before the shift", "inside the shift", "inside the attach", "before a record", "inside a record"],
)
def test_a_killed_rollout_is_resumed_to_the_same_end(deployment: Deployment, moment: str, fault: dict):
    version = "1.0.0" if deployment.live_version() == "1.1.0" else "1.1.0"
    mark = deployment.aws.mark()
    kill_at(deployment, version, moment, **fault)
    resumed = deployment.run("deploy", version, variables=STEPS)
    assert resumed.rc == 0, resumed.errors
    assert deployment.record()["status"] == "succeeded"
    assert deployment.live_version() == version
    # Each change of weights took effect once: attach, 50 %, 100 %.
    applied = [entry for entry in deployment.aws.journal(since=mark, action="ModifyListener") if entry["applied"]]
    assert len(applied) == 3
    # Green was raised only after the gate of the step before: the record's trail has them in this order.
    events = [(e["event"], (e["detail"].get("position") or {}).get("step")) for e in deployment.record()["audit"]]
    for step in (0, 1):
        assert events.index(("verified", step - 1)) < events.index(("intended", step))
