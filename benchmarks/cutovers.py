"""Does any request fail while traffic moves? Whole cutovers and rollbacks, under load, with a data plane that lags.

    python -m benchmarks.cutovers [--count 20] [--lags 0,5,15] [--rate 110]

For each lag: so many times `deploy.yml` sends all traffic from blue to green, and `rollback.yml` takes it back. Node a
follows the API after the lag, node b after half of it. Meanwhile a load generator keeps its connections alive, three of
ten requests by HTTP/2, and just before each switch requests of 20 seconds start on both nodes, one of them by HTTP/2.
A request fails by an answer of 500 or above, a connection refused or reset, or no whole answer in time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from benchmarks import support
from benchmarks.support import Figure
from lab import settings, traffic

# The long requests start with the task that moves the traffic, and so a second or two before it does.
SWITCHES = {
    "deploy": "step | Set the weight of the next colour to 100 %",
    "rollback": "undo | Send all traffic back",
}
LONG_SECONDS = 20


@dataclass
class Round:
    """What came of the switches at one lag (seconds)."""

    lag: float
    cutovers: int = 0
    rollbacks: int = 0
    seconds: float = 0.0
    requests: dict = field(default_factory=dict)  # lab.traffic's summary
    long: list[dict] = field(default_factory=list)  # records of the long requests
    spanned: int = 0  # switches of a node under way at which a long request was, of that node's
    switches: int = 0
    green_share: float = 0.0
    cpu_pressure: float = 0.0  # part of the time, 0 to 1, in which something on this machine waited for a processor
    broken: list[str] = field(default_factory=list)  # what playbooks said that failed

    @property
    def failed(self) -> int:
        """Failed requests, long ones included."""
        return self.requests["failed"] + sum(map(traffic.failed, self.long))

    def figures(self, count: int) -> list[Figure]:
        """As a table."""
        latency = self.requests["latency"]
        protocols = self.requests["protocols"]
        return [
            Figure.equal("cutovers", self.cutovers, count),
            Figure.equal("rollbacks", self.rollbacks, count),
            Figure("requests", self.requests["total"]),
            Figure("requests a second", self.requests["rate"], "≥ 100", self.requests["rate"] >= 100),
            Figure("of them by HTTP/2", protocols.get("h2", 0), "> 0", protocols.get("h2", 0) > 0),
            Figure.equal("long requests", len(self.long), 4 * count),
            Figure.equal("switches of nodes", self.switches, 4 * count),
            Figure.equal("of them during a long one", self.spanned, 4 * count),
            Figure.equal("failed, long ones included", self.failed, 0),
            Figure("failures", self.requests["errors"] or "none"),
            Figure("p99, longest", f"{latency['p99'] * 1000:.0f} ms, {latency['max'] * 1000:.0f} ms"),
            Figure("answered by green", f"{self.green_share:.0%}"),
            Figure("seconds, something waiting for CPU", f"{self.seconds:.0f}, {self.cpu_pressure:.0%}"),
        ]  # fmt: skip


class Long:
    """The long requests of a round."""

    def __init__(self) -> None:
        self.started: list[tuple[float, str, Future]] = []

    def start(self) -> None:
        """Send one to each node now, by the protocols in turn."""
        turn = len(self.started) // 2
        for number, node in enumerate(support.NODES):
            url = f"{support.URL}faults/sleep/{LONG_SECONDS}"
            options = {"address": node, "ca": settings.CA_CERTIFICATE, "http2": (turn + number) % 2 == 1, "timeout": 60}
            self.started.append((time.time(), node, traffic.start(url, **options)))

    def records(self) -> list[dict]:
        """Wait for all and return their records."""
        return [future.result(90) for _at, _node, future in self.started]


def run(count: int = 20, lags: Sequence[float] = (0, 5, 15), rate: float = 110) -> list[Round]:
    """Measure; return one round for each lag (seconds).

    :raises support.BenchmarkError: when the deployment cannot be made.
    """
    support.up()
    rounds = []
    for lag in lags:
        with support.lags(lag, lag / 2):
            rounds.append(_round(count, lag, rate))
    support.reset()
    return rounds


def _round(count: int, lag: float, rate: float) -> Round:
    support.reset()
    result, long = Round(lag), Long()
    mark, began, pressure = support.mark(), time.monotonic(), support.cpu_waits()
    with support.load(f"cutovers-{lag:g}", rate) as load:
        for number in range(count):
            # The first time with all that belongs to a deployment; then the release is where it belongs.
            skip, known = (
                ((), {"app_version": support.NEXT}) if number == 0 else (support.SKIP_INSTALL, support.INSTALLED)
            )
            # A cutover that failed was taken back by itself.
            if _switch("deploy", result, long, known | support.AT_ONCE, *skip):
                result.cutovers += 1
                result.rollbacks += _switch("rollback", result, long, {})
            now = load.summary()
            support.say(f"lag {lag:g} s: {number + 1} of {count}, {now['total']} requests, {now['failed']} failed")
        _await_blue(lag)
        result.long = long.records()
    result.requests = load.summary()
    result.seconds = time.monotonic() - began
    result.cpu_pressure = (support.cpu_waits() - pressure) / result.seconds
    colors = result.requests["colors"]
    result.green_share = colors.get("green", 0) / max(1, sum(colors.values()))
    _count_spanned(result, long, _switched(support.journal(mark, "elbv2")), lag)
    return result


def _switch(playbook: str, result: Round, long: Long, variables: dict, *arguments: str) -> bool:
    """Run a playbook, start long requests just before it moves the traffic; return whether it succeeded."""
    started = len(long.started)

    def on_event(event: dict) -> None:
        if event["_event"] == "v2_playbook_on_task_start" and SWITCHES[playbook] in event["task"]["name"]:
            long.start()

    done = support.play(playbook, variables, *arguments, on_event=on_event, log=f"cutovers-{playbook}")
    if done.rc:
        result.broken.append((done.errors or done.text or ["no message"])[-1])
        support.say(f"{playbook}.yml failed: {result.broken[-1]}")
    elif len(long.started) == started:
        raise support.BenchmarkError(f"{playbook}.yml has no task {SWITCHES[playbook]!r}: no long request was started")
    return not done.rc


def _switched(calls: list[dict]) -> list[float]:
    """When the API answered the calls that change who gets traffic, and not only which groups are attached."""
    found, live = [], {"blue"}
    for call in calls:
        if call["action"] == "ModifyListener" and call["applied"]:
            now = {color for color, weight in support.weights_in(call).items() if weight}
            if now != live:
                found.append(call["at"] + call["seconds"])
            live = now
    return found


def _await_blue(lag: float) -> None:
    """Let the last rollback reach the nodes."""
    time.sleep(lag)
    support.wait(
        "the last rollback to reach both nodes", lambda: {support.color_at(node) for node in support.NODES} == {"blue"}
    )


def _count_spanned(result: Round, long: Long, answered: list[float], lag: float) -> None:
    """Count the switches of nodes during which a long request of that node was under way."""
    records = list(zip(long.started, result.long, strict=True))
    for answer in answered:
        for node, late in zip(support.NODES, (lag, lag / 2), strict=True):
            at = answer + late
            mine = [(at - began, record["seconds"]) for (began, where, _future), record in records if where == node]
            result.switches += 1
            if any(0 < since < seconds for since, seconds in mine):
                result.spanned += 1
            else:
                since, seconds = min(mine, key=lambda one: abs(one[0]))
                support.say(f"{node} switched {since:.1f} s after a request of {seconds:.1f} s began")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cutovers", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="cutovers, and rollbacks, at each lag")
    parser.add_argument("--lags", default="0,5,15", help="seconds, separated by commas")
    parser.add_argument("--rate", type=float, default=110, help="requests a second")
    options = parser.parse_args()
    status = 0
    for done in run(options.count, [float(lag) for lag in options.lags.split(",")], options.rate):
        status |= support.show(f"cutovers with a lag of {done.lag:g} s", done.figures(options.count))
    return status


if __name__ == "__main__":
    sys.exit(main())
