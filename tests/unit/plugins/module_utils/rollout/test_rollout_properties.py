"""A controller that is killed before, between and after any of its writes, again and again, in a world in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import plan
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import record as records
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .conftest import BLUE, GREEN, NOW, make_owner, make_request, make_traffic


class World:
    """The load balancer and the record, and what has happened to them."""

    def __init__(self, rules: int, bad_from: int | None, mark_first: bool) -> None:
        self.before: list[dict[str, int]] = [{BLUE: 1}] * rules
        self.rules = copy.deepcopy(self.before)
        self.record: dict[str, Any] | None = None
        self.bad_from = bad_from
        self.mark_first = mark_first
        self.gates: set[int] = set()
        self.moves = 0
        self.tokens: list[int] = []
        self.now = NOW

    def store(self, record: dict[str, Any]) -> None:
        self.record = records.parse(records.serialise(record), "s3://b/k")

    def move(self, rule: int, weights: dict[str, int], expected: dict[str, int] | None) -> None:
        """As alb_traffic: weights that already are so cost nothing; others are not overwritten."""
        live = self.rules[rule]
        if live == weights:
            return
        if expected is not None:
            assert plan.shares(live) == plan.shares(expected), "we would have called ourselves a foreign writer"
            targets = [0, *(step["weight"] for step in self.record["steps"])]
            below = targets.index(weights[GREEN]) - 2
            assert below < -1 or below in self.gates, "raised without its gate"
        self.rules[rule] = dict(weights)
        self.moves += 1


def controller(world: World, name: str) -> Iterator[None]:
    """What the role does. Each yield is a point at which it may be killed: between any two effects."""
    world.now += timedelta(seconds=1000)  # whoever had the lease has lost it
    yield
    traffic = make_traffic(*world.rules)
    decision = plan.begin(world.record, make_request(owner=make_owner(name)), traffic, world.now)
    if decision.kind == "nothing":
        return
    world.store(decision.record)
    token = world.record["lease"]["token"]
    world.tokens.append(token)
    yield

    def note(**changes: Any) -> None:
        world.store(plan.advance(world.record, token, world.now, "event", name, **changes))

    def roll_back() -> Iterator[None]:
        if world.mark_first:
            note(status="rolling_back")
            yield
        for rule, weights in enumerate(world.before):
            world.move(rule, weights, None)
            yield
        world.store(plan.finish(world.record, token, "rolled_back", world.now, name))
        yield

    if decision.kind == "rollback":
        yield from roll_back()
        return
    for step in decision.steps:
        index = step["index"]
        if step["state"] != "applied":
            note(position={"step": index, "state": "intended"}, status="shifting", weights=step["weights"])
            yield
        for rule in range(len(world.rules)):
            world.move(rule, step["weights"], step["expected_weights"])
            yield
        if step["state"] != "applied":
            note(position={"step": index, "state": "applied"})
            yield
        if world.bad_from is not None and index >= world.bad_from:
            yield from roll_back()
            return
        world.gates.add(index)
        yield
        note(position={"step": index, "state": "verified"})
        yield
    final = plan.finish(world.record, token, "succeeded", world.now, name)
    world.store(final)
    yield


@settings(max_examples=600, deadline=None)
@example(kills=[10], rules=1, bad_from=0, mark_first=False)
@example(kills=[12], rules=2, bad_from=0, mark_first=False)
@given(
    kills=st.lists(st.integers(0, 30), max_size=8),
    rules=st.integers(1, 3),
    bad_from=st.none() | st.integers(0, 2),
    mark_first=st.booleans(),
)
def test_whatever_the_kills_the_end_is_the_same(
    kills: list[int], rules: int, bad_from: int | None, mark_first: bool
) -> None:
    world = World(rules, bad_from, mark_first)
    runs = 0

    def run_until(kill: int | None) -> None:
        nonlocal runs
        runs += 1
        for point, _ in enumerate(controller(world, f"run-{runs}")):
            if point == kill:
                return

    for kill in kills:
        run_until(kill)
        if world.record and world.record["status"] == "rolled_back":
            break
    while world.record is None or records.is_unfinished(world.record):
        run_until(None)
    status = world.record["status"]
    assert world.tokens == sorted(set(world.tokens)), "tokens only ever grow"
    if bad_from is None:
        assert status == "succeeded"
        assert world.rules == [{BLUE: 0, GREEN: 100}] * rules
        assert world.moves == rules * (len(world.record["steps"]) + 1), "nothing is moved twice"
    else:
        assert status == "rolled_back"
        assert world.rules == world.before


@settings(max_examples=200, deadline=None)
@given(step=st.integers(-1, 2), state=st.sampled_from(records.STATES), share=st.integers(0, 100))
def test_weights_that_nobody_intended_always_stop_a_resumption(step: int, state: str, share: int) -> None:
    record = plan.begin(None, make_request(), make_traffic(), NOW).record
    record["position"] = {"step": step, "state": state}
    known = [plan.weights_at(record, step), {BLUE: 1}]
    if state == "intended":
        known.append(plan.weights_before(record, step))
    live = {BLUE: 100 - share, GREEN: share}
    try:
        plan.begin(record, make_request(), make_traffic(live), NOW)
        stopped = False
    except plan.Failure:
        stopped = True
    assert stopped == (plan.shares(live) not in [plan.shares(weights) for weights in known])
