"""Does a rollout come to the same end wherever it is killed?

    python -m benchmarks.kills [--courses shipped,taken-back] [--moments before,inside,after] [--calls 2,5]

A rollout of two steps with gates is run whole once, and so is one whose gate fails; the journal says which calls
changed something. Then, for each of these calls: the same rollout anew, kill -9 for ansible-playbook and all it started
before the call arrives, while it waits for the answer, or right after the answer, and the same command again. What both
runs together changed at the load balancer must be, call for call, what the whole run changed: the same end, nothing
twice, and green raised only after the gate of the step before, which the record's trail tells.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import support
from benchmarks.rollback import GATE
from benchmarks.support import Figure
from lab import playbooks, seed

STEPS = {"blue_green_steps": [{"weight": 50, "pause": "2s"}, {"weight": 100, "pause": "2s"}], "blue_green_bake": "2s"}
PASSING = {"blue_green_gate_checks": [{"name": "fine", "query": "vector(0)", "threshold": 0}]}
MOMENTS = ("before", "inside", "after")
MUTATING = ["ModifyListener", "RegisterTargets", "DeregisterTargets", "PutObject", "DeleteObject"]
FAULTS = {"before": "lost_call", "inside": "slow_answer"}
PATIENCE = 120.0  # seconds for a rollout to come to the call


@dataclass(frozen=True)
class Course:
    """A rollout to be killed: its variables, and who serves with which status of the record when all is over."""

    name: str
    variables: dict
    weights: dict[str, int]
    status: str


COURSES = {
    "shipped": Course("shipped", PASSING, {"green": 100}, "succeeded"),
    "taken-back": Course("taken back", GATE, {"blue": 100}, "rolled_back"),
}


@dataclass(frozen=True)
class Kill:
    """What came of one kill: complaints, none when all was as it has to be."""

    action: str
    moment: str
    reached: bool
    complaints: list[str]


def run(
    courses: Iterable[str] = COURSES, moments: Iterable[str] = MOMENTS, numbers: Iterable[int] | None = None
) -> dict[str, list[Kill]]:
    """Kill at each call, or at those of the given numbers; return what came of it for each course.

    :raises support.BenchmarkError: when a rollout that nobody kills does not end as it should.
    """
    support.up()
    kills: dict[str, list[Kill]] = {}
    for course in map(COURSES.get, courses):
        _prepare()
        mark = support.mark()
        support.play("deploy", _variables(course), *support.SKIP_INSTALL, log="kills")
        whole = _changes(mark)
        if complaints := _judge(course, whole, whole):
            raise support.BenchmarkError(f"the rollout that nobody killed: {'; '.join(complaints)}")
        kills[course.name] = [
            _kill(course, whole, number, moment)
            for number in range(len(whole))
            if numbers is None or number in numbers
            for moment in moments
        ]
    support.reset()
    return kills


def _prepare() -> None:
    """Blue serves, green is neither attached nor registered, and there is no record."""
    support.reset()
    elbv2, green = seed.client("elbv2"), support.group_arn("green")
    registered = elbv2.describe_target_health(TargetGroupArn=green)["TargetHealthDescriptions"]
    elbv2.deregister_targets(TargetGroupArn=green, Targets=[each["Target"] for each in registered])


def _variables(course: Course) -> dict:
    return support.INSTALLED | STEPS | course.variables


def _changes(mark: int) -> list[dict]:
    """The calls since then that changed something of the deployment."""
    return [call for call in support.journal(mark) if call["mutating"] and call["applied"]]


def _kill(course: Course, whole: list[dict], number: int, moment: str) -> Kill:
    _prepare()
    mark = support.mark()
    reached = _killed(course, number, moment, mark)
    again = support.play("deploy", _variables(course), *support.SKIP_INSTALL, log="kills")
    complaints = _judge(course, whole, _changes(mark))
    action = whole[number]["action"]
    said = "; ".join(complaints) or "as it should"
    if complaints:
        said += f"; it said: {(again.errors or again.text or ['nothing'])[-1]}"
    support.say(f"{course.name}, {moment} call {number + 1} of {len(whole)} ({action}): {said}")
    return Kill(action, moment, reached, complaints)


def _killed(course: Course, number: int, moment: str, mark: int) -> bool:
    """Start the rollout and kill it; return whether it came to the call."""
    aws = support.control()
    fault = None
    if moment in FAULTS:
        matching = {"action": MUTATING, "resource": f"*{support.NAME}*", "skip": number, "count": 1}
        fault = aws.fault(FAULTS[moment], seconds=PATIENCE, **matching)

    def come() -> bool:
        if fault is None:
            return len(_changes(mark)) > number
        return any(one["id"] == fault and one["befallen"] for one in aws.faults())

    rollout = playbooks.Playbook(
        "deploy",
        _variables(course),
        *support.SKIP_INSTALL,
        inventory=support.INVENTORY,
        log=support.path("killed.jsonl"),
    )
    try:
        # A call is journalled when it is answered; one that waits for its answer has taken effect a moment later.
        return rollout.kill_when(come, PATIENCE, grace=0.2 if moment == "inside" else 0)
    finally:
        if fault is not None:
            aws.clear_faults(fault)


def _judge(course: Course, whole: list[dict], changes: list[dict]) -> list[str]:
    """What is not as it has to be after all is over."""
    record = json.loads(seed.client("s3").get_object(Bucket=support.BUCKET, Key=support.RECORD)["Body"].read())
    listener = seed.client("elbv2").describe_listeners(ListenerArns=[support.listener_arn()])["Listeners"][0]
    groups = listener["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
    names = {group["TargetGroupArn"]: group["TargetGroupArn"].split("/")[-2].rsplit("-", 1)[1] for group in groups}
    weights = {names[group["TargetGroupArn"]]: group["Weight"] for group in groups if group["Weight"]}
    found = []
    if weights != course.weights:
        found.append(f"the weights are {weights}")
    if record["status"] != course.status:
        found.append(f"the record says {record['status']}")
    if _asked(changes) != _asked(whole):
        found.append(f"changed {Counter(call['action'] for call in changes)}, not the same as unkilled")
    events = [(one["event"], ((one["detail"] or {}).get("position") or {}).get("step")) for one in record["audit"]]
    # Step -1 is the attachment without traffic.
    for step in [step for event, step in events if event == "intended" and step is not None and step >= 0]:
        if ("verified", step - 1) not in events[: events.index(("intended", step))]:
            found.append(f"step {step} was begun before the gate of the one before")
    return found


def _asked(changes: list[dict]) -> list[tuple[str, list]]:
    """What was asked of the load balancer, in its order."""
    return [(call["action"], sorted(call["parameters"].items())) for call in changes if call["service"] == "elbv2"]


def figures(kills: list[Kill]) -> list[Figure]:
    """As a table."""
    bad = [kill for kill in kills if kill.complaints]
    calls = Counter(kill.action for kill in kills)
    return [
        Figure("kills", len(kills)),
        Figure("  at", ", ".join(f"{action} {number}" for action, number in sorted(calls.items()))),
        Figure.equal("  that came in time", sum(kill.reached for kill in kills), len(kills)),
        Figure.equal("another end, or something twice", len(bad), 0),
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--courses", default=",".join(COURSES), help="separated by commas")
    parser.add_argument("--moments", default=",".join(MOMENTS), help="separated by commas")
    parser.add_argument("--calls", help="numbers of calls from 1, separated by commas; all unless given")
    options = parser.parse_args()
    numbers = [int(number) - 1 for number in options.calls.split(",")] if options.calls else None
    status = 0
    for name, kills in run(options.courses.split(","), options.moments.split(","), numbers).items():
        status |= support.show(f"kill -9 of a rollout that is {name}", figures(kills))
    return status


if __name__ == "__main__":
    sys.exit(main())
