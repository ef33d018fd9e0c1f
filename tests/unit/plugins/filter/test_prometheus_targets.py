# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets of a job; molecule/prometheus asks a real Prometheus."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.filter.prometheus_targets import prometheus_targets

HOSTVARS = {
    "green-1": {"ansible_host": "10.0.0.21", "app_color": "green"},
    "blue-1": {"ansible_host": "10.0.0.11", "app_color": "blue"},
    "v6": {"ansible_host": "fd00::1"},
    "named.example.com": {},
}


def test_hosts_are_sorted_and_carry_color_and_version():
    assert prometheus_targets(["green-1", "blue-1"], HOSTVARS, 9102, versions={"blue": "1.0.0"}) == [
        {"targets": ["10.0.0.11:9102"], "labels": {"host": "blue-1", "color": "blue", "version": "1.0.0"}},
        {"targets": ["10.0.0.21:9102"], "labels": {"host": "green-1", "color": "green"}},
    ]


def test_addresses_of_every_kind():
    found = prometheus_targets(["v6", "named.example.com"], HOSTVARS, 9102, versions={None: "x"})
    assert [entry["targets"] for entry in found] == [["named.example.com:9102"], ["[fd00::1]:9102"]]


def test_own_labels_do_not_hide_those_of_the_inventory():
    (entry,) = prometheus_targets(["blue-1"], HOSTVARS, 9102, labels={"env": "test", "color": "red"})
    assert entry["labels"] == {"env": "test", "color": "blue", "host": "blue-1"}


@pytest.mark.parametrize(("hosts", "labels"), [(["nobody"], {}), (["blue-1"], {"my-label": "x"})])
def test_what_prometheus_or_the_inventory_does_not_know_is_refused(hosts, labels):
    with pytest.raises(AnsibleFilterError, match="expected"):
        prometheus_targets(hosts, HOSTVARS, 9102, labels=labels)
