"""What a demonstration showed: figures for the terminal, and an HTML page with a chart.

Three sources are put side by side: the rollouts' records (what was decided), the journal of AWS calls (what was done to
the load balancer, and when) and the log of the load generator (what users got). Nothing here talks to the lab, so a
report can be made again from the files alone:

    python -m lab.report --records FILE... --traffic FILE --journal FILE --output report.html
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lab import report_page, traffic

# How long after a change of weights requests do not count for either: answers under way, and both nodes' lag.
SETTLE_SECONDS = 1.0
COLORS = ("blue", "green")
# Stretches before the new colour gets traffic.
UNSHIFTED = ("install", "attach")


@dataclass(frozen=True)
class Request:
    """One request as the load generator saw it; `at` is when it was due, in seconds since the epoch."""

    at: float
    seconds: float
    status: int | None
    color: str | None
    version: str | None
    error: str | None
    failed: bool
    long: bool

    @property
    def end(self) -> float:
        return self.at + self.seconds


@dataclass(frozen=True)
class Move:
    """A change of weights that the load balancer accepted: when, and green's share (0-100) from then on."""

    at: float
    green: float


@dataclass
class Step:
    """A stretch of a rollout: install, attach, one per weight, bake. Shares are those of the new colour."""

    label: str
    start: float
    end: float
    intended: float
    requests: int = 0
    failed: int = 0
    measured: float | None = None
    p95: float | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    verdict: str = "passed"
    reason: str = ""


@dataclass
class Rollout:
    """One version on its way. `rollback_seconds` is from the gate's verdict to the load balancer's answer."""

    version: str
    previous: str | None
    color: str
    outcome: str
    start: float
    end: float
    steps: list[Step]
    requests: int = 0
    failed: int = 0
    reason: str = ""
    verdict_at: float | None = None
    rollback_seconds: float | None = None
    writes: int = 0
    reads: int = 0
    audit: list[dict[str, Any]] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return self.outcome == "succeeded"

    @property
    def first(self) -> bool:
        return not self.previous


@dataclass
class Second:
    """What users got in one second of the demonstration."""

    at: int
    sent: int
    failed: int
    green: float | None
    p95: float | None


@dataclass
class Report:
    """Everything that the terminal and the page show. Times are seconds since `start`, which is since the epoch."""

    start: float
    end: float
    rollouts: list[Rollout]
    moves: list[Move]
    seconds: list[Second]
    sent: int
    failed: int
    statuses: dict[str, int]
    versions: dict[str, int]


def epoch(text: str) -> float:
    """Seconds since the epoch of a time as records have it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def requests(lines: Iterable[dict[str, Any]]) -> list[Request]:
    """The load generator's log, in the order of time."""
    names = ("at", "seconds", "status", "color", "version", "error", "long")
    found = [Request(**{name: line[name] for name in names}, failed=traffic.failed(line)) for line in lines]
    return sorted(found, key=lambda request: request.at)


def weights(parameters: dict[str, str]) -> dict[str, int]:
    """Target group to weight of the first forward action of a ModifyListener or ModifyRule call, empty without one."""
    found: dict[str, dict[str, str]] = {}
    for name, value in parameters.items():
        if match := re.search(r"TargetGroups\.member\.(\d+)\.(TargetGroupArn|Weight)$", name):
            found.setdefault(match[1], {})[match[2]] = value
    return {
        entry["TargetGroupArn"]: int(entry.get("Weight", 1)) for entry in found.values() if "TargetGroupArn" in entry
    }


def moves(journal: Iterable[dict[str, Any]], green_arn: str) -> list[Move]:
    """The changes of weights in the journal of AWS calls, those of several rules at the same moment as one."""
    found: list[Move] = []
    for entry in journal:
        if entry["action"] in ("ModifyListener", "ModifyRule") and entry.get("applied", True):
            given = weights(entry.get("parameters", {}))
            if total := sum(given.values()):
                share = 100 * given.get(green_arn, 0) / total
                if not found or found[-1].green != share:
                    found.append(Move(entry["at"] + entry.get("seconds", 0), share))
    return found


def p95(log: Iterable[Request]) -> float | None:
    """Seconds within which 95 % were answered. Requests that are long on purpose and failed ones say nothing here."""
    return traffic.percentile(sorted(r.seconds for r in log if not r.long and not r.failed), 95)


