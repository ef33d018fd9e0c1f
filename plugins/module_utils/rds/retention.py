# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be deleted, from what there is; pure, and without a clock.

Age is counted back from the newest good backup: a clock that is wrong deletes nothing, and while backups fail nothing
grows old.
"""

from __future__ import annotations

from collections.abc import Collection

from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import Snapshot


def plan(snapshots: list, days: int, needed: Collection = ()) -> dict:
    """Say of every snapshot of one instance in one region whether it stays, and why.

    A day is one of UTC. Backups of the newest one's day and of the ``days`` days before it stay.

    :param needed: ARNs of snapshots that are being copied, or are about to be.
    :returns: ``{"delete": [(snapshot, reason)], "keep": [(snapshot, reason)]}``, oldest first.
    """
    good = [one for one in snapshots if one.managed and one.good and one.created]
    newest = max((one.created for one in good), default=None)
    last_of: dict = {}
    for one in sorted(good, key=_age):
        last_of[one.resource_id] = one.arn
    planned: dict = {"delete": [], "keep": []}
    for one in sorted(snapshots, key=_age):
        reason = _protection(one, needed, last_of)
        if reason is None and one.failed:
            planned["delete"].append((one, "failed"))
        elif reason is None and (newest.date() - one.created.date()).days > days:
            planned["delete"].append((one, f"older than {days} days"))
        else:
            planned["keep"].append((one, reason or f"within {days} days"))
    return planned


def _protection(one: Snapshot, needed: Collection, last_of: dict) -> str | None:
    """Why a snapshot must not be deleted whatever its age, or None."""
    if one.kind != "manual":
        return f"{one.kind or 'unknown'}: AWS manages it"
    if not one.managed:
        return "not made by rds_backup"
    if one.held:
        return "held by its tag"
    if one.shared:
        return "shared with another account"
    if not one.good and not one.failed:
        return one.status or "of unknown state"
    if one.arn in needed:
        return "being copied"
    if one.failed:
        return None
    if one.created is None:
        return "of unknown age"
    if last_of.get(one.resource_id) == one.arn:
        return "the last good one"
    return None


def _age(one: Snapshot) -> tuple:
    return (one.created.timestamp() if one.created else 0.0, one.identifier)
