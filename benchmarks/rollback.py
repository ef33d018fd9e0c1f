"""How long after the gate's verdict is the traffic back?

    python -m benchmarks.rollback [--count 10]

So many times `deploy.yml` raises green to 10 %, where a gate that asks the real Prometheus fails. Measured, on the
controller, is the time from the end of the gate's task to AWS's answer to the one call that takes the traffic back, and
from the journal what was called in between. Then the same while AWS throttles half of all calls from the verdict on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from benchmarks import support
from benchmarks.support import Figure

# Prometheus itself says that this is too much.
GATE = {"blue_green_gate_checks": [{"name": "doomed", "query": "vector(1)", "threshold": 0}]}
STEPS = {"blue_green_steps": [{"weight": 10, "pause": "30s"}, {"weight": 100}], "blue_green_bake": "0"}
LIMIT, LIMIT_THROTTLED = 2.0, 10.0  # seconds
THROTTLED = 0.5  # part of the calls


@dataclass(frozen=True)
class Rollback:
    """One rollback: seconds from the verdict to the answer of the call and to the end of the record, and calls."""

    moved: float
    closed: float
    writes: int
    reads_before: int
    attempts: int


def run(count: int = 10, throttled: bool = False) -> list[Rollback]:
    """Measure so many rollbacks.

    :raises support.BenchmarkError: when a rollout is not taken back.
    """
    support.up()
    done = []
    for number in range(count):
        done.append(_one(throttled))
        support.say(f"{number + 1} of {count}: {done[-1].moved:.2f} s, closed after {done[-1].closed:.2f} s")
    return done


def _one(throttled: bool) -> Rollback:
    aws, faults, verdict = support.control(), [], []
    mark = support.mark()

    def on_event(event: dict) -> None:
        if event["_event"] == "v2_runner_on_failed" and "verdict" in next(iter(event["hosts"].values())):
            verdict.append(support.at(event))
            if throttled:
                for service in ("elbv2", "s3"):
                    faults.append(
                        aws.fault("throttle", service=service, resource=f"*{support.NAME}*", probability=THROTTLED)
                    )

    try:
        variables = support.INSTALLED | STEPS | GATE
        result = support.play("deploy", variables, *support.SKIP_INSTALL, on_event=on_event, log="rollback")
    finally:
        for number in faults:
            aws.clear_faults(number)
    calls = support.journal(mark)
    after = [call for call in calls if verdict and call["at"] >= verdict[0]]
    moved = [call for call in after if call["action"] == "ModifyListener"]
    taken = [call for call in moved if call["applied"]]
    if not taken or support.weights_in(taken[-1]).get("blue") != 100:
        raise support.BenchmarkError(f"nothing was taken back: {(result.errors or result.text or ['no message'])[-1]}")
    answered = taken[0]["at"] + taken[0]["seconds"]
    return Rollback(
        moved=answered - verdict[0],
        closed=max(call["at"] + call["seconds"] for call in after) - verdict[0],
        writes=len(taken),
        reads_before=len([call for call in after if call["service"] == "elbv2" and call["at"] < moved[0]["at"]]),
        attempts=len(moved),
    )


def figures(done: list[Rollback], throttled: bool) -> list[Figure]:
    """As a table."""
    moved = [each.moved for each in done]
    limit = LIMIT_THROTTLED if throttled else LIMIT
    return [
        Figure("rollbacks", len(done)),
        Figure("verdict to answer, median", f"{support.percentile(moved, 50):.2f} s"),
        Figure.at_most("verdict to answer, longest", max(moved), limit, " s"),
        Figure("verdict to record closed, longest", f"{max(each.closed for each in done):.2f} s"),
        Figure.equal("mutating calls for one rule", max(each.writes for each in done), 1),
        Figure("attempts, with those throttled", max(each.attempts for each in done)),
        Figure.equal("ELB reads before that call", max(each.reads_before for each in done), 0),
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollback", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10, help="rollbacks, and as many under throttling")
    options = parser.parse_args()
    status = support.show("rollback", figures(run(options.count), throttled=False))
    done = run(options.count, throttled=True)
    return status | support.show("rollback, half of all calls throttled", figures(done, throttled=True))


if __name__ == "__main__":
    sys.exit(main())
