# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three ways to use a gate: pass it, see whether it could be read, predict it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import ROLLBACK
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import cloudwatch, evaluate
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.evaluate import Reading, Tally
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.probe import (
    RECENT_OF_SHARE,
    Expectation,
    ProbeFailed,
    Prober,
    Totals,
    unconverged,
)
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.prometheus import Prometheus
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import lease, owner
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.clock import seconds_of

# A range over fewer samples than two gives nothing.
_LEAST_WINDOW = 5.0
# CloudWatch has a new point once a minute; asking more often costs money and tells nothing.
_CLOUDWATCH_INTERVAL = 10.0
# While only requests of our own are waited for, asking often costs little and every second counts: seconds between two
# polls while the load balancer's nodes follow, and at the end when requests still lack.
_CONVERGE_INTERVAL = 2.0
_LACKING_INTERVAL = 1.0
# One failed request proves nothing, as it may be the old colour's or the network's: of the newest 200 surely more than
# 1 % must fail. That takes 2 failures of up to 66, 3 of up to 120, or 5 of 200. By simulation, of versions that fail
# 10 %, 5 % or 2 % of all requests it catches 99.9 %, 90 % or 40 % within 100 requests; of good ones it takes less than
# one in a thousand back when 0.1 % of thousands of requests fail for other reasons.
_PROBE_CHECK = {
    "name": "probe",
    "source": "probe",
    "measure": "recent_failed_ratio",
    "operator": "<=",
    "threshold": 0.01,
    "unit": "ratio",
    "failure_limit": 0,
    "no_data": "wait",
    "unreadable": "hold",
    "no_baseline": "wait",
    "max_ratio": None,
    "max_difference": None,
    "confidence": 0.95,
    "floor": 0.0,
    "color": None,
    "baseline_color": None,
}
_PROBE_SAMPLES = 25
# At a small share a version that fails hardly shows in all requests. So of the newest 1000 as much less must fail as
# the share is, though never less than 0.3 %. By simulation, at 10 %, of versions that fail a fifth of their requests
# 99.6 % are caught within 650 of the probe's, and one good one in 150 is taken back when 0.1 % of 5000 requests fail
# for other reasons. Of fewer than 50 a single failure would be enough.
_LEAST_THRESHOLD = 0.003
_CONFIDENCE_OF_SHARE = 0.99
_SAMPLES_OF_SHARE = 50


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """Return the module's result when the gate has passed.

    :raises Failure: when it has not; its details are the result.
    """
    duration = seconds_of(params["duration"], "duration")
    checks = list(params["checks"])
    if params["probe"] and not any(check["source"] == "probe" for check in checks):
        checks.append(_probe_check(params["probe"]))
    if not checks:
        raise Failure("something to judge by", "neither checks nor a probe", "Give checks, probe, or both.")
    evaluate.validate(checks)
    gate = Gate(connect, params, checks, float(duration))
    if check_mode:
        return gate.predict()
    if params["preflight"]:
        return gate.preflight()
    return gate.watch()


