"""The gate's clock: what is read is made up, and time passes only by sleeping."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure, Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import loop
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.evaluate import Reading
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.probe import Shot
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.plan import FenceLost

from .test_gate_evaluate import check

GOOD, BAD, NONE, DOWN = Reading(value=0.0), Reading(value=1.0), Reading(), Reading(error="refused")
PARAMS = {
    "interval": 3.0,
    "grace": 5.0,
    "label": "10%",
    "preflight": False,
    "probe": None,
    "converge_timeout": 0.0,
    "fence": None,
    "progress_path": None,
    "prometheus_url": "http://prometheus",
    **{
        f"prometheus_{key}": None for key in ("username", "password", "password_file", "token", "token_file", "ca_path")
    },
    "prometheus_validate_certs": True,
    "prometheus_timeout": 1.0,
}


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class World:
    """A gate whose only check reads what ``read`` returns for the seconds elapsed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, read: Callable[[float], Reading], **params: Any) -> None:
        self.clock = FakeClock()
        self.read = read
        self.looks: list[float] = []
        self.renewals: list[float] = []
        self.renewal: Exception | None = None
        monkeypatch.setattr(loop.Prometheus, "read", self._read)
        monkeypatch.setattr(loop.lease.fence, "renew", self._renew)
        monkeypatch.setattr(loop.owner, "find_controller", lambda: None)
        self.params = {**PARAMS, "checks": [check(threshold=0.5)], "duration": "10", **params}

    def _read(self, _check: Any, _window: float, _start: float, probed: int, _answers: Any) -> Reading:
        self.probed = probed
        elapsed = self.clock.now - 1000.0
        self.looks.append(elapsed)
        return self.read(elapsed)

    def _renew(self, *_arguments: Any) -> None:
        self.renewals.append(self.clock.now - 1000.0)
        if self.renewal:
            raise self.renewal

    def __call__(self, *_arguments: Any) -> Any:
        """As a Connector: the client is never used."""
        return SimpleNamespace(afresh=lambda: None)

    def run(self, check_mode: bool = False) -> dict[str, Any]:
        return loop.run(self, self.params, check_mode)  # type: ignore[arg-type]

    def failure(self) -> Failure:
        with pytest.raises(Failure) as caught:
            self.run()
        return caught.value


def test_good_for_the_whole_time_and_not_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, lambda _elapsed: GOOD)
    result = world.run()
    assert (result["verdict"], result["waited"], result["changed"]) == ("passed", 10.0, False)
    assert world.looks == [0, 3, 6, 9, 10]
    assert result["checks"][0]["history"] == {"pass": 5}


def test_bad_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = World(monkeypatch, lambda elapsed: BAD if elapsed >= 6 else GOOD).failure()
    assert failure.details["verdict"] == "failed" and failure.details["waited"] == 6.0
    assert "gate 10% to pass; found failed after 6 s: errors: 1 is not ≤ 0.5" in str(failure)


@pytest.mark.parametrize(("reading", "verdict"), [(NONE, "no_data"), (DOWN, "unreadable")])
def test_nothing_proven_is_told_apart_when_the_grace_is_over(
    monkeypatch: pytest.MonkeyPatch, reading: Reading, verdict: str
) -> None:
    failure = World(monkeypatch, lambda _elapsed: reading).failure()
    assert failure.details["verdict"] == verdict
    assert 15 <= failure.details["waited"] <= 16


def test_a_source_that_comes_back_in_the_grace_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    result = World(monkeypatch, lambda elapsed: DOWN if 5 < elapsed < 12 else GOOD).run()
    assert (result["verdict"], result["waited"]) == ("passed", 13.0)


def test_bad_is_not_hidden_by_a_source_that_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = World(monkeypatch, lambda elapsed: DOWN if elapsed < 12 else BAD).failure()
    assert failure.details["verdict"] == "failed"


def test_no_duration_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, lambda _elapsed: GOOD, duration="0")
    assert world.run()["verdict"] == "passed" and world.looks == [0]


