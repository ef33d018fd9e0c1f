# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What readings mean, one by one and over time; pure."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from statistics import NormalDist

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_SIGNS = {"<=": "≤", ">=": "≥"}


@dataclass(frozen=True)
class Reading:
    """What a source said about one check. None is: it answered, and has no data.

    :ivar error: why it could not be read; the other fields then mean nothing.
    :ivar permanent: whether it will not get better by waiting: a query that cannot be parsed, a refused login.
    """

    value: float | None = None
    baseline: float | None = None
    samples: float | None = None
    error: str | None = None
    permanent: bool = False


@dataclass(frozen=True)
class Finding:
    """What one reading means. ``outcome`` is pass, fail, no_data or unreadable."""

    outcome: str
    reason: str
    reading: Reading


@dataclass
class Tally:
    """One check over the polls of a gate."""

    check: dict
    finding: Finding | None = None
    failing: int = 0
    history: dict = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Count a finding. Anything but a failure ends a row of failures."""
        self.finding = finding
        self.failing = self.failing + 1 if self.stance() == "failing" else 0
        self.history[finding.outcome] = self.history.get(finding.outcome, 0) + 1

    def stance(self) -> str:
        """What the check's policies make of the last finding: ok, failing, or waiting."""
        outcome = self.finding.outcome
        if outcome == "pass":
            return "ok"
        if outcome == "fail":
            return "failing"
        policy = self.check[outcome]
        if policy == "pass":
            return "ok"
        if policy == "fail" or self.finding.reading.permanent:
            return "failing"
        return "waiting"

    def is_sure(self) -> bool:
        """Whether the check has failed for good: more often in a row than is tolerated, or in a way that stays."""
        permanent = self.finding.outcome == "unreadable" and self.finding.reading.permanent
        return self.stance() == "failing" and (permanent or self.failing > self.check["failure_limit"])

    def verdict(self) -> str:
        """The verdict on the gate when this check is what decides."""
        return {"fail": "failed"}.get(self.finding.outcome, self.finding.outcome)


def validate(checks: list) -> None:
    """Refuse checks that could not mean anything.

    :raises Failure: naming the check and the option.
    """
    names = [check["name"] for check in checks]
    for name in names:
        if names.count(name) > 1:
            raise Failure("each check to have a name of its own", f"{name} twice", "Rename one.")
    for check in checks:
        _validate(check)


def _validate(check):
    name, source = check["name"], check["source"]
    compares = check["max_ratio"] is not None or check["max_difference"] is not None
    needed = {"prometheus": "query", "cloudwatch": "metric", "probe": "measure"}[source]
    if not check[needed]:
        raise Failure(f"{needed} in check {name}, whose source is {source}", "none", "Add it, or correct the source.")
    if check["threshold"] is None and not compares:
        raise Failure(f"a limit in check {name}", "none", "Give threshold, max_ratio or max_difference.")
    if source == "probe":
        baseline, samples, color = check["baseline_color"], True, check["color"]
        if check["measure"] in ("p95", "share") and not color:
            raise Failure(f"color in check {name}, which measures {check['measure']}", "none", "Say whose it is.")
    else:
        prefix = {"prometheus": "query", "cloudwatch": "metric"}[source]
        baseline, samples = check[f"baseline_{prefix}"], check[f"samples_{prefix}"]
    if compares and not baseline:
        raise Failure(f"a baseline in check {name}, which compares", "none", "Say what to compare with.")
    if (check["min_samples"] or check["confidence"]) and not samples:
        raise Failure(
            f"a way to count the samples of check {name}", "none", "Add it, or leave out min_samples and confidence."
        )
    if check["confidence"] is not None and not 0.5 <= check["confidence"] < 1:
        raise Failure(f"confidence of check {name} from 0.5 to below 1", check["confidence"], "Write for example 0.95.")


