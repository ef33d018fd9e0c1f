"""Does the gate stop what is bad, and pass what is good?

    python -m benchmarks.gates [--count 20] [--kinds good,errors,latency,crash,silence] [--duration 15]

For each kind of release: green runs it on its real host, 10 % of a real load of 110 requests a second reach it, and the
gate of the role's first step, with the checks that the role has by default, watches it so many times, each time with a
window of its own. Bad ones must be stopped every time, good ones must pass every time.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import support
from benchmarks.support import Figure


@dataclass(frozen=True)
class Kind:
    """A release: what it does wrong, as the application's environment on green and on blue, and whether it is used."""

    title: str
    green: dict[str, str] = field(default_factory=dict)
    blue: dict[str, str] = field(default_factory=dict)
    traffic: bool = True
    good: bool = False


KINDS = {
    "good": Kind("good release", good=True),
    "silence": Kind("no traffic at all", traffic=False),
    "errors": Kind("5 % errors", {"APP_FAULT_ERROR_RATE": "0.05"}),
    # The worker dies without an answer: the application counts nothing, its clients get the load balancer's 502.
    "crash": Kind("crashes, 502 by the load balancer", {"APP_FAULT_CRASH": "0.2"}),
    # Both colours are slow enough for the comparison: below its floor of 50 ms nobody is judged.
    "latency": Kind("p95 three times blue's", {"APP_FAULT_LATENCY": "0.6"}, {"APP_FAULT_LATENCY": "0.2"}),
}


@dataclass
class Outcome:
    """The gates of one kind: verdicts, seconds that each took, and reasons of those that stopped it."""

    kind: Kind
    verdicts: Counter
    seconds: list[float]
    reasons: Counter
    waits: float

    @property
    def passed(self) -> int:
        """How many let it pass."""
        return self.verdicts["passed"]

    def figures(self) -> list[Figure]:
        """As a table."""
        count = self.verdicts.total()
        right = self.passed if self.kind.good else count - self.passed
        word = "passed" if self.kind.good else "stopped"
        why = ", ".join(f"{reason} {number}" for reason, number in self.reasons.most_common())
        return [
            Figure(f"{self.kind.title}: {word}", f"{right} of {count}", f"= {count} of {count}", right == count),
            Figure("  seconds, median", f"{support.percentile(self.seconds, 50):.0f}"),
            Figure("  seconds, longest", f"{max(self.seconds):.0f}"),
            Figure("  by", why or "-"),
            Figure("  something waiting for CPU", f"{self.waits:.0%}"),
        ]


def run(count: int = 20, kinds: Sequence[str] = tuple(KINDS), duration: int = 15, rate: float = 110) -> list[Outcome]:
    """Run the gates; ``duration`` is what each watches, in seconds.

    :raises support.BenchmarkError: when the deployment cannot be made.
    """
    support.up()
    outcomes: list[Outcome] = []
    installed: dict[str, dict] = {}
    try:
        for name in kinds:
            _install(KINDS[name], installed)
            outcomes.append(_watch(name, count, duration, rate))
            support.say(f"{KINDS[name].title}: {dict(outcomes[-1].verdicts)}")
    finally:
        support.install("app_blue", support.LIVE)
        support.install("app_green", support.NEXT)
        support.reset()
    return outcomes


def _install(kind: Kind, installed: dict[str, dict]) -> None:
    """Have the hosts do wrong what the kind does, unless they do; nobody is served meanwhile."""
    for color, version, wanted in (("blue", support.LIVE, kind.blue), ("green", support.NEXT, kind.green)):
        if installed.get(color) != wanted:
            support.install(f"app_{color}", version, **wanted)
            installed[color] = wanted


def _watch(name: str, count: int, duration: int, rate: float) -> Outcome:
    kind = KINDS[name]
    support.weigh(blue=90, green=10)
    support.wait("green to be healthy", lambda: support.healthy(support.group_arn("green")))
    began, waited = time.monotonic(), support.cpu_waits()
    with support.load(f"gates-{name}", rate) if kind.traffic else contextlib.nullcontext():
        # A counter that appears counts from its second scrape on.
        time.sleep(3)
        result = support.require(support.play("gates", {"count": count, "duration": str(duration)}), "watching")
    waits = (support.cpu_waits() - waited) / (time.monotonic() - began)
    gates = result.of("Watch 10 %")["results"]
    if broken := [gate.get("msg", gate) for gate in gates if "verdict" not in gate]:
        raise support.BenchmarkError(f"a gate came to no verdict: {broken[0]}")
    reasons = Counter(_reason(gate) for gate in gates if gate["verdict"] != "passed")
    return Outcome(kind, Counter(gate["verdict"] for gate in gates), [gate["waited"] for gate in gates], reasons, waits)


def _reason(gate: dict) -> str:
    """The checks that stopped it, and how."""
    found = [f"{check['name']} {check['verdict']}" for check in gate["checks"] if check["verdict"] != "pass"]
    return " + ".join(found) or "nodes not as expected"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="gates of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="separated by commas")
    parser.add_argument("--duration", type=int, default=15, help="seconds that each gate watches")
    options = parser.parse_args()
    outcomes = run(options.count, options.kinds.split(","), options.duration)
    return support.show("gates", [figure for outcome in outcomes for figure in outcome.figures()])


if __name__ == "__main__":
    sys.exit(main())
