from __future__ import annotations

import math
import random
from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import evaluate
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.evaluate import Finding, Reading, Tally

DEFAULTS: dict[str, Any] = {
    "source": "prometheus",
    "query": "q",
    "baseline_query": "b",
    "samples_query": "s",
    "metric": None,
    "baseline_metric": None,
    "samples_metric": None,
    "measure": None,
    "color": None,
    "baseline_color": None,
    "operator": "<=",
    "threshold": None,
    "max_ratio": None,
    "max_difference": None,
    "floor": 0.0,
    "confidence": None,
    "min_samples": 0,
    "failure_limit": 0,
    "no_data": "wait",
    "unreadable": "hold",
    "no_baseline": "wait",
    "unit": "none",
}


def check(name: str = "errors", **changes: Any) -> dict[str, Any]:
    return {**DEFAULTS, "name": name, **changes}


def outcome(reading: Reading, **changes: Any) -> str:
    return evaluate.judge(check(**changes), reading).outcome


class TestThreshold:
    @pytest.mark.parametrize(
        ("operator", "value", "expected"),
        [
            ("<=", 1.0, "pass"),
            ("<", 1.0, "fail"),
            (">=", 1.0, "pass"),
            (">", 1.0, "fail"),
            ("<=", 1.1, "fail"),
            (">=", 0.9, "fail"),
            ("<=", math.inf, "fail"),
        ],
    )
    def test_operators(self, operator: str, value: float, expected: str) -> None:
        assert outcome(Reading(value=value), operator=operator, threshold=1.0) == expected

    def test_zero_is_a_value_and_a_limit(self) -> None:
        assert outcome(Reading(value=0.0), threshold=0.0) == "pass"
        assert outcome(Reading(value=0.001), threshold=0.0) == "fail"

    @pytest.mark.parametrize("value", [None, math.nan])
    def test_nan_and_nothing_never_pass(self, value: float | None) -> None:
        assert outcome(Reading(value=value), threshold=1.0) == "no_data"
        assert outcome(Reading(value=value), threshold=1.0, operator=">=") == "no_data"


class TestSamples:
    @pytest.mark.parametrize("samples", [None, math.nan, 0, 49])
    def test_too_few_are_no_data_whatever_the_value(self, samples: float | None) -> None:
        for value in (0.0, 1.0, None):
            assert outcome(Reading(value=value, samples=samples), threshold=0.5, min_samples=50) == "no_data"

    @pytest.mark.parametrize(("errors", "expected"), [(0, "no_data"), (1, "no_data"), (2, "fail")])
    def test_a_part_that_is_lost_whatever_follows_is_not_waited_for(self, errors: int, expected: str) -> None:
        reading = Reading(value=errors / 10, samples=10)
        assert outcome(reading, threshold=0.01, min_samples=100, unit="ratio") == expected
        assert outcome(reading, threshold=0.01, min_samples=100) == "no_data"

    @pytest.mark.parametrize(("errors", "expected"), [(0, "no_data"), (2, "no_data"), (5, "fail")])
    def test_nor_one_that_is_surely_lost(self, errors: int, expected: str) -> None:
        reading = Reading(value=errors / 10, samples=10)
        limits = {"threshold": 0.01, "min_samples": 100, "unit": "ratio", "confidence": 0.95}
        assert outcome(reading, **limits) == expected

    @pytest.mark.parametrize("limits", [{"operator": ">="}, {"threshold": None, "max_ratio": 2}])
    def test_but_only_where_that_can_be_told(self, limits: dict[str, Any]) -> None:
        reading = Reading(value=0.5, samples=10, baseline=0.1)
        assert outcome(reading, **{"threshold": 0.01, "min_samples": 100, "unit": "ratio", **limits}) == "no_data"

    def test_enough(self) -> None:
        assert outcome(Reading(value=0.0, samples=50), threshold=0.5, min_samples=50) == "pass"


