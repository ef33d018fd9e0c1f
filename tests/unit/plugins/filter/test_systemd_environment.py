# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd reads back is what was put in; molecule/app asks a real systemd."""

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.filter.systemd_environment import systemd_environment
from hypothesis import given
from hypothesis import strategies as st


def read(text):
    """An environment file as systemd.exec(5) describes it, for values in double quotes."""
    found = re.findall(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"\n', text, re.DOTALL)
    return {name: re.sub(r'\\([\\"`$])', r"\1", value) for name, value in found}


@given(
    st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z"), st.text(st.characters(exclude_characters="\0")))
)
def test_values_survive(variables):
    assert read(systemd_environment(variables)) == variables


def test_names_are_sorted_and_booleans_are_lower_case():
    assert systemd_environment({"B": True, "A": 4, "C": None}) == 'A="4"\nB="true"\n'


@pytest.mark.parametrize("wrong", [{"A-B": "x"}, {"1A": "x"}, {"": "x"}, {"A": ["x"]}, {"A": "x\0y"}, ["A"]])
def test_what_systemd_would_ignore_is_refused(wrong):
    with pytest.raises(AnsibleFilterError, match="expected"):
        systemd_environment(wrong)
