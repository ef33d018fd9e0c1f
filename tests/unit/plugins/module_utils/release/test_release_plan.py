# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is built, linked and removed."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.release.plan import Installed, plan
from hypothesis import given
from hypothesis import strategies as st

VERSIONS = st.sampled_from(["1.0", "1.1", "1.2", "1.3", "1.4"])


@st.composite
def hosts(draw):
    complete = tuple(draw(st.lists(VERSIONS, unique=True)))
    partial = tuple(name for name in draw(st.lists(VERSIONS, unique=True)) if name not in complete)
    link = st.sampled_from([None, *complete, *partial])
    return Installed(complete, partial, draw(link), draw(link))


def test_first_release_on_a_bare_host():
    decided = plan(Installed(), "1.0", activate=True, keep=3)
    assert (decided.build, decided.current, decided.previous, decided.remove) == (True, "1.0", None, ())


def test_preparing_leaves_links_and_old_releases_alone():
    found = Installed(("1.0", "1.1", "1.2"), ("0.9",), "1.2", "1.1")
    decided = plan(found, "1.3", activate=False, keep=1)
    assert (decided.build, decided.current, decided.previous, decided.remove) == (True, "1.2", "1.1", ())


def test_activation_removes_the_oldest_and_what_is_half_built():
    found = Installed(("1.0", "1.1", "1.2"), ("0.9",), "1.2", "1.1")
    decided = plan(found, "1.3", activate=True, keep=3)
    assert decided.previous == "1.2"
    assert decided.remove == ("1.0", "0.9")


def test_going_back_keeps_the_release_that_was_left():
    found = Installed(("1.0", "1.1", "1.2"), (), "1.2", "1.1")
    decided = plan(found, "1.0", activate=True, keep=1)
    assert (decided.build, decided.current, decided.previous, decided.remove) == (False, "1.0", "1.2", ("1.1",))


def test_half_built_release_is_built_again():
    assert plan(Installed(("1.0",), ("1.1",), "1.0"), "1.1", activate=False, keep=3).build


@given(hosts(), VERSIONS, st.booleans(), st.integers(1, 5))
def test_second_run_changes_nothing(found, version, activate, keep):
    once = plan(found, version, activate, keep)
    complete = [*found.complete, *([version] if once.build else [])]
    partial = tuple(n for n in found.partial if n != version and n not in once.remove)
    then = Installed(tuple(n for n in complete if n not in once.remove), partial, once.current, once.previous)
    assert not plan(then, version, activate, keep).changed


@given(hosts(), VERSIONS, st.booleans(), st.integers(1, 5))
def test_what_the_links_point_at_is_never_removed(found, version, activate, keep):
    decided = plan(found, version, activate, keep)
    assert not {version, decided.current, decided.previous} & set(decided.remove)


@given(hosts(), VERSIONS, st.integers(2, 5))
def test_limit_is_kept(found, version, keep):
    decided = plan(found, version, True, keep)
    left = {*found.complete, version} - set(decided.remove)
    assert len(left) <= max(keep, 3 if decided.previous else 2)


@given(hosts(), VERSIONS, st.integers(1, 5))
def test_changed_is_exactly_what_the_diff_shows(found, version, keep):
    decided = plan(found, version, True, keep)
    work = decided.build or decided.remove or (decided.current, decided.previous) != (found.current, found.previous)
    assert decided.changed == bool(work)
