# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module that goes on for a while has to see to: that its controller lives, and that the lease is kept."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import CallLog, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure, Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import ROLLBACK_FENCE
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import fence, owner


def require_controller(controller: dict | None) -> None:
    """Return while the ansible-playbook that started this module runs: nobody would hear of what we do after its end.

    :param controller: what :func:`owner.find_controller` returned at the beginning; None (not known) passes.
    :raises Failure: when it has ended.
    """
    if controller and owner.is_gone(controller):
        raise Failure(
            "the ansible-playbook that started this task to run", "that it ended", "Run the playbook again to resume."
        )


class Lease:
    """Keeps the rollout's lease while a module waits.

    :param given: ``{"bucket", "key", "token", "ttl"}``, the last in seconds.
    """

    def __init__(self, connect: Connector, given: dict):
        # Its calls are kept out of the module's ``calls``: they move no traffic.
        self._s3 = connect("s3", ROLLBACK_FENCE, CallLog())
        self._place = (given["bucket"], given["key"], given["token"])
        self._ttl = given["ttl"]
        self._clock = connect.clock
        # Whoever calls us has just renewed it, to begin or to record what it is about to do.
        self._kept_at = self._clock.monotonic()
        self._first = True

    def keep(self) -> None:
        """Renew the lease at the first call, and then whenever a third of its time is over.

        :raises fence.FenceLost: when it is somebody else's.
        :raises AwsFailure: when it could not be renewed for so long that it may be.
        """
        now = self._clock.monotonic()
        if not self._first and now - self._kept_at < self._ttl / 3:
            return
        try:
            fence.renew(self._s3.afresh(), *self._place, self._ttl)
        except AwsFailure as failure:
            if not failure.transient or now - self._kept_at > self._ttl * 2 / 3:
                raise
            return
        self._first, self._kept_at = False, now
