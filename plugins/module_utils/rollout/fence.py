# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checked before every mutating call: whether the rollout still is ours."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import api, change, owner, plan

FenceLost = plan.FenceLost

# The option `fence` of modules that change something, and of those that wait (plugins/doc_fragments/rollout_fence.py).
_PLACE = {
    "bucket": {"type": "str", "required": True},
    "key": {"type": "str", "required": True, "no_log": False},
    "token": {"type": "int", "required": True, "no_log": False},
}
FENCE = {"type": "dict", "options": {**_PLACE, "status": {"type": "str", "choices": ["rolling_back"]}}}
LEASE = {"type": "dict", "options": {**_PLACE, "ttl": {"type": "int", "default": 600}}}


def check(s3: Aws, bucket: str, key: str, token: int) -> None:
    """Return if the token is the lease's, and prolong the lease when two thirds of it are over. One read.

    :raises FenceLost: when somebody else holds the lease, or nobody. ``details["owner"]`` says who.
    :raises Failure: when the record cannot be read.
    """

    def decide(stored):
        plan.check_token(stored.record, token)
        return (
            plan.renewed(stored.record, stored.now) if plan.needs_renewal(stored.record["lease"], stored.now) else None
        )

    change.apply(s3, api.Place(bucket, key), decide, check_mode=False)


def renew(s3: Aws, bucket: str, key: str, token: int, ttl: int | None = None) -> None:
    """Prolong the lease by its time to live, or by the given one (seconds), from now on. One read, one write.

    :raises FenceLost: as :func:`check`.
    :raises Failure: when the record cannot be read or written.
    """

    def decide(stored):
        plan.check_token(stored.record, token)
        return plan.renewed(stored.record, stored.now, ttl)

    change.apply(s3, api.Place(bucket, key), decide, check_mode=False)


def mark(s3: Aws, bucket: str, key: str, token: int, status: str) -> None:
    """As :func:`check`, and record that the rollout now has this status, for example ``rolling_back``.

    A controller that is killed afterwards is then continued in that direction. One read, and one write unless it is so.

    :raises FenceLost: as :func:`check`.
    :raises Failure: when the record cannot be read or written.
    """
    by = owner.describe(owner.identify())

    def decide(stored):
        plan.check_token(stored.record, token)
        if stored.record["status"] == status:
            return None
        return plan.advance(stored.record, token, stored.now, status, by, status=status)

    change.apply(s3, api.Place(bucket, key), decide, check_mode=False)
