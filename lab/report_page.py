"""The HTML page of a demonstration's report: one file, no script, light and dark, a table beside every picture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.report import Report, Rollout, Second, Step

WIDTH, LEFT, RIGHT = 1120, 64, 16
PHASES_TOP, PHASES_HEIGHT = 0, 58
SHARE_TOP, SHARE_HEIGHT = 84, 240
FAILED_TOP, FAILED_HEIGHT = 368, 76
LATENCY_TOP, LATENCY_HEIGHT = 490, 76
AXIS_TOP, HEIGHT = 566, 604
NOTHING = "\u2013"

STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def render(report: Report) -> str:
    """The whole page."""
    title = _title(report)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style></head>
<body><main>
<h1>{escape(title)}</h1>
<p class="lead">{_lead(report)}</p>
<ul class="cards">{"".join(_cards(report))}</ul>
<h2>Second by second</h2>
<figure><figcaption>
<span><i style="background:var(--green-area)"></i>answered by green</span>
<span><i style="background:var(--blue-area)"></i>answered by blue</span>
<span><i style="background:var(--intent);height:3px;vertical-align:3px"></i>intended weight of green</span>
<span><i style="background:var(--red)"></i>failed requests</span>
</figcaption><div class="scroll">{_chart(report)}</div></figure>
<h2>Step by step</h2>
{"".join(_rollout(one) for one in report.rollouts)}
<footer><p>Failed means any 5xx, whoever answered it, and every refused, reset or timed out connection. The measured
share leaves out what began less than a second after the weights were changed. A gap in the chart is time without
traffic.</p></footer>
</main></body></html>
"""


def _title(report: Report) -> str:
    shipped = [one.version for one in report.rollouts if one.succeeded]
    back = [one.version for one in report.rollouts if not one.succeeded]
    parts = [f"{_and(shipped)} shipped"] if shipped else []
    parts += [f"{_and(back)} taken back"] if back else []
    return ", ".join(parts) or "No rollout"


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _lead(report: Report) -> str:
    good = [one for one in report.rollouts if one.succeeded]
    failed = sum(one.failed for one in good)
    when = datetime.fromtimestamp(report.start, UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    first = "No request failed" if not failed else f"<span class='bad'>{_number(failed)} requests failed</span>"
    return f"{first} while {_versions(good)} was shipped. {when}, {_time(report.end - report.start)} min."


def _versions(rollouts: list[Rollout]) -> str:
    return _and([one.version for one in rollouts]) or "nothing"


def _cards(report: Report) -> Iterable[str]:
    busy = [second for second in report.seconds if second.sent]
    rate = report.sent / len(busy) if busy else 0
    yield _card("Requests sent", _number(report.sent), f"{rate:.0f} a second for {_time(len(busy))} min")
    good = [one for one in report.rollouts if one.succeeded and one.requests]
    bad = [one for one in report.rollouts if not one.succeeded]
    failed = sum(one.failed for one in good)
    yield _card(
        "Failed while shipping",
        _number(failed),
        f"of {_number(sum(one.requests for one in good))} while {_versions(good)} went out",
        "bad" if failed else "good",
    )
    for one in bad:
        share = f"{100 * one.failed / one.requests:.2f} %" if one.requests else "none"
        yield _card(
            f"Failed by {one.version}", _number(one.failed), f"{share} of all requests until it was taken back", "warn"
        )
        if one.rollback_seconds is not None:
            yield _card(
                "Seconds to roll back",
                f"{one.rollback_seconds:.1f}",
                "from the gate's verdict to the load balancer's answer",
            )
    steps = [step for one in report.rollouts for step in one.steps if step.measured is not None and step.intended]
    if steps:
        off = max(abs(step.measured - step.intended) for step in steps)
        yield _card("Largest share error", f"{off:.1f}", "percentage points from the intended share, over all steps")
    writes, reads = sum(one.writes for one in report.rollouts), sum(one.reads for one in report.rollouts)
    length = sum(one.end - one.start for one in report.rollouts)
    yield _card(
        "Changing API calls",
        _number(writes),
        f"to the load balancer; {reads} reads, {reads / length if length else 0:.2f} a second",
    )


def _card(name: str, value: str, text: str, tone: str = "") -> str:
    return (
        f'<li class="card"><span>{escape(name)}</span><b class="{tone}">{value}</b><small>{escape(text)}</small></li>'
    )


def _rollout(one: Rollout) -> str:
    origin = f"from {one.previous} " if one.previous else "the first version, "
    badge = "shipped" if one.succeeded else one.outcome.replace("rolled_back", "taken back")
    lines = [
        f'<section class="rollout"><header><h3>{escape(one.version)}</h3>',
        f'<span class="badge {"good" if one.succeeded else "warn"}">{escape(badge)}</span>',
        f"<small>{escape(origin)}to {one.color} in {one.end - one.start:.0f} s, ",
        f"{one.writes} changing calls to the load balancer</small></header>",
    ]
    if one.reason:
        lines.append(f'<p class="reason">{escape(one.reason)}</p>')
    lines.append(_table(_COLUMNS, [_step(step) for step in one.steps], left={"Gate"}))
    lines.append(f"<details><summary>Audit trail, {len(one.audit)} entries</summary>")
    lines.append(_table(_AUDIT, [_audit(entry, one.start) for entry in one.audit], left=set(_AUDIT)))
    lines.append("</details></section>")
    return "".join(lines)


_COLUMNS = ("Step", "Intended", "Measured", "Requests", "Failed", "95 % within", "Lasted", "Gate")
_AUDIT = ("After", "Event", "By", "Detail")


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]], left: set[str]) -> str:
    """A table of HTML cells; the columns of words are aligned left, those of figures right."""

    def row(tag: str, cells: tuple[str, ...]) -> str:
        aligned = (f"<{tag}{' class=l' if name in left else ''}>" for name in columns)
        return (
            "<tr>" + "".join(f"{opening}{cell}</{tag}>" for opening, cell in zip(aligned, cells, strict=True)) + "</tr>"
        )

    body = "".join(row("td", cells) for cells in rows)
    return f'<div class="scroll"><table><thead>{row("th", columns)}</thead><tbody>{body}</tbody></table></div>'