class TestBaseline:
    @pytest.mark.parametrize(
        ("value", "baseline", "limits", "expected"),
        [
            (2.0, 1.0, {"max_ratio": 2}, "pass"),
            (2.1, 1.0, {"max_ratio": 2}, "fail"),
            (1.4, 1.0, {"max_difference": 0.5}, "pass"),
            (1.6, 1.0, {"max_difference": 0.5}, "fail"),
            (1.6, 1.0, {"max_ratio": 2, "max_difference": 0.5}, "fail"),
            (0.009, 0.001, {"max_ratio": 2, "floor": 0.01}, "pass"),
            (0.011, 0.001, {"max_ratio": 2, "floor": 0.01}, "fail"),
            (0.0, 0.0, {"max_ratio": 2}, "pass"),
            (0.1, 0.0, {"max_ratio": 2}, "fail"),
            (1.0, 9.0, {"max_ratio": 2, "threshold": 0.5}, "fail"),
        ],
    )
    def test_limits(self, value: float, baseline: float, limits: dict[str, float], expected: str) -> None:
        assert outcome(Reading(value=value, baseline=baseline), **limits) == expected

    @pytest.mark.parametrize("baseline", [None, math.nan, math.inf])
    @pytest.mark.parametrize(("policy", "expected"), [("wait", "no_data"), ("pass", "pass"), ("fail", "fail")])
    def test_without_one_the_policy_decides(self, baseline: float | None, policy: str, expected: str) -> None:
        assert outcome(Reading(value=1.0, baseline=baseline), max_ratio=2, no_baseline=policy) == expected

    def test_the_threshold_still_counts_without_one(self) -> None:
        assert outcome(Reading(value=1.0), max_ratio=2, threshold=0.5, no_baseline="pass") == "fail"


class TestConfidence:
    def test_known_bound(self) -> None:
        """The two-sided 95 % interval of 5 in 100 is 2.15 % to 11.18 % (Newcombe 1998, method 3)."""
        assert evaluate.lower_bound(0.05, 100, 0.975) == pytest.approx(0.0215, abs=5e-5)

    @pytest.mark.parametrize(("ratio", "samples"), [(0.0, 100), (0.5, 0), (1.5, 10), (1.0, 10)])
    def test_is_below_the_ratio_and_never_below_zero(self, ratio: float, samples: int) -> None:
        assert 0 <= evaluate.lower_bound(ratio, samples, 0.95) <= min(ratio, 1)

    def test_one_error_among_a_few_is_not_surely_too_many(self) -> None:
        assert outcome(Reading(value=1 / 12, samples=12), threshold=0.01) == "fail"
        assert outcome(Reading(value=1 / 12, samples=12), threshold=0.01, confidence=0.95) == "fail"
        assert outcome(Reading(value=1 / 80, samples=80), threshold=0.01, confidence=0.95) == "pass"

    def test_bad_is_caught_and_good_let_through_in_ten_seconds_at_a_tenth_of_a_hundred_a_second(self) -> None:
        """The release's figures: polls each second, 10 to 100 requests; 5 % errors against a limit of 1 %."""
        random.seed(1)
        limits = {"threshold": 0.01, "min_samples": 50, "failure_limit": 0}

        def caught(rate: float) -> bool:
            errors = 0
            for sample in range(1, 151):
                errors += random.random() < rate
                reading = Reading(value=errors / sample, samples=sample)
                if sample % 10 == 0 and outcome(reading, **limits) == "fail":
                    return True
            return False

        assert sum(caught(0.05) for _ in range(1000)) >= 995
        assert sum(caught(0.0) for _ in range(1000)) == 0


class TestUnreadable:
    def test_is_not_failed(self) -> None:
        finding = evaluate.judge(check(threshold=1.0), Reading(error="refused"))
        assert (finding.outcome, finding.reason) == ("unreadable", "refused")


def tally(outcomes: list[str], permanent: bool = False, **changes: Any) -> Tally:
    result = Tally(check(**changes))
    for item in outcomes:
        reading = Reading(error="x", permanent=permanent) if item == "unreadable" else Reading(value=1.0)
        result.add(Finding(item, item, reading))
    return result


def verdict(tallies: list[Tally], elapsed: float) -> str | None:
    return evaluate.decide(tallies, elapsed, duration=10, grace=5)


