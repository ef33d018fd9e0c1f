# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: prometheus_targets
short_description: Make the targets of a Prometheus job from the inventory
version_added: 1.0.0
description:
  - Returns one entry for each host, as Prometheus's file-based service discovery reads it.
  - Each target carries the labels C(host) (its name in the inventory) and, where known, C(color) and C(version).
options:
  _input:
    description:
      - Names of the hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - Variables of the hosts, as C(hostvars) holds them.
    type: dict
    required: true
  port:
    description:
      - Port that the hosts are scraped on.
    type: int
    required: true
  color_variable:
    description:
      - Variable of the hosts with their colour.
    type: str
    default: app_color
  versions:
    description:
      - Version that each colour runs. A colour that is not named has no label C(version).
    type: dict
    default: {}
  labels:
    description:
      - More labels, the same for all targets.
    type: dict
    default: {}
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Show the targets of the application
  ansible.builtin.debug:
    msg: "{{ groups['app'] | techcorp.rag_admin.prometheus_targets(hostvars, 9102, versions={'blue': '1.0.0'}) }}"
"""

RETURN = r"""
_value:
  description: Entries sorted by host.
  type: list
  elements: dict
  sample:
    - targets: ["10.0.0.11:9102"]
      labels: {host: blue-1, color: blue, version: 1.0.0}
"""

import re

from ansible.errors import AnsibleFilterError

LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def prometheus_targets(hosts, hostvars, port, color_variable="app_color", versions=None, labels=None) -> list[dict]:
    """Return the entries for the hosts.

    :raises AnsibleFilterError: on a host that the inventory does not have, or a label that Prometheus would refuse.
    """
    for label in labels or {}:
        if not LABEL.fullmatch(str(label)):
            raise AnsibleFilterError(f"prometheus_targets: expected a label such as env, found {label!r}")
    entries = []
    for host in sorted(set(hosts)):
        if host not in hostvars:
            raise AnsibleFilterError(f"prometheus_targets: expected a host of the inventory, found {host!r}")
        variables = hostvars[host]
        address = str(variables.get("ansible_host") or host)
        color = variables.get(color_variable)
        known = {"host": host, "color": color, "version": (versions or {}).get(color)}
        entries.append(
            {
                "targets": [f"[{address}]:{port}" if ":" in address else f"{address}:{port}"],
                "labels": {name: str(value) for name, value in {**(labels or {}), **known}.items() if value},
            }
        )
    return entries


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"prometheus_targets": prometheus_targets}
