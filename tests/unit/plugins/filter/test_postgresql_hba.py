# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of pg_hba.conf; molecule/postgresql asks a real server."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.filter.postgresql_hba import postgresql_hba

RULE = {"databases": ["shop"], "users": ["shop"], "addresses": ["10.0.0.1"]}


def lines(*rules):
    return [line.split() for line in postgresql_hba(rules).splitlines()]


def test_a_rule_asks_for_tls_and_scram_unless_it_says_otherwise():
    assert lines(RULE) == [["hostssl", "shop", "shop", "10.0.0.1/32", "scram-sha-256"]]


def test_order_stays_and_each_address_has_its_line():
    found = lines(RULE | {"addresses": ["10.0.1.0/24", "fd00::1"]}, {"type": "local", **ALL, "method": "peer"})
    assert [line[3] for line in found[:2]] == ["10.0.1.0/24", "fd00::1/128"]
    assert found[2] == ["local", "all", "all", "peer"]


ALL = {"databases": ["all"], "users": ["all"]}


def test_names_that_need_quotes_get_them():
    assert lines(RULE | {"databases": ['a"b,c'], "users": ["+staff", "x"]})[0][1:3] == ['"a""b,c"', "+staff,x"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "trust"},
        {"method": "password"},
        {"method": "md5"},
        {"method": "peer"},
        {"type": "host", "method": "cert"},
        {"type": "tcp"},
        {"addresses": []},
        {"addresses": ["10.0.0.1/24"]},
        {"addresses": ["shop.example.com"]},
        {"type": "local"},
        {"users": []},
        {"databases": "shop"},
        {"address": "10.0.0.1"},
    ],
)
def test_what_lets_in_too_many_or_makes_no_sense_is_refused(wrong):
    with pytest.raises(AnsibleFilterError, match="rule 2: expected"):
        postgresql_hba([RULE, RULE | wrong])