class FakeProber:
    """A load balancer of one node, whose answers each test makes."""

    rounds: ClassVar[list[int]] = []

    def __init__(self, settings: dict[str, Any]) -> None:
        self.answer = settings["answer"]
        self.rounds.clear()

    def addresses(self) -> list[str]:
        return ["a"]

    def shoot(self, addresses: list[str], requests: int) -> list[Shot]:
        self.rounds.append(requests)
        return [self.answer(addresses[0], number) for number in range(requests)]


def probing(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str, int], Shot], **params: Any) -> World:
    """A gate of the implicit check alone."""
    monkeypatch.setattr(loop, "Prober", FakeProber)
    options = params.pop("probe", {})
    settings = {"answer": answer, "requests": 5, "expect_color": None, "expect_requests": 20, **options}
    return World(monkeypatch, lambda _elapsed: GOOD, probe=settings, checks=[], **params)


@pytest.mark.parametrize("expected", ["green", None])
def test_a_query_may_subtract_what_the_probe_itself_sent(monkeypatch: pytest.MonkeyPatch, expected: str | None) -> None:
    def answer(address: str, number: int) -> Shot:
        return Shot(address, None, "green" if number == 0 else "blue", 0.1)

    monkeypatch.setattr(loop, "Prober", FakeProber)
    settings = {"answer": answer, "requests": 10, "expect_color": expected, "expect_requests": 1}
    world = World(monkeypatch, lambda _elapsed: GOOD, probe=settings, duration="0")
    world.run()
    assert world.probed == (len(FakeProber.rounds) if expected else sum(FakeProber.rounds)) > 0


