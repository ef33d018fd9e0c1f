from __future__ import annotations

import errno
import random
import socket
from collections import deque

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import probe
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.probe import Expectation, Shot, Totals

A, B = "127.77.1.1", "127.77.1.2"
SETTINGS = {
    "addresses": [],
    "ca_path": None,
    "validate_certs": True,
    "timeout": 1.0,
    "requests": 1,
    "headers": None,
    "color_header": "X-App-Color",
}


def shots(address: str, colors: list[str | None]) -> list[Shot]:
    return [Shot(address, None, color, 0.01) for color in colors]


def totals(**colors: list[str | None]) -> Totals:
    result = Totals()
    for address, items in zip((A, B), colors.values(), strict=False):
        result.add(shots(address, items))
    return result


class TestTotals:
    def test_failures_are_counted_by_kind_and_node(self) -> None:
        result = Totals()
        result.add(
            [
                Shot(A, None, "blue", 0.1),
                Shot(A, "HTTP 502", None, 0.1),
                Shot(B, "ConnectionResetError", None, 0.1),
                Shot(B, "HTTP 502", "green", 0.1),
            ]
        )
        assert result.result() == {
            "sent": 4,
            "failed": 3,
            "errors": {"HTTP 502": 2, "ConnectionResetError": 1},
            "colors": {"blue": 1},
            "nodes": {
                A: {"sent": 2, "failed": 1, "colors": {"blue": 1}},
                B: {"sent": 2, "failed": 2, "colors": {}},
            },
        }

    def test_readings(self) -> None:
        result = Totals()
        result.add(
            [Shot(A, None, "green", 0.3)] * 3 + [Shot(A, None, "blue", 0.1)] * 6 + [Shot(A, "HTTP 503", None, 9.0)]
        )
        ask = {"color": "green", "baseline_color": "blue"}
        assert result.reading({"measure": "failed_ratio", **ask}).value == 0.1
        assert result.reading({"measure": "recent_failed_ratio", **ask}) == probe.Reading(value=0.1, samples=10)
        assert result.reading({"measure": "share", **ask}).value == pytest.approx(1 / 3)
        p95 = result.reading({"measure": "p95", **ask})
        assert (p95.value, p95.baseline, p95.samples) == (0.3, 0.1, 3)

    def test_recent_failures_are_not_hidden_by_what_was_long_ago(self) -> None:
        result = Totals()
        result.add(shots(A, ["blue"] * 5000) + [Shot(A, "HTTP 502", None, 0.1)] * 10)
        reading = result.reading({"measure": "recent_failed_ratio", "color": None, "baseline_color": None})
        assert (reading.value, reading.samples) == (0.05, 200)

    def test_nothing_sent_is_no_value(self) -> None:
        for measure in ("failed_ratio", "recent_failed_ratio", "share", "p95"):
            assert Totals().reading({"measure": measure, "color": "green", "baseline_color": "blue"}).value is None


@pytest.mark.parametrize(("values", "p95"), [([], None), ([1], 1), (list(range(1, 101)), 95), ([2, 1], 2)])
def test_percentile(values: list[float], p95: float | None) -> None:
    assert probe.percentile(values, 0.95) == p95