class Gate:
    """One run of a gate: sources, counts so far, and the clock that its time is measured by."""

    def __init__(self, connect: Connector, params: dict, checks: list, duration: float):
        self._connect = connect
        self._params = params
        self._clock = connect.clock
        self._tallies = [Tally(check) for check in checks]
        self._duration = duration
        self._sources = Sources(connect, params, checks)
        self._grace = max(params["grace"], self._sources.delay())
        self._lease = lease.Lease(connect, params["fence"]) if params["fence"] else None
        self._controller = owner.find_controller()
        self._converged_at = None if self._sources.expected else 0.0
        self._elapsed = 0.0

    def watch(self) -> dict:
        """Poll until there is a verdict.

        :raises Failure: when it is not that the gate has passed, or the lease was lost.
        """
        self._sources.converging = self._converged_at is None
        verdict = poll(self._look, self._pause, float("inf"), self._clock)
        return self._end(verdict)

    def preflight(self) -> dict:
        """See whether each source can be read, without waiting.

        :raises Failure: naming what cannot.
        """
        self._sources.look_back()
        self._read()
        problems = self._problems()
        if problems:
            raise Failure(
                "each source of the gate to be readable",
                "; ".join(problems),
                "Correct the address, the query or the login, or start what does not run. Nothing was changed.",
                **self._result("unreadable"),
            )
        return {"changed": False, **self._result("not_evaluated")}

    def predict(self) -> dict:
        """What the sources say now. The real run would look at what it has changed by then, so this is no verdict."""
        self._sources.look_back()
        self._read()
        return {"changed": False, "warnings": self._problems(), **self._result("not_evaluated")}

    def _problems(self):
        found = [tally for tally in self._tallies if tally.finding.outcome == "unreadable"]
        problems = [f"{tally.check['name']}: {tally.finding.reason}" for tally in found]
        # An answer of 5xx is an answer: before a first deployment the load balancer has nobody to ask.
        unanswered = [error for error in self._sources.totals.errors if not error.startswith("HTTP ")]
        return problems + [f"probe of {self._params['probe']['url']}: {error}" for error in unanswered]

    def _read(self):
        readings = self._sources.read(self._elapsed)
        for tally in self._tallies:
            tally.add(evaluate.judge(tally.check, readings[tally.check["name"]]))

    def _look(self, elapsed):
        lease.require_controller(self._controller)
        self._elapsed = elapsed
        if self._lease:
            self._lease.keep()
        self._read()
        reasons = self._sources.unconverged() if self._converged_at is None else []
        if self._converged_at is None and not reasons:
            self._converged_at = elapsed
            self._sources.converging = False
        self._report(reasons)
        since = elapsed - self._converged_at if self._converged_at is not None else -1.0
        verdict = evaluate.decide(self._tallies, since, self._duration, self._grace)
        if verdict is None and reasons and elapsed >= self._params["converge_timeout"]:
            raise Failure(
                f"each node of the load balancer to answer as expected within {self._params['converge_timeout']:g} s",
                "; ".join(reasons),
                "Compare the live weights; stickiness and open connections also hold clients where they were.",
                **self._result("failed"),
            )
        return verdict

    def _pause(self, polls):
        """Seconds to the next poll: the interval, but not past the end."""
        interval = self._params["interval"]
        if self._converged_at is None:
            return min(interval, _CONVERGE_INTERVAL)
        left = self._converged_at + self._duration - self._elapsed
        if left > 0:
            return min(interval, left)
        lacks = any(tally.check["source"] == "probe" and tally.stance() == "waiting" for tally in self._tallies)
        return min(interval, _LACKING_INTERVAL) if lacks else interval

    def _end(self, verdict):
        result = self._result(verdict)
        if verdict == "passed":
            return {"changed": False, **result}
        shown = [tally for tally in self._tallies if tally.stance() != "ok"] or self._tallies
        reasons = "; ".join(f"{tally.check['name']}: {tally.finding.reason}" for tally in shown)
        todo = {
            "failed": "The new version is worse than allowed: take it back.",
            "no_data": "Nothing was proven: see whether the new version gets traffic and whether it is measured.",
            "unreadable": "The gate could not be read, which is not the same as failed: see to its source.",
        }[verdict]
        raise Failure(
            f"the gate{self._label()} to pass", f"{verdict} after {self._elapsed:.0f} s: {reasons}", todo, **result
        )

    def _result(self, verdict):
        return {
            "verdict": verdict,
            "waited": round(self._elapsed, 1),
            "converged_after": round(self._converged_at, 1) if self._sources.expected and self._converged_at else None,
            "checks": [_check_result(tally) for tally in self._tallies],
            "probe": self._sources.totals.result() if self._sources.prober else None,
        }

    def _report(self, reasons):
        if reasons:
            shown = [tally for tally in self._tallies if tally.stance() == "failing"]
            when = f"not yet at every node: {', '.join(reasons)}"
        else:
            shown = self._tallies
            when = f"{self._elapsed - self._converged_at:.0f} of {self._duration:.0f} s"
        line = "  ".join([f"gate{self._label()}", when, *map(evaluate.describe, shown)])
        if self._params["progress_path"]:
            try:
                with Path(self._params["progress_path"]).open("a") as file:
                    file.write(line + "\n")
            except OSError:
                pass  # nobody looks on

    def _label(self):
        return f" {self._params['label']}" if self._params["label"] else ""