def _step(step: Step) -> tuple[str, ...]:
    return (
        escape(step.label),
        f"{step.intended:.0f} %",
        f"{step.measured:.1f} %" if step.measured is not None else NOTHING,
        _number(step.requests),
        f'<span class="bad">{step.failed}</span>' if step.failed else "0",
        f"{1000 * step.p95:.0f} ms" if step.p95 is not None else NOTHING,
        f"{step.end - step.start:.0f} s",
        _gate(step),
    )


def _gate(step: Step) -> str:
    if step.verdict == "failed":
        return '<span class="bad">stopped here</span>'
    values = [f"{escape(c['name'])} {_value(c.get('value'))}" for c in step.checks if c.get("value") is not None]
    return ", ".join(values) or {"install": "", "attach": "healthy"}.get(step.label, "passed")


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else escape(str(value))


def _audit(entry: dict[str, Any], start: float) -> tuple[str, ...]:
    at = datetime.fromisoformat(entry["at"].replace("Z", "+00:00")).timestamp() - start
    detail = json.dumps(entry.get("detail"), ensure_ascii=False) if entry.get("detail") else ""
    detail = f"{detail[:400]}{'…' if len(detail) > 400 else ''}"
    return f"{at:.1f} s", escape(entry["event"]), escape(str(entry.get("by", ""))), f"<code>{escape(detail)}</code>"