class TestConvergence:
    all_green = Expectation("green", 1.0, 0.0, 10)

    def test_every_node_must_have_moved(self) -> None:
        result = totals(a=["green"] * 10, b=["green"] * 9 + ["blue"])
        assert probe.unconverged(result, [A, B], self.all_green) == [f"{B}: 90% green of the last 10, not 100%"]

    def test_only_the_newest_answers_count(self) -> None:
        result = totals(a=["blue"] * 40 + ["green"] * 10)
        assert probe.unconverged(result, [A], self.all_green) == []

    def test_a_node_that_has_not_answered_yet(self) -> None:
        assert probe.unconverged(totals(a=["green"] * 10), [A, B], self.all_green) == [f"{B}: 0 of 10 answers"]

    def test_answers_without_a_colour_say_what_is_wrong(self) -> None:
        assert "color_header" in probe.unconverged(totals(a=[None] * 10), [A], self.all_green)[0]

    def test_a_colour_that_must_be_gone(self) -> None:
        gone = Expectation("green", 0.0, 0.0, 10)
        assert probe.unconverged(totals(a=["blue"] * 10), [A], gone) == []
        assert probe.unconverged(totals(a=["green"] + ["blue"] * 9), [A], gone)

    def test_a_share_needs_both_colours_seen(self) -> None:
        tenth = Expectation("green", 0.1, 0.0, 20)
        assert probe.unconverged(totals(a=["blue"] * 88), [A], tenth)
        assert probe.unconverged(totals(a=["green"] * 88), [A], tenth)
        assert probe.unconverged(totals(a=["blue"] * 80 + ["green"] * 8), [A], tenth) == []

    @pytest.mark.parametrize(
        ("share", "before", "needed"),
        [
            (1.0, 0.0, 20),
            (0.5, 0.0, 20),
            (0.1, 0.0, 88),
            (0.9, 1.0, 88),
            (0.01, 0.0, 917),
            (0.001, 0.0, 1000),
            (0.3, 0.1, 205),
            (0.5, 0.3, 345),
            (0.1, 0.1, 88),
        ],
    )
    def test_it_takes_as_many_answers_as_the_statement_needs(self, share: float, before: float, needed: int) -> None:
        expected = Expectation("green", share, 0.0, 20, before)
        assert expected.needed() == needed
        few: list[str | None] = ["blue"] * (needed - 1)
        assert probe.unconverged(totals(a=few), [A], expected) == [f"{A}: {needed - 1} of {needed} answers"]

    def test_a_colour_is_not_missed_where_so_few_answers_prove_nothing(self) -> None:
        assert probe.unconverged(totals(a=["blue"] * 1000), [A], Expectation("green", 0.001, 0.0, 20)) == []

    @pytest.mark.parametrize(
        ("before", "share"), [(0.0, 0.01), (0.01, 0.05), (0.0, 0.05), (0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.0, 0.5)]
    )
    def test_nodes_that_moved_converge_within_a_minute_and_a_stuck_one_does_not(
        self, before: float, share: float
    ) -> None:
        expected = Expectation("green", share, 0.0, 20, before)
        chance = random.Random(1)

        def converges(*shares: float) -> bool:
            seen = Totals(recent={address: deque(maxlen=1000) for address in (A, B)})
            for _poll in range(30):
                for node, part in zip((A, B), shares, strict=True):
                    count = expected.at_once(5)
                    seen.recent[node].extend("green" if chance.random() < part else "blue" for _ in range(count))
                if not probe.unconverged(seen, [A, B], expected):
                    return True
            return False

        runs = 1000
        assert sum(converges(share, share) for _ in range(runs)) >= 0.999 * runs
        assert sum(converges(share, before) for _ in range(runs // 2)) <= (0 if before == 0 else 0.004 * runs)


@pytest.mark.parametrize("url", ["ftp://x/", "x", "http://"])
def test_what_cannot_be_probed_is_refused(url: str) -> None:
    with pytest.raises(Failure, match=r"probe\.url"):
        probe.Prober({**SETTINGS, "url": url})


def test_a_missing_file_of_authorities_is_refused(tmp_path: object) -> None:
    with pytest.raises(Failure, match="ca_path"):
        probe.Prober({**SETTINGS, "url": "https://x/", "ca_path": f"{tmp_path}/none.pem"})


def test_addresses_of_both_families() -> None:
    assert "127.0.0.1" in probe.Prober({**SETTINGS, "url": "http://localhost/"}).addresses()
    given = probe.Prober({**SETTINGS, "url": "http://x/", "addresses": [A, "::1"]})
    assert given.addresses() == [A, "::1"]


def test_a_family_that_this_machine_lacks_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(probe.socket, "getaddrinfo", lambda *_arguments, **options: asked.update(options) or [])
    probe.Prober({**SETTINGS, "url": "http://localhost/"}).addresses()
    assert asked["flags"] & socket.AI_ADDRCONFIG


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "OSError: No route to host"),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
            "ConnectionRefusedError: Connection refused",
        ),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_an_error_says_what_it_is(monkeypatch: pytest.MonkeyPatch, raised: OSError, said: str) -> None:
    def refuse(*_arguments: object) -> None:
        raise raised

    monkeypatch.setattr(probe.socket, "create_connection", refuse)
    assert [shot.error for shot in probe.Prober({**SETTINGS, "url": "http://localhost/"}).shoot([A])] == [said]


def test_a_name_that_does_not_resolve_may_yet() -> None:
    with pytest.raises(probe.ProbeFailed) as caught:
        probe.Prober({**SETTINGS, "url": "http://no-such-host.invalid/"}).addresses()
    assert not caught.value.permanent
