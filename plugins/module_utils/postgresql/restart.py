# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cluster may be restarted now, and what a standby must not go below."""

from __future__ import annotations

import re
from datetime import datetime

# What a standby must have at least as much of as its primary runs, and the servers' defaults (14 to 18).
# https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN
STANDBY_FIRST = {
    "max_connections": 100,
    "max_locks_per_transaction": 64,
    "max_prepared_transactions": 0,
    "max_wal_senders": 10,
    "max_worker_processes": 8,
}
# Their names in the output of pg_controldata, where they differ.
_IN_CONTROL_FILE = {
    "max_prepared_transactions": "max_prepared_xacts",
    "max_locks_per_transaction": "max_locks_per_xact",
}
POLICIES = ("never", "window", "immediately")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?:(daily)|([A-Za-z]{3})(?:-([A-Za-z]{3}))?) ([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)"
)
_DAY_MINUTES = 24 * 60


def in_window(window: str, now: datetime) -> bool:
    """Tell whether a moment lies in a weekly window such as ``Sun 02:00-04:00``; both in UTC.

    A window whose end is not after its beginning goes on into the next day.

    :raises ValueError: when the window cannot be read.
    """
    match = _WINDOW.fullmatch(window.strip())
    days = [day.lower() for day in match.group(2, 3) if day] if match else []
    if not match or any(day not in DAYS for day in days):
        raise ValueError(
            "expected a window such as 'Sun 02:00-04:00', 'Mon-Fri 01:00-02:00' or 'daily 23:30-00:30',"
            f" found {window!r}"
        )
    first, last = (DAYS.index(days[0]), DAYS.index(days[-1])) if days else (0, 6)
    hour, minute, end_hour, end_minute = (int(part) for part in match.group(4, 5, 6, 7))
    begin, end = hour * 60 + minute, end_hour * 60 + end_minute
    length = (end - begin) % _DAY_MINUTES or _DAY_MINUTES
    week = 7 * _DAY_MINUTES
    moment = now.weekday() * _DAY_MINUTES + now.hour * 60 + now.minute
    opened = range(first, first + (last - first) % 7 + 1)
    return any((moment - (day * _DAY_MINUTES + begin)) % week < length for day in opened)


def verdict(
    pending: list[dict], policy: str, window: str, now: datetime, empty: bool, standbys: dict[str, dict]
) -> dict:
    """Judge whether a cluster may be restarted now.

    :param pending: settings that wait for a restart, each with name, running and stored.
    :param empty: whether the cluster holds nothing of a user yet, so that nobody misses it.
    :param standbys: of a primary, what each standby runs by setting; empty when that is not known.
    :return: ``restart`` (bool) and ``reason`` (what holds it up, or why it may be; empty when nothing is pending).
    :raises ValueError: when policy or window cannot be read.
    """
    if policy not in POLICIES:
        raise ValueError(f"expected a restart policy out of {', '.join(POLICIES)}, found {policy!r}")
    inside = in_window(window, now) if policy == "window" else False
    if not pending:
        return {"restart": False, "reason": ""}
    # Its standbys are clones of nothing yet, and cannot be cloned before it listens to them.
    if empty:
        return {"restart": True, "reason": "the cluster is empty"}
    if behind := _behind(pending, standbys):
        return {"restart": False, "reason": behind}
    if policy == "never":
        return {"restart": False, "reason": "the restart policy is never"}
    if policy == "window" and not inside:
        return {"restart": False, "reason": f"it is {now:%a %H:%M} UTC, outside the window {window}"}
    return {"restart": True, "reason": f"the restart policy is {policy}"}


def _behind(pending: list[dict], standbys: dict[str, dict]) -> str:
    """Which standby does not run yet what the primary would run after a restart."""
    for setting in pending:
        name = setting["name"]
        if name not in STANDBY_FIRST or int(setting["stored"]) <= int(setting["running"]):
            continue
        for host, running in standbys.items():
            if not running:
                return f"{name} rises, and what standby {host} runs is not known: run it together with its primary"
            if int(running[name]) < int(setting["stored"]):
                return f"{name} rises to {setting['stored']}, and standby {host} still runs {running[name]}"
    return ""


def held(settings: dict, control_data: str) -> dict:
    """Raise what a standby would have too little of, because its primary runs more.

    :param settings: what is declared, by name.
    :param control_data: output of ``pg_controldata`` of the standby: what the primary ran when it wrote it.
    :return: the settings that must be kept higher than declared, by name; empty when there are none.
    :raises ValueError: when the output lacks one of the settings.
    """
    found = dict(re.findall(r"^(\w+) setting:\s+(\d+)$", control_data, re.MULTILINE))
    result = {}
    for name, default in STANDBY_FIRST.items():
        key = _IN_CONTROL_FILE.get(name, name)
        if key not in found:
            raise ValueError(f"expected '{key} setting' in the output of pg_controldata, found {control_data[:200]!r}")
        if int(found[key]) > int(settings.get(name, default)):
            result[name] = int(found[key])
    return result
