# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as targets, and hosts that lack a release."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.filter.hosts_without_version import hosts_without_version
from ansible_collections.techcorp.rag_admin.plugins.filter.targets import targets

HOSTVARS = {
    "a": {"instance_id": "i-1", "app_installed_version": "1.1.0"},
    "b": {"app_installed_version": "1.0.0"},
    "c": {},
}


def test_a_target_is_an_id_and_a_port():
    assert targets(["a"], HOSTVARS, "instance_id", "8000") == [{"id": "i-1", "port": 8000}]


def test_no_host_is_left_out_silently():
    with pytest.raises(AnsibleFilterError, match="'instance_id' on every host; it is missing or empty on b, c"):
        targets(["a", "b", "c"], HOSTVARS, "instance_id", 8000)


def test_hosts_with_another_version_or_none_are_named():
    assert hosts_without_version(["a", "b", "c"], HOSTVARS, "1.1.0") == ["b", "c"]
    assert hosts_without_version(["a"], HOSTVARS, "1.1.0") == []
