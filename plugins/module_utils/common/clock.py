# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as a value, so that everything that waits can be tested without waiting."""

from __future__ import annotations

import random
import time


class Clock:
    """The machine's own time. Tests pass an object with the same four methods."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Do nothing for that many seconds."""
        time.sleep(seconds)

    def jitter(self, seconds: float) -> float:
        """Between half of the given seconds and all of them, so that many controllers do not retry in step."""
        return seconds * random.uniform(0.5, 1.0)  # noqa: S311