def rollout(
    record: dict[str, Any],
    log: list[Request],
    journal: list[dict[str, Any]],
    changes: list[Move],
    verdict_at: float | None,
) -> Rollout:
    """Put one record, the traffic and the calls of its time side by side."""
    audit = record["audit"]
    start = max(epoch(entry["at"]) for entry in audit if entry["event"] == "start") if audit else 0.0
    audit = [entry for entry in audit if epoch(entry["at"]) >= start]
    end = epoch(audit[-1]["at"])
    color = record["next"]["color"]
    steps = list(_steps(record, audit, end))
    last = audit[-1].get("detail") or {}
    reason = str(last.get("reason", "")) if record["status"] == "rolled_back" else ""
    if steps and record["status"] == "rolled_back":
        steps[-1].verdict, steps[-1].reason = "failed", reason
    calls = [entry for entry in journal if start <= entry["at"] <= end + 1]
    mine = [request for request in log if start <= request.at <= end]
    for step in steps:
        _measure(step, log, color, changes)
    return Rollout(
        version=record["version"],
        previous=record.get("previous_version"),
        color=color,
        outcome=record["status"],
        start=start,
        end=end,
        steps=steps,
        requests=len(mine),
        failed=sum(request.failed for request in mine),
        reason=reason,
        verdict_at=verdict_at,
        rollback_seconds=_rollback_seconds(calls, verdict_at),
        writes=sum(entry["service"] == "elbv2" and entry["mutating"] for entry in calls),
        reads=sum(entry["service"] == "elbv2" and not entry["mutating"] for entry in calls),
        audit=audit,
    )


def _steps(record: dict[str, Any], audit: list[dict[str, Any]], end: float) -> Iterator[Step]:
    """The stretches between the moments at which the record says what is intended next."""
    marks = [(epoch(audit[0]["at"]), "install", 0.0)]
    verified: dict[str, dict[str, Any]] = {}
    weight_of = [step["weight"] for step in record["steps"]]
    for entry in audit:
        detail = entry.get("detail") or {}
        position = detail.get("position") or {}
        index = position.get("step")
        if position and entry["event"] in ("intended", "verified"):
            label = "attach" if index < 0 else f"{weight_of[index]} %"
            if entry["event"] == "intended":
                marks.append((epoch(entry["at"]), label, 0.0 if index < 0 else float(weight_of[index])))
            else:
                verified[label] = detail.get("detail") or {}
                if index == len(weight_of) - 1:
                    marks.append((epoch(entry["at"]), "bake", float(weight_of[index])))
    for number, (at, label, weight) in enumerate(marks):
        until = marks[number + 1][0] if number + 1 < len(marks) else end
        yield Step(label, at, until, weight, checks=verified.get(label, {}).get("checks") or [])


def _measure(step: Step, log: list[Request], color: str, changes: list[Move]) -> None:
    """Fill in what users got during a step. A share counts while the step's weights, and no others, were in force."""
    wanted = step.intended if color == "green" else 100 - step.intended
    moved = next(
        (move.at for move in changes if step.start <= move.at <= step.end and move.green == wanted), step.start
    )
    after = next((move.at for move in changes if moved < move.at <= step.end), step.end)
    settled = [r for r in log if moved + SETTLE_SECONDS <= r.at and r.end <= after]
    during = [r for r in log if step.start <= r.at < step.end]
    step.requests, step.failed = len(during), sum(r.failed for r in during)
    known = [r for r in settled if r.color in COLORS]
    if known:
        step.measured = 100 * sum(r.color == color for r in known) / len(known)
    step.p95 = p95(r for r in settled if r.color == color)


def _rollback_seconds(calls: list[dict[str, Any]], verdict_at: float | None) -> float | None:
    """Seconds from the verdict to the answer of the last call that moved traffic back."""
    after = [
        e for e in calls if e["action"] in ("ModifyListener", "ModifyRule") and verdict_at and e["at"] >= verdict_at
    ]
    return after[-1]["at"] + after[-1].get("seconds", 0) - verdict_at if after and verdict_at else None


