# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one loop that waits."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock


def poll(look, interval, timeout: float, clock: Clock):
    """Call ``look(elapsed seconds)`` until it returns something other than None, or until the time is over.

    It is called at least once, and once more at the very end, so that what came true in the last pause is seen.

    :param look: returns None for "not yet"; raises to stop at once.
    :param interval: seconds between two calls, or a function of the number of calls made so far.
    :param timeout: seconds after which no further call is made.
    :returns: what ``look`` returned, or None when the time was over.
    """
    began = clock.monotonic()
    calls = 0
    while True:
        answer = look(clock.monotonic() - began)
        if answer is not None:
            return answer
        calls += 1
        left = timeout - (clock.monotonic() - began)
        if left <= 0:
            return None
        clock.sleep(min(left, interval(calls) if callable(interval) else interval))
