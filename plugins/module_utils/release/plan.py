# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen to the releases below one directory; pure, so that check mode and the real run cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Installed:
    """What is found below the root: complete releases oldest first, half-built directories, and the two links."""

    complete: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    current: str | None = None
    previous: str | None = None


@dataclass(frozen=True)
class Plan:
    """What to do. ``current`` and ``previous`` are what the links point at afterwards."""

    build: bool
    current: str | None
    previous: str | None
    remove: tuple[str, ...] = ()
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return self.before != self.after


def plan(found: Installed, version: str, activate: bool, keep: int) -> Plan:
    """Decide what to build, where the links point and what to remove.

    The newest ``keep`` releases stay, and whatever ``current`` and ``previous`` point at stays in any case. Removal
    goes with activation: a release that is only being prepared takes nothing away from one that may still be needed.

    :param found: what lies on the host.
    :param version: the release that is wanted.
    :param activate: whether ``current`` is to point at it.
    :param keep: how many complete releases may stay, at least 1.
    """
    build = version not in found.complete
    complete = [name for name in found.complete if name != version]
    complete = [*complete, version] if build else list(found.complete)
    current, previous = found.current, found.previous
    if activate and current != version:
        previous, current = current, version

    partial = [name for name in found.partial if name != version]
    remove: list[str] = []
    if activate:
        pinned = {version, current, previous}
        loose = [name for name in complete if name not in pinned]
        room = max(0, keep - (len(complete) - len(loose)))
        remove = loose[: len(loose) - room] + [name for name in partial if name not in pinned]
        partial = [name for name in partial if name in pinned]
    return Plan(
        build=build,
        current=current,
        previous=previous,
        remove=tuple(remove),
        before=_state(found.complete, found.partial, found.current, found.previous),
        after=_state([name for name in complete if name not in remove], partial, current, previous),
    )


def _state(complete, partial, current, previous) -> dict:
    return {"current": current, "previous": previous, "releases": sorted(complete), "half_built": sorted(partial)}