def seconds(log: list[Request], start: float, end: float) -> list[Second]:
    """Second by second: requests, failures, green's share, 95th percentile of the time to answer."""
    buckets: dict[int, list[Request]] = {}
    for request in log:
        buckets.setdefault(int(request.at - start), []).append(request)
    found = []
    for number in range(int(end - start) + 1):
        part = buckets.get(number, [])
        known = [request for request in part if request.color in COLORS]
        green = 100 * sum(request.color == "green" for request in known) / len(known) if known else None
        found.append(Second(number, len(part), sum(request.failed for request in part), green, p95(part)))
    return found


def summarise(
    records: list[dict[str, Any]],
    sent: Iterable[dict[str, Any]],
    journal: Iterable[dict[str, Any]],
    verdicts: dict[str, float] | None = None,
) -> Report:
    """Make the report of rollouts.

    :param records: the rollouts' records, as they are in S3 at their end.
    :param sent: lines of the load generator's log.
    :param journal: lines of the lab's journal of AWS calls.
    :param verdicts: version to the time (seconds since the epoch) at which a gate condemned it.
    """
    log, calls = requests(sent), list(journal)
    green = next(
        (one["target_group_arn"] for r in records for one in (r["live"], r["next"]) if one["color"] == "green"), ""
    )
    changes = moves(calls, green)
    rollouts = [rollout(r, log, calls, changes, (verdicts or {}).get(r["version"])) for r in records]
    rollouts.sort(key=lambda one: one.start)
    times = [one.start for one in rollouts] + ([log[0].at] if log else [])
    ends = [one.end for one in rollouts] + ([max(request.end for request in log)] if log else [])
    start, end = math.floor(min(times)), math.ceil(max(ends))
    return Report(
        start=start,
        end=end,
        rollouts=rollouts,
        moves=_window(changes, start),
        seconds=seconds(log, start, end),
        sent=len(log),
        failed=sum(request.failed for request in log),
        statuses=dict(Counter(str(r.error or r.status) for r in log if r.failed).most_common()),
        versions=dict(Counter(request.version for request in log if request.version).most_common()),
    )


def _window(found: list[Move], start: float) -> list[Move]:
    """The moves since `start`, begun by what was in force then."""
    before = [move for move in found if move.at < start]
    return [*(Move(start, move.green) for move in before[-1:]), *(move for move in found if move.at >= start)]


def terminal(report: Report, colour: bool = False) -> str:
    """The figures as a few lines of text."""

    def paint(text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if colour else text

    rows = []
    for one in report.rollouts:
        came = paint("shipped", "32") if one.succeeded else paint("taken back", "33")
        origin = f"{one.previous} → " if one.previous else ""
        rows.append(f"{paint(origin + one.version, '1')}  {came} in {one.end - one.start:.0f} s")
        shares = [step for step in one.steps if step.measured is not None and step.label not in UNSHIFTED]
        if shares:
            rows.append("  share of the new version   " + "   ".join(f"{s.label}: {s.measured:.1f} %" for s in shares))
        failed = paint(f"{one.failed} failed", "32" if not one.failed else "31")
        rows.append(f"  requests                   {one.requests} sent, {failed}")
        if one.rollback_seconds is not None:
            rows.append(
                f"  rollback                   {one.rollback_seconds:.1f} s from the gate's verdict to all traffic back"
            )
        if one.reason:
            rows.append(f"  because                    {textwrap.shorten(one.reason, 100, placeholder=' …')}")
        rows.append(f"  load balancer API          {one.writes} changing calls, {one.reads} reads")
    total = paint(f"{report.failed} failed", "1")
    rows.append(
        f"{report.sent} requests in all, {total}" + (f" ({_counted(report.statuses)})" if report.failed else "")
    )
    return "\n".join(rows)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in counts.items())


def write(path: Path, report: Report) -> None:
    """Write the HTML page; it needs no other file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_page.render(report), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line; a last line that was cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.report", description="Make the report from files.")
    parser.add_argument("--records", type=Path, nargs="+", required=True, help="records of rollouts, JSON")
    parser.add_argument("--traffic", type=Path, required=True, help="the load generator's log")
    parser.add_argument("--journal", type=Path, required=True, help="the lab's journal of AWS calls")
    parser.add_argument("--output", type=Path, default=Path("reports/demo.html"))
    options = parser.parse_args(arguments)
    records = [json.loads(path.read_text()) for path in options.records]
    report = summarise(records, read_lines(options.traffic), read_lines(options.journal))
    write(options.output, report)
    print(terminal(report, sys.stdout.isatty()))
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