def judge(check: dict, reading: Reading) -> Finding:
    """What a reading means under a check's limits; its policies come later (:class:`Tally`)."""
    if reading.error:
        return Finding("unreadable", reading.error, reading)
    show = shower(check["unit"])
    samples = 0 if _missing(reading.samples) else reading.samples
    if check["min_samples"] and samples < check["min_samples"]:
        if _is_lost(check, reading.value, samples):
            return Finding("fail", f"{show(reading.value)} of {samples:.0f} is too much already", reading)
        return Finding("no_data", f"{samples:.0f} of {check['min_samples']} samples", reading)
    if _missing(reading.value):
        return Finding("no_data", "no value", reading)
    value, surely = reading.value, ""
    if check["confidence"] is not None:
        value, surely = lower_bound(reading.value, samples, check["confidence"]), "surely "
    text = show(reading.value)
    if check["threshold"] is not None:
        sign = _SIGNS.get(check["operator"], check["operator"])
        if not OPERATORS[check["operator"]](value, check["threshold"]):
            return Finding("fail", f"{text} is {surely}not {sign} {show(check['threshold'])}", reading)
        text += f" {sign} {show(check['threshold'])}"
    if check["max_ratio"] is None and check["max_difference"] is None:
        return Finding("pass", text, reading)
    return _compare(check, reading, value, surely, text, show)


def _is_lost(check, value, samples):
    """Whether a part of the samples breaks its limit even if all that are still missing were good."""
    bounded = check["unit"] == "ratio" and check["threshold"] is not None and check["operator"] in ("<", "<=")
    if not bounded or _missing(value):
        return False
    least = value * samples / check["min_samples"]
    if check["confidence"] is not None:
        least = lower_bound(least, check["min_samples"], check["confidence"])
    return not OPERATORS[check["operator"]](least, check["threshold"])


def _compare(check, reading, value, surely, text, show):
    baseline = reading.baseline
    if _missing(baseline) or math.isinf(baseline):
        outcome = {"wait": "no_data", "fail": "fail", "pass": "pass"}[check["no_baseline"]]
        return Finding(outcome, f"{text}, no baseline to compare with", reading)
    if value <= check["floor"]:
        return Finding("pass", f"{text}, too small to compare" if baseline < value else text, reading)
    limits = []
    if check["max_ratio"] is not None:
        limits.append((baseline * check["max_ratio"], f"{check['max_ratio']:g} x {show(baseline)}"))
    if check["max_difference"] is not None:
        limits.append((baseline + check["max_difference"], f"{show(baseline)} + {show(check['max_difference'])}"))
    for limit, words in limits:
        if value > limit:
            return Finding("fail", f"{show(reading.value)} is {surely}more than {words}", reading)
    return Finding("pass", f"{text} ≤ {limits[-1][1]}", reading)


def lower_bound(ratio: float, samples: float, confidence: float) -> float:
    """Wilson's lower bound of a ratio that was seen in so many samples, at a one-sided confidence (0.5 to below 1)."""
    if samples <= 0:
        return 0.0
    ratio = min(max(ratio, 0.0), 1.0)
    z = NormalDist().inv_cdf(confidence)
    middle = ratio + z * z / (2 * samples)
    spread = z * math.sqrt(ratio * (1 - ratio) / samples + z * z / (4 * samples * samples))
    return max(0.0, (middle - spread) / (1 + z * z / samples))


def decide(tallies: list, elapsed: float, duration: float, grace: float) -> str | None:
    """The gate's verdict, or None to go on.

    :param elapsed: seconds since the gate's time began; below zero when it has not yet.
    :param grace: seconds beyond the duration that checks without data or source are waited for.
    """
    for tally in tallies:
        if tally.is_sure():
            return tally.verdict()
    if elapsed < duration:
        return None
    stances = {tally.stance(): tally for tally in tallies}
    if "failing" in stances:
        return None  # tolerated so far: the next polls tell, and there are at most failure_limit of them
    if "waiting" in stances:
        return stances["waiting"].verdict() if elapsed >= duration + grace else None
    return "passed"


def shower(unit: str):
    """A function that writes values of that unit for people."""

    def show(value):
        if _missing(value):
            return "none"
        if unit == "ratio":
            return f"{value * 100:.3g}%"
        if unit == "seconds" and value < 1:
            return f"{value * 1000:.3g}ms"
        return f"{value:.4g}s" if unit == "seconds" else f"{value:.4g}"

    return show


def describe(tally: Tally) -> str:
    """One check in a progress line: ``errors 0% ≤ 1% (n=212) ok``."""
    finding = tally.finding
    samples = "" if _missing(finding.reading.samples) else f" (n={finding.reading.samples:.0f})"
    stance = {"failing": "FAILING", "waiting": finding.outcome.replace("_", " ")}.get(tally.stance(), "ok")
    return f"{tally.check['name']} {finding.reason}{samples} {stance}"


def _missing(value) -> bool:
    return value is None or math.isnan(value)
