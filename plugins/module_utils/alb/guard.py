# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fence of a rollout, asked before each attempt of a call that moves traffic."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import CallLog, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL, ROLLBACK_FENCE
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import fence, lease, owner


class Guard:
    """Call it right before each attempt of a mutating call.

    An attempt repeated unasked could land after what somebody else did once the lease was theirs.
    Its own calls are kept out of the module's ``calls``: they move no traffic.

    :param given: ``{"bucket", "key", "token", "status"}`` or None for no fence.
    :param rolling_back: whether traffic must go back even when the fence cannot be read. A fence that can be read and
        names another owner refuses in any case.
    :ivar warnings: what the operator should know.
    """

    def __init__(self, connect: Connector, given, rolling_back: bool = False):
        self.warnings: list = []
        self._rolling_back = rolling_back
        self._controller = owner.find_controller()
        self._s3 = connect("s3", ROLLBACK_FENCE if rolling_back else NORMAL, CallLog()) if given else None
        self._place = (given["bucket"], given["key"], given["token"]) if given else ()
        self._status = given.get("status") if given else None

    def __call__(self) -> None:
        """Return when the rollout is ours.

        :raises fence.FenceLost: when somebody else owns it.
        :raises Failure: when we are not rolling back, and the fence cannot be read or our controller has ended.
        """
        self._ask_fence()
        # Last, since asking may have taken a while.
        if not self._rolling_back:
            lease.require_controller(self._controller)

    def _ask_fence(self) -> None:
        if self._s3 is None:
            return
        try:
            if self._status:
                fence.mark(self._s3, *self._place, self._status)
                self._status = None
            else:
                fence.check(self._s3, *self._place)
        except fence.FenceLost:
            raise
        except Failure as failure:
            if not self._rolling_back:
                raise
            self.warnings.append(f"The traffic was moved back without the fence of the rollout. {failure}")
            self._s3 = None
