# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instants as text and back, durations, and how far two clocks are apart; pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d+)([smhd])")


def to_text(instant: datetime) -> str:
    """ISO 8601 in UTC to the second, for example ``2026-01-31T08:00:00Z``."""
    return instant.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> datetime:
    """The instant that :func:`to_text` wrote.

    :raises ValueError: when it is not of that form.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def from_epoch(seconds: float) -> datetime:
    """The instant that many seconds after 1970-01-01 UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def from_http_date(value: str | None) -> datetime | None:
    """The instant in a Date header; None when there is none or it cannot be read."""
    try:
        return parsedate_to_datetime(value).astimezone(timezone.utc) if value else None
    except (TypeError, ValueError):
        return None


def after(instant: datetime, seconds: float) -> str:
    """The instant that many seconds later, as text."""
    return to_text(instant + timedelta(seconds=seconds))


def seconds_of(duration, what: str) -> int:
    """Seconds of ``90``, ``"90"``, ``"30s"``, ``"10m"``, ``"1h30m"``; None is 0.

    :param what: the option's name, for the message.
    :raises Failure: when it is none of these.
    """
    if duration is None:
        return 0
    text = str(duration).strip()
    if text.isdigit():
        return int(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Failure(
            f"{what} as seconds or with units s, m, h, d", repr(duration), "Write for example 90, 30s, 10m or 1h30m."
        )
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def check_skew(local: datetime, remote: datetime, limit: float) -> None:
    """Refuse to work with a clock that is far from S3's: lease times and audit trail would mislead.

    :param limit: seconds that they may be apart.
    :raises Failure: when they are further apart.
    """
    skew = (local - remote).total_seconds()
    if abs(skew) > limit:
        raise Failure(
            f"this machine's clock within {limit:g} s of S3's",
            f"{to_text(local)} here and {to_text(remote)} there, {skew:+.0f} s",
            "Synchronise the clock (chrony, systemd-timesyncd) and run again, or raise max_clock_skew if you must.",
            skew=skew,
        )
