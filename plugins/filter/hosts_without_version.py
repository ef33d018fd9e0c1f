# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: hosts_without_version
short_description: Name the hosts on which a release was not installed in this run
version_added: "1.0.0"
author: TechCorp (@techcorp)
description:
  - A host that failed is no longer part of the play and cannot speak for itself; it lacks the fact
    that the C(app) role sets as its last act.
positional: hostvars, version
options:
  _input:
    description: Names of inventory hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The magic variable of the same name.
    type: dict
    required: true
  version:
    description: The version that every host has to carry.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Require 1.2.3 on every green host
  ansible.builtin.assert:
    that: groups['app_green'] | techcorp.rag_admin.hosts_without_version(hostvars, '1.2.3') | length == 0
"""

RETURN = r"""
_value:
  description: The names of the hosts that do not carry the version.
  type: list
  elements: str
"""


def hosts_without_version(names, hostvars, version):
    """Return the names (list of str) whose fact C(app_installed_version) is not the version."""
    return [name for name in names if str(hostvars[name].get("app_installed_version", "")) != str(version)]


class FilterModule:
    def filters(self):
        return {"hosts_without_version": hosts_without_version}