class TestDecide:
    def test_passes_only_at_the_end(self) -> None:
        assert verdict([tally(["pass"])], 9.9) is None
        assert verdict([tally(["pass"])], 10) == "passed"

    def test_fails_at_once(self) -> None:
        assert verdict([tally(["pass"]), tally(["fail"])], 0) == "failed"

    def test_fails_while_it_waits_for_convergence(self) -> None:
        assert verdict([tally(["fail"])], -1) == "failed"
        assert verdict([tally(["pass"])], -1) is None

    def test_tolerates_so_many_failures_in_a_row(self) -> None:
        assert verdict([tally(["fail", "fail"], failure_limit=2)], 1) is None
        assert verdict([tally(["fail", "fail", "fail"], failure_limit=2)], 1) == "failed"
        assert verdict([tally(["fail", "fail", "pass", "fail"], failure_limit=2)], 1) is None

    def test_a_tolerated_failure_at_the_end_neither_passes_nor_fails_yet(self) -> None:
        assert verdict([tally(["fail"], failure_limit=1)], 10) is None
        assert verdict([tally(["fail", "pass"], failure_limit=1)], 11) == "passed"
        assert verdict([tally(["fail", "fail"], failure_limit=1)], 11) == "failed"

    @pytest.mark.parametrize(("kind", "policy"), [("no_data", "wait"), ("unreadable", "hold")])
    def test_what_is_waited_for_has_until_the_end_of_the_grace(self, kind: str, policy: str) -> None:
        waiting = [tally(["pass"]), tally([kind], **{kind: policy})]
        assert verdict(waiting, 14.9) is None
        assert verdict(waiting, 15) == kind

    @pytest.mark.parametrize("kind", ["no_data", "unreadable"])
    def test_policies_pass_and_fail(self, kind: str) -> None:
        assert verdict([tally([kind], **{kind: "pass"})], 10) == "passed"
        assert verdict([tally([kind], **{kind: "fail"})], 0) == kind
        assert verdict([tally([kind], **{kind: "fail"}, failure_limit=1)], 0) is None

    def test_what_cannot_heal_is_not_waited_for(self) -> None:
        assert verdict([tally(["unreadable"], permanent=True, failure_limit=9)], 0) == "unreadable"
        assert verdict([tally(["unreadable"], permanent=True, unreadable="pass")], 10) == "passed"


class TestValidate:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({}, "a limit in check errors"),
            ({"query": None, "threshold": 1.0}, "query in check errors"),
            ({"max_ratio": 2, "baseline_query": None}, "baseline in check errors"),
            ({"threshold": 1.0, "min_samples": 5, "samples_query": None}, "samples of check errors"),
            ({"threshold": 1.0, "confidence": 0.9, "samples_query": None}, "samples of check errors"),
            ({"threshold": 1.0, "confidence": 1.0}, "confidence of check errors"),
            ({"source": "cloudwatch", "threshold": 1.0}, "metric in check errors"),
            ({"source": "probe", "threshold": 1.0}, "measure in check errors"),
            ({"source": "probe", "measure": "p95", "threshold": 1.0}, "color in check errors"),
        ],
    )
    def test_what_could_mean_nothing_is_refused(self, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(Failure, match=said):
            evaluate.validate([check(**changes)])

    def test_names_are_unique(self) -> None:
        with pytest.raises(Failure, match="errors twice"):
            evaluate.validate([check(threshold=1.0), check(threshold=2.0)])

    def test_what_is_sound_is_accepted(self) -> None:
        evaluate.validate([check(threshold=1.0, max_ratio=2.0, min_samples=5, confidence=0.95)])


def test_numbers_for_people() -> None:
    assert evaluate.shower("ratio")(0.0123) == "1.23%"
    assert evaluate.shower("seconds")(0.0382) == "38.2ms"
    assert evaluate.shower("seconds")(2.5) == "2.5s"
    assert evaluate.shower("none")(None) == "none"


def test_a_progress_line() -> None:
    one = Tally(check(name="p95", max_ratio=3, unit="seconds"))
    one.add(evaluate.judge(one.check, Reading(value=0.038, baseline=0.041, samples=212)))
    assert evaluate.describe(one) == "p95 38ms ≤ 3 x 41ms (n=212) ok"
