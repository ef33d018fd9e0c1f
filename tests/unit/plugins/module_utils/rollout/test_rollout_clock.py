from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import clock

from .conftest import NOW


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, 0), (90, 90), ("90", 90), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("1d", 86400), ("0", 0)],
)
def test_durations(text: object, seconds: int) -> None:
    assert clock.seconds_of(text, "pause") == seconds


@pytest.mark.parametrize("text", ["", "ten", "10 m", "m10", "-5", "1.5h", "10m!"])
def test_a_duration_that_is_none_is_refused_by_the_options_name(text: str) -> None:
    with pytest.raises(Failure, match="pause"):
        clock.seconds_of(text, "pause")


def test_instants_survive_text() -> None:
    assert clock.from_text(clock.to_text(NOW)) == NOW


@pytest.mark.parametrize("value", [None, "", "yesterday"])
def test_an_unreadable_date_header_is_none(value: str | None) -> None:
    assert clock.from_http_date(value) is None


def test_date_header() -> None:
    assert clock.from_http_date("Sat, 31 Jan 2026 08:00:00 GMT") == NOW


def test_skew_beyond_the_limit_is_refused_and_its_amount_said() -> None:
    clock.check_skew(NOW, NOW + timedelta(seconds=60), 60)
    with pytest.raises(Failure, match=r"-61 s.*chrony"):
        clock.check_skew(NOW, NOW + timedelta(seconds=61), 60)