def test_until_the_nodes_have_followed_it_asks_often_and_much(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def answer(address: str, number: int) -> Shot:
        return Shot(address, None, "blue" if number % 10 else "green", 0.1)

    share = {"color": "green", "percent": 10.0, "tolerance": 0.0, "before": 0.0}
    options = {"interval": 10.0, "duration": "10", "converge_timeout": 60.0, "progress_path": str(tmp_path / "p")}
    world = probing(monkeypatch, answer, probe={"expect_share": share}, **options)
    result = world.run()
    assert result["converged_after"] == 8 and result["waited"] == 18
    lines = (tmp_path / "p").read_text().splitlines()
    assert lines[0].startswith("gate 10%  not yet at every node: ") and lines[-1].startswith("gate 10%  10 of 10 s  ")
    assert FakeProber.rounds == [18, 18, 18, 18, 18, 30]


class TestImplicitCheck:
    def run(self, monkeypatch: pytest.MonkeyPatch, failing: Callable[[float], bool], **params: Any) -> str:
        def answer(address: str, _number: int) -> Shot:
            return Shot(address, "HTTP 502" if failing(world.clock.now - 1000.0) else None, "blue", 0.1)

        world = probing(monkeypatch, answer, **params)
        try:
            return world.run()["verdict"]
        except Failure as failure:
            return failure.details["verdict"]

    @pytest.mark.parametrize("at", [1, 8, 22])
    @pytest.mark.parametrize("duration", ["0", "30"])
    def test_a_single_failure_takes_nothing_back(self, monkeypatch: pytest.MonkeyPatch, at: int, duration: str) -> None:
        number = itertools.count()
        assert self.run(monkeypatch, lambda _now: next(number) == at, duration=duration) == "passed"

    @pytest.mark.parametrize("requests", [1, 5, 20])
    def test_nobody_answering_is_caught_at_once(self, monkeypatch: pytest.MonkeyPatch, requests: int) -> None:
        assert self.run(monkeypatch, lambda _now: True, duration="0", probe={"requests": requests}) == "failed"
        assert len(FakeProber.rounds) <= 2

    @pytest.mark.parametrize("requests", [1, 5, 20])
    def test_what_it_lacks_is_asked_for(self, monkeypatch: pytest.MonkeyPatch, requests: int) -> None:
        options = {"duration": "0", "interval": 10.0, "grace": 10.0, "probe": {"requests": requests}}
        assert self.run(monkeypatch, lambda _now: False, **options) == "passed"
        assert sum(FakeProber.rounds) >= min(25, 5 * requests)

    def test_an_hour_that_was_good_excuses_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.run(monkeypatch, lambda now: now >= 3600, duration="3600") == "failed"

    @pytest.mark.parametrize(
        ("share", "requests", "least", "most"),
        [
            (0.001, 3000, 0, 0.004),
            (0.02, 100, 0.35, 1),
            (0.05, 100, 0.85, 1),
            (0.1, 100, 0.99, 1),
            (0.1, 200, 0.999, 1),
        ],
    )
    def test_chance(  # type: ignore[no-untyped-def]
        self, monkeypatch: pytest.MonkeyPatch, share, requests, least, most
    ) -> None:
        """So many gates of so many requests fail when this share of the requests does."""
        chance = random.Random(1)
        options = {"interval": 1.0, "duration": str(requests // 10 - 1), "probe": {"requests": 10}}
        runs = 500 if requests <= 200 else 250
        verdicts = [self.run(monkeypatch, lambda _now: chance.random() < share, **options) for _ in range(runs)]
        assert least <= verdicts.count("failed") / runs <= most
        assert set(verdicts) <= {"failed", "passed"}

    @pytest.mark.parametrize(
        ("percent", "failing", "requests", "least", "most"),
        [(10, 0.02, 660, 0.98, 1), (30, 0.03, 660, 0.99, 1), (10, 0.001, 3000, 0, 0.02)],
    )
    def test_chance_at_a_share(  # type: ignore[no-untyped-def]
        self, monkeypatch: pytest.MonkeyPatch, percent, failing, requests, least, most
    ) -> None:
        """The same while the new colour gets so many percent of all requests."""
        chance = random.Random(1)
        probe = {"requests": 30, "expect_share": {"color": "green", "percent": percent}}
        options = {"interval": 1.0, "duration": str(requests // 30 - 1), "probe": probe}
        verdicts = [self.run(monkeypatch, lambda _now: chance.random() < failing, **options) for _ in range(250)]
        assert least <= verdicts.count("failed") / 250 <= most


def test_nothing_to_judge_by_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "neither checks nor a probe" in str(World(monkeypatch, lambda _elapsed: GOOD, checks=[]).failure())


class TestCheckMode:
    @pytest.mark.parametrize("reading", [GOOD, BAD, NONE, DOWN])
    def test_looks_once_and_claims_nothing(self, monkeypatch: pytest.MonkeyPatch, reading: Reading) -> None:
        world = World(monkeypatch, lambda _elapsed: reading, fence={"bucket": "b", "key": "k", "token": 1, "ttl": 9})
        result = world.run(check_mode=True)
        assert result["verdict"] == "not_evaluated" and world.looks == [0] and world.renewals == []
        assert result["warnings"] == (["errors: refused"] if reading is DOWN else [])


class TestPreflight:
    @pytest.mark.parametrize("reading", [GOOD, BAD, NONE])
    def test_what_answers_is_readable(self, monkeypatch: pytest.MonkeyPatch, reading: Reading) -> None:
        world = World(monkeypatch, lambda _elapsed: reading, preflight=True)
        assert world.run()["verdict"] == "not_evaluated" and world.looks == [0]

    def test_what_does_not_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failure = World(monkeypatch, lambda _elapsed: DOWN, preflight=True).failure()
        assert "errors: refused" in str(failure) and failure.details["verdict"] == "unreadable"


class TestCloudWatch:
    """CloudWatch as a stub: `answer` says what it has by the end of the range that it is asked for."""

    def world(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., dict[str, Any]], **params: Any) -> World:
        metric = {"namespace": "n", "name": "m", "dimensions": {}, "statistic": "Average", "period": 60}
        checks = [check(source="cloudwatch", metric=metric, threshold=0.5, samples_query=None)]
        checks[0]["ratio"] = False
        world = World(monkeypatch, lambda _elapsed: GOOD, checks=checks, interval=10.0, **params)
        self.asked: list[tuple[float, float]] = []

        def read(_method: str, _resource: str, StartTime: Any, EndTime: Any, **_options: Any) -> dict[str, Any]:
            self.asked.append((StartTime.timestamp(), EndTime.timestamp()))
            return answer(EndTime.timestamp())

        aws = SimpleNamespace(read=read)
        aws.afresh = lambda: aws
        monkeypatch.setattr(World, "__call__", lambda *_arguments: aws)
        return world

    def test_is_asked_by_the_preflight_and_in_check_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        denied = AwsFailure("e", "AccessDenied", "t", code="AccessDenied", transient=False, refused=True)

        def answer(_now: float) -> dict[str, Any]:
            raise denied

        failure = self.world(monkeypatch, answer, preflight=True).failure()
        assert failure.details["verdict"] == "unreadable" and "AccessDenied" in str(failure)
        assert self.asked == [(720.0, 1000.0)]
        assert "AccessDenied" in self.world(monkeypatch, answer).run(check_mode=True)["warnings"][0]

    @pytest.mark.parametrize("duration", ["0", "10", "300"])
    def test_is_waited_for_until_it_can_have_data(self, monkeypatch: pytest.MonkeyPatch, duration: str) -> None:
        def answer(now: float) -> dict[str, Any]:
            values = [0.1] if now >= 1000 + 170 else []
            return {"MetricDataResults": [{"Id": "value_0", "Values": values}]}

        result = self.world(monkeypatch, answer, duration=duration).run()
        assert result["verdict"] == "passed" and result["waited"] == max(170, int(duration))

    def test_but_not_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failure = self.world(monkeypatch, lambda _now: {"MetricDataResults": []}).failure()
        assert failure.details["verdict"] == "no_data" and 190 <= failure.details["waited"] <= 200


class TestLease:
    fence = {"bucket": "b", "key": "k", "token": 1, "ttl": 9}
    throttled = AwsFailure("e", "f", "t", code="SlowDown", transient=True, refused=True)

    def test_is_renewed_when_a_third_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, lambda _elapsed: GOOD, interval=1.0, fence=self.fence)
        world.run()
        assert world.renewals == [0, 3, 6, 9]

    def test_lost_stops_the_gate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, lambda _elapsed: GOOD, fence=self.fence)
        world.renewal = FenceLost("e", "f", "t", owner={"name": "bob"})
        assert world.failure().details["owner"] == {"name": "bob"} and world.looks == []

    def test_a_hiccup_of_s3_is_ridden_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def read(elapsed: float) -> Reading:
            world.renewal = self.throttled if 1 < elapsed < 5 else None
            return GOOD

        world = World(monkeypatch, read, interval=1.0, fence=self.fence)
        assert world.run()["verdict"] == "passed"

    def test_also_at_the_very_beginning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever calls the gate has just renewed the lease."""

        def read(elapsed: float) -> Reading:
            world.renewal = self.throttled if elapsed < 3 else None
            return GOOD

        world = World(monkeypatch, read, interval=1.0, fence=self.fence)
        world.renewal = self.throttled
        assert world.run()["verdict"] == "passed" and world.renewals[:5] == [0, 1, 2, 3, 4]

    def test_but_not_until_the_lease_expires(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def read(elapsed: float) -> Reading:
            world.renewal = self.throttled
            return GOOD

        world = World(monkeypatch, read, interval=1.0, fence=self.fence)
        assert isinstance(world.failure(), AwsFailure)
        assert world.renewals[-1] < 9


def test_an_orphan_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, lambda _elapsed: GOOD)
    monkeypatch.setattr(loop.owner, "find_controller", lambda: {"pid": 2**22 + 1, "started": 1})
    assert "ansible-playbook" in str(world.failure()) and world.looks == []


def test_progress_is_one_line_a_poll(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    World(monkeypatch, lambda _elapsed: GOOD, progress_path=str(tmp_path / "p")).run()
    lines = (tmp_path / "p").read_text().splitlines()
    assert lines[1] == "gate 10%  3 of 10 s  errors 0 ≤ 0.5 ok" and len(lines) == 5
