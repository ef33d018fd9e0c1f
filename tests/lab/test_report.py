"""The report's figures are those of its sources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from lab import report, report_page

START = 1_795_746_000.0
BLUE, GREEN = "arn:blue", "arn:green"


def at(seconds: float) -> str:
    return datetime.fromtimestamp(START + seconds, UTC).isoformat()


def event(seconds: float, name: str, step: int | None = None, **detail: Any) -> dict[str, Any]:
    if step is not None:
        detail["position"] = {"step": step, "state": name}
    return {"at": at(seconds), "event": name, "by": "someone", "detail": detail or None}


def record(*audit: dict[str, Any], status: str, steps: tuple[int, ...] = (50, 100)) -> dict[str, Any]:
    return {
        "version": "1.1.0",
        "previous_version": "1.0.0",
        "status": status,
        "steps": [{"weight": weight, "pause": 5} for weight in steps],
        "live": {"color": "blue", "target_group_arn": BLUE},
        "next": {"color": "green", "target_group_arn": GREEN},
        "audit": list(audit),
    }


def move(after: float, blue: int, green: int, **more: Any) -> dict[str, Any]:
    groups = {1: (BLUE, blue), 2: (GREEN, green)}
    parameters = {}
    for number, (arn, weight) in groups.items():
        prefix = f"DefaultActions.member.1.ForwardConfig.TargetGroups.member.{number}"
        parameters |= {f"{prefix}.TargetGroupArn": arn, f"{prefix}.Weight": str(weight)}
    call = {"at": START + after, "service": "elbv2", "action": "ModifyListener", "mutating": True, "applied": True}
    return {**call, "parameters": parameters, "seconds": 0.0, **more}


def sent(after: float, color: str, status: int | None = 200, error: str | None = None, **more: Any) -> dict[str, Any]:
    request = {"at": START + after, "seconds": 0.1, "status": status, "color": color, "version": "v", "error": error}
    return {**request, "long": False, **more}


SHIPPED = record(
    event(0, "start"),
    event(1, "intended", -1),
    event(4, "verified", -1),
    event(5, "intended", 0),
    event(14, "verified", 0, detail={"checks": [{"name": "errors", "value": 0.0}]}),
    event(15, "intended", 1),
    event(24, "verified", 1),
    event(30, "succeeded"),
    status="succeeded",
)
MOVES = [move(2, 100, 0), move(6, 50, 50), move(16, 0, 100)]


def test_a_step_counts_from_its_weights_in_force():
    log = [
        sent(5.5, "blue"),
        sent(6.5, "blue"),
        sent(8, "blue"),
        sent(9, "green"),
        sent(10, "green"),
        sent(11, "green"),
    ]
    [one] = report.summarise([SHIPPED], log, MOVES).rollouts
    step = one.steps[2]
    assert (step.label, step.intended, step.measured) == ("50 %", 50.0, 75.0)
    assert step.requests == 6  # those before the weights moved are counted, but say nothing on the share
    assert [entry["name"] for entry in step.checks] == ["errors"]


def test_steps_are_those_of_the_record():
    [one] = report.summarise([SHIPPED], [sent(1, "blue")], MOVES).rollouts
    assert [(step.label, step.start - START, step.end - START) for step in one.steps] == [
        ("install", 0, 1),
        ("attach", 1, 5),
        ("50 %", 5, 15),
        ("100 %", 15, 24),
        ("bake", 24, 30),
    ]
    assert one.succeeded
    assert one.writes == 3


def test_every_kind_of_failure_counts():
    log = [sent(1, "blue"), sent(2, "blue", 404), sent(3, "blue", 502), sent(4, "", None, "reset"), sent(5, "", None)]
    made = report.summarise([SHIPPED], log, MOVES)
    assert (made.sent, made.failed) == (5, 3)
    assert made.statuses == {"502": 1, "reset": 1, "None": 1}


def test_rollback_is_measured_from_the_verdict_to_the_last_answer():
    audit = [event(0, "start"), event(5, "intended", 0), event(12, "rolled_back", reason="5 % failed")]
    calls = [move(6, 50, 50), move(10.5, 100, 0, seconds=0.25)]
    back = record(*audit, status="rolled_back")
    [one] = report.summarise([back], [sent(1, "blue")], calls, {"1.1.0": START + 10}).rollouts
    assert one.rollback_seconds == pytest.approx(0.75)
    assert (one.steps[-1].verdict, one.reason) == ("failed", "5 % failed")


def test_moves_that_were_refused_or_change_nothing_are_none():
    calls = [move(1, 100, 0), move(2, 100, 0), move(3, 0, 100, applied=False), move(4, 1, 3)]
    assert [(m.at - START, m.green) for m in report.moves(calls, GREEN)] == [(1, 0), (4, 75)]


def test_seconds_without_traffic_have_no_share():
    made = report.summarise([SHIPPED], [sent(0.5, "blue"), sent(0.6, "green"), sent(2.5, "green")], MOVES)
    assert [second.green for second in made.seconds[:3]] == [50, None, 100]


def test_long_requests_say_nothing_on_the_time_to_answer():
    log = [sent(8, "green"), sent(8, "green", seconds=20.0, long=True), sent(8, "green", 503, seconds=3.0)]
    made = report.summarise([SHIPPED], log, MOVES)
    assert [second.p95 for second in made.seconds[8:10]] == [0.1, None]
    assert made.end - made.start == 30


def test_the_terminal_tells_the_figures():
    text = report.terminal(report.summarise([SHIPPED], [sent(8, "green"), sent(9, "green", 503)], MOVES))
    assert "1.0.0 → 1.1.0  shipped in 30 s" in text
    assert "2 sent, 1 failed" in text
    assert "\033" not in text


def test_the_page_is_whole_and_needs_nothing_else():
    made = report.summarise([SHIPPED], [sent(8, "green"), sent(9, "green", 503)], MOVES)
    page = report_page.render(made)
    assert not [word for word in ("<script", "http://", "https://", "url(", "@import") if word in page]
    drawing = page[page.index("<svg") : page.index("</svg>") + 6]
    assert ElementTree.fromstring(drawing).attrib["role"] == "img"


def test_what_records_say_is_shown_as_text():
    audit = [event(0, "start"), event(5, "intended", 0), event(12, "rolled_back", reason="<b>&")]
    page = report_page.render(report.summarise([record(*audit, status="rolled_back")], [sent(1, "blue")], []))
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page


def test_a_first_deployment_has_no_version_before():
    first = {**SHIPPED, "previous_version": None}
    made = report.summarise([first], [], MOVES)
    assert "the first version, to green" in report_page.render(made)
    assert "\n" in report.terminal(made)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (3, 5), (5, 5), (51, 100), (120, 200)])
def test_axes_end_at_round_numbers(value: float, top: float):
    assert report_page._ceiling(value) == top