def _number(value: int) -> str:
    """With thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def _time(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


# The chart. All panels share the axis of time.


def _chart(report: Report) -> str:
    length = max(report.end - report.start, 1)

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(at - report.start, 0), length) / length

    parts = [
        _phases(report, x),
        _share(report, x),
        _bars(report, x),
        _latency(report, x),
        _verdicts(report, x),
        _axis(report, x),
    ]
    told = (
        "Chart over time: the intended weight of green as a step line, the share of requests that green and blue "
        "answered as areas, failed requests per second as bars, and the time within which 95 % of requests were "
        "answered. The tables below have the figures."
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, fill: str = "var(--muted)", anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def _phases(report: Report, x: Callable[[float], float]) -> str:
    parts = []
    for one in report.rollouts:
        left, right = x(one.start), x(one.end)
        tone = "var(--green)" if one.succeeded else "var(--red)"
        words = f"{one.version} {'shipped' if one.succeeded else 'taken back'}"
        parts.append(
            f'<rect x="{left:.1f}" y="{PHASES_TOP}" width="{right - left:.1f}" height="26" rx="5" '
            f'fill="{tone}" opacity=".14"/>'
        )
        if right - left > 7 * len(words):
            parts.append(_text((left + right) / 2, PHASES_TOP + 18, words, tone, "middle", 'font-weight="650"'))
        for step in one.steps:
            a, b = x(step.start), x(step.end)
            parts.append(
                f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{PHASES_TOP + 32}" y2="{AXIS_TOP}" stroke="var(--line)"/>'
            )
            if b - a > 7.2 * len(step.label):
                parts.append(_text((a + b) / 2, PHASES_TOP + 46, step.label, "var(--muted)", "middle"))
        parts.append(
            f'<line x1="{right:.1f}" x2="{right:.1f}" y1="{PHASES_TOP + 32}" y2="{AXIS_TOP}" stroke="var(--line)"/>'
        )
    return "".join(parts)


def _share(report: Report, x: Callable[[float], float]) -> str:
    bottom = SHARE_TOP + SHARE_HEIGHT

    def y(percent: float) -> float:
        return bottom - SHARE_HEIGHT * percent / 100

    parts = [_text(0, SHARE_TOP - 8, "share of requests", more='font-weight="600"')]
    for run in _runs(report.seconds, lambda second: second.green is not None):
        begin, end = x(report.start + run[0].at), x(report.start + run[-1].at + 1)
        edge = " ".join(
            f"{x(report.start + s.at):.1f},{y(s.green or 0):.1f} {x(report.start + s.at + 1):.1f},{y(s.green or 0):.1f}"
            for s in run
        )
        parts.append(
            f'<polygon fill="var(--blue-area)" points="{begin:.1f},{y(100):.1f} {edge} {end:.1f},{y(100):.1f}"/>'
        )
        parts.append(f'<polygon fill="var(--green-area)" points="{begin:.1f},{y(0):.1f} {edge} {end:.1f},{y(0):.1f}"/>')
    for percent in (0, 25, 50, 75, 100):
        parts.append(_grid(y(percent), f"{percent} %"))
    if report.moves:
        points = [(report.moves[0].at, report.moves[0].green)]
        for before, after in pairwise(report.moves):
            points += [(after.at, before.green), (after.at, after.green)]
        points.append((report.end, report.moves[-1].green))
        line = " ".join(f"{x(at):.1f},{y(green):.1f}" for at, green in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="var(--intent)" stroke-width="2.2" stroke-linejoin="round"/>'
        )
    return "".join(parts)


def _bars(report: Report, x: Callable[[float], float]) -> str:
    top = _ceiling(max((second.failed for second in report.seconds), default=0))
    bottom = FAILED_TOP + FAILED_HEIGHT
    parts = [_text(0, FAILED_TOP - 10, "failed requests per second", more='font-weight="600"')]
    parts += [_grid(bottom, "0"), _grid(FAILED_TOP, f"{top:g}")]
    width = max(1.5, (WIDTH - LEFT - RIGHT) / max(len(report.seconds), 1) - 0.6)
    for second in report.seconds:
        if second.failed:
            height = FAILED_HEIGHT * second.failed / top
            told = f"<title>{second.failed} of {second.sent} failed, {_time(second.at)}</title>"
            parts.append(
                f'<rect x="{x(report.start + second.at):.1f}" y="{bottom - height:.1f}" '
                f'width="{width:.1f}" height="{height:.1f}" fill="var(--red)">{told}</rect>'
            )
    if not any(second.failed for second in report.seconds):
        parts.append(
            _text((LEFT + WIDTH - RIGHT) / 2, FAILED_TOP + FAILED_HEIGHT / 2 + 5, "none", "var(--green)", "middle")
        )
    return "".join(parts)


def _latency(report: Report, x: Callable[[float], float]) -> str:
    times = [1000 * second.p95 for second in report.seconds if second.p95 is not None]
    top = _ceiling(max(times, default=0))
    bottom = LATENCY_TOP + LATENCY_HEIGHT
    parts = [_text(0, LATENCY_TOP - 10, "95 % answered within, ms", more='font-weight="600"')]
    parts += [_grid(bottom, "0"), _grid(LATENCY_TOP, f"{top:g}")]
    for run in _runs(report.seconds, lambda second: second.p95 is not None):
        line = " ".join(
            f"{x(report.start + s.at + 0.5):.1f},{bottom - LATENCY_HEIGHT * 1000 * (s.p95 or 0) / top:.1f}" for s in run
        )
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="var(--blue)" stroke-width="1.6" stroke-linejoin="round"/>'
        )
    return "".join(parts)


def _verdicts(report: Report, x: Callable[[float], float]) -> str:
    """Where a gate condemned a version, and how soon its traffic was gone."""
    parts = []
    for one in report.rollouts:
        if one.verdict_at is None:
            continue
        place, top = x(one.verdict_at), FAILED_TOP - 2
        words = "the gate stops it"
        if one.rollback_seconds is not None:
            words += f", all back {one.rollback_seconds:.1f} s later"
        parts.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{SHARE_TOP}" y2="{FAILED_TOP + FAILED_HEIGHT}" '
            f'stroke="var(--red)" stroke-width="1.5" stroke-dasharray="4 3"/>'
        )
        parts.append(
            _text(min(place, WIDTH - RIGHT - 2) - 6, top - 12, words, "var(--red)", "end", 'font-weight="600"')
        )
    return "".join(parts)


def _axis(report: Report, x: Callable[[float], float]) -> str:
    length = report.end - report.start
    every = next((step for step in (5, 10, 15, 30, 60, 120, 300, 600) if length / step <= 14), 1800)
    parts = []
    for at in range(0, int(length) + 1, every):
        place = x(report.start + at)
        parts.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{AXIS_TOP}" y2="{AXIS_TOP + 6}" stroke="var(--muted)"/>'
        )
        parts.append(_text(place, AXIS_TOP + 22, _time(at), anchor="middle"))
    parts.append(_text(WIDTH - RIGHT, AXIS_TOP + 37, "minutes and seconds since the start", anchor="end"))
    return "".join(parts)


def _grid(y: float, label: str) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)" opacity=".8"/>'
        f"{_text(LEFT - 9, y + 4.5, label, anchor='end')}"
    )


def _runs(seconds: list[Second], wanted: Callable[[Second], bool]) -> Iterable[list[Second]]:
    """Stretches of seconds in a row that are wanted."""
    run: list[Second] = []
    for second in seconds:
        if wanted(second):
            run.append(second)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _ceiling(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 … that is not below a value."""
    if value <= 1:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
