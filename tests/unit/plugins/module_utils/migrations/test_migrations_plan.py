# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which migrations are applied, and which runs are refused before anything changes."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.migrations.runner import MigrationError, Step, plan
from hypothesis import given
from hypothesis import strategies as st

LETTERS = {"e": "expand", "c": "contract", "?": None}


def chain(letters: str) -> list[Step]:
    """``chain("eec")``: revisions 1 to 3, the last one of the phase contract."""
    return [Step(str(n), LETTERS[letter], f"step {n}") for n, letter in enumerate(letters, 1)]


def names(steps: list[Step]) -> str:
    return "".join(step.revision for step in steps)


@pytest.mark.parametrize(
    ("letters", "current", "phase", "revision", "applied"),
    [
        ("eec", None, "expand", "head", "123"),  # nobody uses an empty database
        ("eec", "1", "expand", "head", "2"),
        ("eec", "2", "expand", "head", ""),
        ("eec", "2", "contract", "head", "3"),
        ("eec", "3", "contract", "head", ""),
        ("eee", "1", "contract", "head", ""),
        ("ece", "1", "contract", "head", "2"),
        ("ece", "2", "expand", "head", "3"),
        ("ece", "1", "all", "head", "23"),
        ("eeee", "1", "expand", "3", "23"),
        ("eeee", "3", "expand", "2", ""),  # never back
        ("eec", "9", "expand", "head", ""),  # made by a newer version
        ("e??", None, "expand", "head", "123"),
        ("e??", "1", "all", "head", "23"),
    ],
)
def test_planned(letters, current, phase, revision, applied):
    assert names(plan(chain(letters), current, revision, phase)) == applied


@pytest.mark.parametrize(
    ("letters", "phase", "message"),
    [
        (
            "ece",
            "expand",
            "no contract migration to be missing before expand 3; found 2. Apply the contract migrations",
        ),
        ("eece", "expand", "before expand 4; found 3"),
        ("eec", "contract", "no expand migration to be missing before contract 3; found 2. Ship the release first"),
        ("e?e", "expand", 'phase = "expand" or phase = "contract" in every migration; found none in 2'),
    ],
)
def test_refused(letters, phase, message):
    with pytest.raises(MigrationError) as caught:
        plan(chain(letters), "1", "head", phase)
    assert message in str(caught.value)


def test_an_unknown_revision_is_refused():
    with pytest.raises(MigrationError, match="a revision of 1 to 3; found '7'"):
        plan(chain("eee"), "1", "7", "expand")


@given(st.text("ec", min_size=1, max_size=9), st.data())
def test_release_after_release_applies_everything_and_never_mixes_phases(letters, data):
    """Each release brings one migration more; expand at its deployment, contract when the one before is gone."""
    steps = chain(letters)
    first = data.draw(st.integers(1, len(letters)))
    current = str(first)
    for known in range(first, len(steps) + 1):
        for phase in ("expand", "contract"):
            part = plan(steps[:known], current, "head", phase)
            assert all(step.phase == phase for step in part)
            assert part == plan(steps[:known], current, "head", "all")[: len(part)]
            current = part[-1].revision if part else current
    assert current == steps[-1].revision
