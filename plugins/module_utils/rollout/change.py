# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, decide, write if nobody else did in between; decide anew if somebody did."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import api

_ATTEMPTS = 20
_PAUSE = 0.2


@dataclass(frozen=True)
class Change:
    """``before`` and ``after`` are records (None for none); both are the same when nothing was to be written."""

    before: api.Stored
    after: dict | None
    written: bool


def apply(aws: Aws, place: api.Place, decide, check_mode: bool, prepare=None) -> Change:
    """Store what ``decide`` makes of the record.

    A write whose answer was lost is recognised when the record is read again: it carries the number of our write.

    :param decide: takes the :class:`api.Stored`, returns the new record or None for no change; may raise.
    :param prepare: called with the record that will be replaced, before it is.
    :raises Failure: from ``decide``, or when the record cannot be read or written.
    """
    nonces = set()
    before = None
    for _attempt in range(_ATTEMPTS):
        stored = api.read(aws, place)
        if stored.record and stored.record.get("nonce") in nonces:
            return Change(before, stored.record, True)
        before = stored
        after = decide(stored)
        if after is None or check_mode:
            return Change(stored, after or stored.record, after is not None)
        if prepare:
            prepare(stored.record)
        after = {**after, "nonce": uuid.uuid4().hex}
        nonces.add(after["nonce"])
        try:
            api.write(aws, place, after, stored.etag)
            return Change(stored, after, True)
        except api.CasLost:
            aws.retry.clock.sleep(aws.retry.clock.jitter(_PAUSE))
    raise Failure(
        f"to write {place.url} within {_ATTEMPTS} attempts",
        "that somebody else wrote it before each of them",
        "See what keeps writing it, and run again.",
    )
