# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a cluster may be restarted, and what a standby has to keep."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.filter.postgresql_held_settings import postgresql_held_settings
from ansible_collections.techcorp.rag_admin.plugins.filter.postgresql_restart import postgresql_restart
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql.restart import in_window

MONDAY = datetime(2026, 11, 23)
PENDING = [{"name": "shared_buffers", "running": "128MB", "stored": "256MB"}]
RISES = [{"name": "max_connections", "running": "100", "stored": "200"}]


def at(day: int, clock: str) -> datetime:
    """A moment; 0 is Monday."""
    hour, minute = map(int, clock.split(":"))
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("window", "day", "clock", "inside"),
    [
        ("Sun 02:00-04:00", 6, "02:00", True),
        ("Sun 02:00-04:00", 6, "03:59", True),
        ("Sun 02:00-04:00", 6, "04:00", False),
        ("Sun 02:00-04:00", 6, "01:59", False),
        ("Sun 02:00-04:00", 0, "03:00", False),
        ("sun 23:30-00:30", 0, "00:10", True),
        ("Sun 23:30-00:30", 6, "00:10", False),
        ("Mon-Fri 01:00-02:00", 4, "01:30", True),
        ("Mon-Fri 01:00-02:00", 5, "01:30", False),
        ("Sat-Mon 01:00-02:00", 0, "01:30", True),
        ("Sat-Mon 01:00-02:00", 1, "01:30", False),
        ("daily 23:30-00:30", 3, "23:45", True),
        ("daily 23:30-00:30", 3, "12:00", False),
        ("daily 00:00-00:00", 3, "12:00", True),
    ],
)
def test_window(window: str, day: int, clock: str, inside: bool):
    assert in_window(window, at(day, clock)) is inside


@pytest.mark.parametrize("window", ["", "02:00-04:00", "Sun 2:00-4:00", "Son 02:00-04:00", "Sun 02:00-24:30", "always"])
def test_a_window_that_cannot_be_read_is_refused_also_when_nothing_waits(window: str):
    with pytest.raises(AnsibleFilterError, match="expected a window such as"):
        postgresql_restart([], "window", MONDAY, window)


def test_an_unknown_policy_is_refused():
    with pytest.raises(AnsibleFilterError, match="expected a restart policy out of never, window, immediately"):
        postgresql_restart([], "always", MONDAY)


@pytest.mark.parametrize(
    ("policy", "day", "restart", "reason"),
    [
        ("never", 6, False, "the restart policy is never"),
        ("immediately", 0, True, "the restart policy is immediately"),
        ("window", 6, True, "the restart policy is window"),
        ("window", 0, False, "it is Mon 03:00 UTC, outside the window Sun 02:00-04:00"),
    ],
)
def test_the_policy_decides(policy: str, day: int, restart: bool, reason: str):
    verdict = postgresql_restart(PENDING, policy, at(day, "03:00"), "Sun 02:00-04:00")
    assert verdict == {"restart": restart, "reason": reason}


def test_nothing_restarts_when_nothing_waits():
    assert postgresql_restart([], "immediately", MONDAY, empty=True) == {"restart": False, "reason": ""}


def test_an_empty_cluster_may_always_be_restarted():
    assert postgresql_restart(PENDING, "never", MONDAY, empty=True)["restart"]


@pytest.mark.parametrize(
    ("running", "reason"),
    [
        ("100", "max_connections rises to 200, and standby db-2 still runs 100"),
        ({}, "max_connections rises, and what standby db-2 runs is not known: run it together with its primary"),
    ],
)
def test_a_primary_waits_for_its_standbys(running, reason: str):
    standbys = {"db-2": running and {"max_connections": running}}
    assert postgresql_restart(RISES, "immediately", MONDAY, standbys=standbys) == {"restart": False, "reason": reason}


@pytest.mark.parametrize("pending", [RISES, [RISES[0] | {"running": "300"}], PENDING])
def test_a_primary_does_not_wait_without_need(pending):
    known = {"db-2": {"max_connections": "200"}}
    assert postgresql_restart(pending, "immediately", MONDAY, standbys=known)["restart"]


def control_data(**changed: int) -> str:
    values = {
        "max_connections": 100,
        "max_worker_processes": 8,
        "max_wal_senders": 10,
        "max_prepared_xacts": 0,
        "max_locks_per_xact": 64,
    } | changed
    return "wal_level setting:    replica\n" + "".join(f"{name} setting:  {value}\n" for name, value in values.items())


def test_a_standby_keeps_what_its_primary_runs():
    declared = {"max_connections": "150", "shared_buffers": "1GB"}
    running = control_data(max_connections=200, max_prepared_xacts=5)
    assert postgresql_held_settings(declared, running) == {"max_connections": 200, "max_prepared_transactions": 5}


def test_a_standby_may_have_more():
    assert postgresql_held_settings({"max_connections": 300}, control_data()) == {}


def test_an_unreadable_control_file_is_refused():
    with pytest.raises(AnsibleFilterError, match="expected 'max_connections setting'"):
        postgresql_held_settings({}, "pg_controldata: error: no such file")