class Sources:
    """All that is read, once a poll."""

    def __init__(self, connect: Connector, params: dict, checks: list):
        self._connect = connect
        self._clock = connect.clock
        self._start = self._clock.time()
        self._by_source = {
            name: [c for c in checks if c["source"] == name] for name in ("prometheus", "cloudwatch", "probe")
        }
        self._prometheus = _prometheus(params) if self._by_source["prometheus"] else None
        self._aws = None
        self._cloudwatch = {}
        self._cloudwatch_at = None
        self._start_cloudwatch = self._start
        if self._by_source["probe"] and not params["probe"]:
            raise Failure("probe, since a check's source is probe", "none", "Say what to probe.")
        self._probe = params["probe"] or {}
        self.prober = Prober(params["probe"]) if params["probe"] else None
        self._requests = params["probe"]["requests"] if params["probe"] else 0
        self.totals = Totals()
        self.expected = _expectation(params["probe"]) if params["converge_timeout"] else None
        self.converging = False
        self._addresses: list = []

    def read(self, elapsed: float) -> dict:
        """A reading of each check, by name."""
        readings = {}
        if self.prober:
            readings.update(self._read_probe())
        answers: dict = {}
        for check in self._by_source["prometheus"]:
            window = max(elapsed, _LEAST_WINDOW)
            readings[check["name"]] = self._prometheus.read(check, window, self._start, self._probed(), answers)
        if self._by_source["cloudwatch"]:
            readings.update(self._read_cloudwatch())
        return readings

    def _probed(self):
        """How many of the probe's requests the colour answered that it expects, or any where it expects none."""
        color = self._probe.get("expect_color") or (self._probe.get("expect_share") or {}).get("color")
        return self.totals.colors[color] if color else self.totals.colors.total()

    def look_back(self) -> None:
        """Read CloudWatch from some periods ago on, so that it is asked at all."""
        if self._by_source["cloudwatch"]:
            self._start_cloudwatch = cloudwatch.readable_since(self._by_source["cloudwatch"], self._clock.time())

    def delay(self) -> float:
        """Seconds until the slowest source can have data."""
        return cloudwatch.delay(self._by_source["cloudwatch"]) if self._by_source["cloudwatch"] else 0.0

    def unconverged(self) -> list:
        """Why the load balancer's nodes do not yet answer as expected."""
        return unconverged(self.totals, self._addresses, self.expected) if self._addresses else ["no address to probe"]

    def _read_probe(self):
        checks = self._by_source["probe"]
        try:
            self._addresses = self.prober.addresses()
            requests = self._requests
            if self.expected:
                requests = (self.expected.at_once if self.converging else self.expected.watching)(requests)
            self.totals.add(self.prober.shoot(self._addresses, requests))
        except ProbeFailed as failure:
            return {check["name"]: Reading(error=str(failure), permanent=failure.permanent) for check in checks}
        return {check["name"]: self.totals.reading(check) for check in checks}

    def _read_cloudwatch(self):
        now = self._clock.monotonic()
        if self._cloudwatch_at is None or now - self._cloudwatch_at >= _CLOUDWATCH_INTERVAL:
            self._aws = self._aws or self._connect("cloudwatch", ROLLBACK)
            self._cloudwatch = cloudwatch.read(
                self._aws.afresh(), self._by_source["cloudwatch"], self._start_cloudwatch, self._clock.time()
            )
            self._cloudwatch_at = now
        return self._cloudwatch


def _probe_check(probe):
    """The check of the probe that nobody gave."""
    check = {**_PROBE_CHECK, "min_samples": min(_PROBE_SAMPLES, 5 * probe["requests"])}
    share = (probe.get("expect_share") or {"percent": 100})["percent"] / 100
    if 0 < share < 1:
        threshold = max(check["threshold"] * share, _LEAST_THRESHOLD)
        check.update(
            threshold=threshold,
            confidence=_CONFIDENCE_OF_SHARE,
            recent=RECENT_OF_SHARE,
            min_samples=_SAMPLES_OF_SHARE,
        )
    return check


def _prometheus(params):
    keys = (
        "url",
        "username",
        "password",
        "password_file",
        "token",
        "token_file",
        "ca_path",
        "validate_certs",
        "timeout",
    )
    settings = {key: params[f"prometheus_{key}"] for key in keys}
    if not settings["url"]:
        raise Failure("prometheus_url, since a check's source is prometheus", "none", "Give the server's address.")
    return Prometheus(settings)


def _expectation(probe):
    share = (probe or {}).get("expect_share")
    if probe and probe["expect_color"]:
        share = {"color": probe["expect_color"], "percent": 100, "tolerance": 0, "before": 0}
    if not share:
        raise Failure(
            "probe.expect_color or probe.expect_share beside converge_timeout", "neither", "Say what to converge to."
        )
    percents = {key: share[key] / 100 for key in ("percent", "tolerance", "before")}
    return Expectation(
        share["color"], percents["percent"], percents["tolerance"], probe["expect_requests"], percents["before"]
    )


def _check_result(tally):
    finding = tally.finding
    return {
        "name": tally.check["name"],
        "value": finding.reading.value,
        "baseline": finding.reading.baseline,
        "samples": finding.reading.samples,
        "verdict": finding.outcome,
        "reason": finding.reason,
        "history": tally.history,
    }
