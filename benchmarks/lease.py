"""Does one controller win, and can a dead one do no more harm?

    python -m benchmarks.lease [--count 20]

So many `ansible-playbook` processes begin the same rollout at the same moment. One must win; the others must fail at
once and name it. Then the winner is killed with SIGKILL: a controller of the same machine takes its lease over at once,
one that cannot see it (in a process namespace of its own, as in another container) only when the lease has expired.
What the dead one would still have called, with its token, must be refused and change nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import support
from benchmarks.support import Figure
from lab import playbooks, seed, settings

KEY = "rag-admin/lease.json"
TASK = "Take the lease"
TTL = 20  # seconds
FOREVER = 600


@dataclass
class Contender:
    """One controller: its process, and what came of its attempt."""

    playbook: playbooks.Playbook
    seconds: float = 0.0
    message: str = ""
    result: dict | None = None

    @property
    def won(self) -> bool:
        """Whether it has the lease."""
        return self.result is not None


@dataclass
class Outcome:
    """What the race and the take-overs came to; times in seconds."""

    count: int
    winners: int
    losers: int
    naming: int
    longest: float
    at_once: str
    unseen_before: str
    unseen_after: str
    after_expiry: float
    late_calls: list[str]
    late_mutations: int


def run(count: int = 20) -> Outcome:
    """Race, kill, take over.

    :raises support.BenchmarkError: when the race does not take place.
    """
    support.up()
    traffic = support.path("lease-traffic.json")
    traffic.write_text(json.dumps(_traffic()))
    seed.client("s3").delete_object(Bucket=support.BUCKET, Key=KEY)
    race = _Race(traffic)
    try:
        contenders = race.run(count, FOREVER)
        winners = [each for each in contenders if each.won]
        losers = [each for each in contenders if not each.won]
        if not winners:
            raise support.BenchmarkError(f"nobody won: {losers[0].message}")
        pid = winners[0].playbook.process.pid
        naming = [each for each in losers if f"process {pid}" in each.message]
        support.say(f"{len(winners)} of {count} won")

        # The winner dies; one of the same machine sees that.
        winners[0].playbook.kill()
        heir = race.run(1, TTL)[0]
        at_once = "taken over" if heir.won else heir.message
        support.say(f"at once on the same machine: {at_once}")

        # It dies too; another container's controllers cannot see that.
        heir.playbook.kill()
        died = time.time()
        unseen = ("unshare", "--pid", "--fork", "--mount-proc")
        before = support.run_module("rollout", _begin(), prefix=unseen)
        expires = _expiry()
        time.sleep(max(0.0, expires - time.time()) + 1)
        after = support.run_module("rollout", _begin(), prefix=unseen)
        taken = time.time() - died
        support.say(f"unseen, after {taken:.0f} s: {after.get('decision', after.get('msg'))}")
        late_calls, late_mutations = _late(heir.result["token"])
    finally:
        race.end()
    return Outcome(
        count=count,
        winners=len(winners),
        losers=len(losers),
        naming=len(naming),
        longest=max((each.seconds for each in losers), default=0.0),
        at_once=at_once,
        unseen_before="refused" if before.get("failed") and "held by" in before["msg"] else json.dumps(before)[:200],
        unseen_after="taken over" if after.get("token") == heir.result["token"] + 1 else json.dumps(after)[:200],
        after_expiry=taken - TTL,
        late_calls=late_calls,
        late_mutations=late_mutations,
    )


class _Race:
    """Contenders that begin when a file appears, and stay alive until another does."""

    def __init__(self, traffic: Path) -> None:
        self._traffic = traffic
        self._all: list[Contender] = []
        self._threads: list[threading.Thread] = []

    def run(self, count: int, ttl: int) -> list[Contender]:
        """Let so many contenders race for a lease of ``ttl`` seconds; return when each has won or failed."""
        start = support.path(f"lease-{len(self._all)}.start")
        start.unlink(missing_ok=True)
        ready, over = threading.Semaphore(0), threading.Semaphore(0)
        contenders = [self._start(start, ttl, ready, over) for _ in range(count)]
        self._all += contenders
        _acquire(ready, count, "all contenders to be at the start")
        start.touch()
        _acquire(over, count, "all contenders to win or to fail")
        return contenders

    def end(self) -> None:
        """End what still runs."""
        for contender in self._all:
            if contender.playbook.process.poll() is None:
                contender.playbook.kill()
        for thread in self._threads:
            thread.join(30)

    def _start(self, start: Path, ttl: int, ready: threading.Semaphore, over: threading.Semaphore) -> Contender:
        began = 0.0

        def on_event(event: dict) -> None:
            nonlocal began
            kind, name = event["_event"], event.get("task", {}).get("name")
            if kind == "v2_playbook_on_task_start" and name == "Wait for the start":
                ready.release()
            elif kind == "v2_playbook_on_task_start" and name == TASK:
                began = support.at(event)
            elif kind in ("v2_runner_on_ok", "v2_runner_on_failed") and name == TASK:
                result = event["hosts"]["localhost"]
                contender.seconds = support.at(event) - began
                contender.message = result.get("msg", "")
                contender.result = result if kind == "v2_runner_on_ok" else None
                over.release()

        variables = {"start": str(start), "ttl": ttl, "key": KEY, "version": "1.1.0", "traffic": str(self._traffic)}
        path = str(settings.ROOT / "benchmarks" / "playbooks" / "lease.yml")
        contender = Contender(
            playbooks.Playbook(path, variables, inventory=support.INVENTORY, on_event=on_event)
        )  # fmt: skip
        thread = threading.Thread(target=contender.playbook.wait, daemon=True)
        thread.start()
        self._threads.append(thread)
        return contender


def _acquire(semaphore: threading.Semaphore, count: int, what: str) -> None:
    for _ in range(count):
        if not semaphore.acquire(timeout=240):
            raise support.BenchmarkError(f"waited 240 s for {what}, in vain")


def _begin() -> dict:
    return {
        "state": "begun",
        "bucket": support.BUCKET,
        "key": KEY,
        "application": "rag-admin",
        "environment": "lease",
        "version": "1.1.0",
        "steps": [{"weight": 10, "pause": "1m"}, {"weight": 100}],
        "lease_ttl": TTL,
        "traffic": _traffic(),
    }


def _late(token: int) -> tuple[list[str], int]:
    """What a controller with this old token is told, and how many calls it got through."""
    mark = support.mark()
    fence = {"bucket": support.BUCKET, "key": KEY, "token": token}
    weights = {support.group_arn("blue"): 0, support.group_arn("green"): 100}
    restore = [{"arn": support.listener_arn(), "actions": _traffic()["forwards"][0]["actions"]}]
    record = {"state": "recorded", "bucket": support.BUCKET, "key": KEY, "token": token, "event": "late"}
    answers = [
        support.run_module("alb_traffic", {"arns": [support.listener_arn()], "weights": weights, "fence": fence}),
        support.run_module("alb_traffic", {"restore": restore, "fence": fence}),
        support.run_module("rollout", {**record, "application": "rag-admin", "environment": "lease"}),
    ]
    told = ["refused" if "superseded" in answer.get("msg", "") else json.dumps(answer)[:200] for answer in answers]
    return told, len([call for call in support.journal(mark) if call["mutating"] and call["applied"]])


def _expiry() -> float:
    body = seed.client("s3").get_object(Bucket=support.BUCKET, Key=KEY)["Body"].read()
    return support.epoch(json.loads(body)["lease"]["expires_at"])


def _traffic() -> dict:
    """What alb_traffic_info says."""
    groups = {color: f"{support.NAME}-{color}" for color in ("blue", "green")}
    options = {"load_balancer": support.NAME, "listeners": [{"port": 8443}], "target_groups": groups}
    return support.run_module("alb_traffic_info", options)


def figures(outcome: Outcome) -> list[Figure]:
    """As a table."""
    return [
        Figure("controllers", outcome.count),
        Figure.equal("winners", outcome.winners, 1),
        Figure.equal("losers", outcome.losers, outcome.count - 1),
        Figure.equal("losers who name the winner", outcome.naming, outcome.count - 1),
        Figure("seconds of the slowest loser's task", f"{outcome.longest:.1f}"),
        Figure.equal("after kill -9, same machine", outcome.at_once, "taken over"),
        Figure.equal("after kill -9, unseen, before expiry", outcome.unseen_before, "refused"),
        Figure.equal("after kill -9, unseen, after expiry", outcome.unseen_after, "taken over"),
        Figure("seconds between expiry and take-over", f"{outcome.after_expiry:.1f}"),
        *(
            Figure.equal(f"late call with the dead one's token: {name}", answer, "refused")
            for name, answer in zip(("move", "restore", "record"), outcome.late_calls, strict=True)
        ),
        Figure.equal("late calls that changed anything", outcome.late_mutations, 0),
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lease", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="controllers that race")
    options = parser.parse_args()
    return support.show("lease", figures(run(options.count)))


if __name__ == "__main__":
    sys.exit(main())
