# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a call to AWS is tried again, and for how long.

Botocore's own retries are off in clients made by :mod:`common.aws`, so that the two layers cannot multiply. AWSRetry of
amazon.aws is not used here because it neither knows connection errors nor shares one limit between all calls of a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common import errors
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock


@dataclass(frozen=True)
class Profile:
    """Limits of one run, all in seconds but ``factor``.

    :ivar total: what failed attempts and the pauses between them may take together, over all calls of the run.
    :ivar connect_timeout, read_timeout: of a single attempt.
    :ivar unreachable: attempts of one call before an endpoint that cannot be connected to is given up: a wrong region
        or URL.
    """

    first: float
    factor: float
    longest: float
    total: float
    connect_timeout: float
    read_timeout: float
    unreachable: int

    def pause(self, failures: int) -> float:
        """Seconds to wait after that many failures of one call, before jitter."""
        return min(self.longest, self.first * self.factor ** (failures - 1))


# An attempt is short, so that one that lands late lands soon after the fence was asked.
NORMAL = Profile(first=0.5, factor=2.0, longest=10.0, total=90.0, connect_timeout=5.0, read_timeout=10.0, unreachable=4)
# Traffic goes to a bad version while this waits: seconds, whatever happens.
ROLLBACK = Profile(first=0.1, factor=1.5, longest=0.5, total=6.0, connect_timeout=1.0, read_timeout=2.0, unreachable=20)
# The fence on the way back: if S3 is down, the traffic must not wait for it.
ROLLBACK_FENCE = Profile(
    first=0.1, factor=1.5, longest=0.3, total=1.5, connect_timeout=0.5, read_timeout=1.0, unreachable=3
)


class Retry:
    """Tries calls again within one budget of time."""

    def __init__(self, profile: Profile, clock: Clock):
        self.profile = profile
        self.clock = clock
        self.spent = 0.0
        self.retries = 0

    def __call__(self, attempt):
        """Return what ``attempt()`` returns; try again on transient AWS errors while the budget lasts.

        :raises Exception: the last error, unchanged.
        """
        failures = 0
        while True:
            began = self.clock.monotonic()
            try:
                return attempt()
            except Exception as exception:  # pylint: disable=broad-except
                if not errors.is_aws(exception) or not errors.is_transient(exception):
                    raise
                failures += 1
                self.spent += self.clock.monotonic() - began
                if errors.is_unreachable(exception) and failures >= self.profile.unreachable:
                    raise
                pause = self.clock.jitter(self.profile.pause(failures))
                if self.spent + pause > self.profile.total:
                    raise
                self.spent += pause
                self.retries += 1
                self.clock.sleep(pause)
