# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: targets
short_description: Turn inventory hosts into load balancer targets
version_added: "1.0.0"
author: TechCorp (@techcorp)
description:
  - Builds the list that O(techcorp.rag_admin.alb_targets#module:targets) takes from the names of inventory hosts.
positional: hostvars, id_from, port
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
  id_from:
    description:
      - The host variable that holds the target's id, for example C(instance_id) for groups of instances
        and C(ansible_host) for groups of addresses.
    type: str
    required: true
  port:
    description: The port on which the targets listen.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show the targets of the blue hosts
  ansible.builtin.debug:
    msg: "{{ groups['app_blue'] | techcorp.rag_admin.targets(hostvars, 'ansible_host', 8000) }}"
"""

RETURN = r"""
_value:
  description: One entry with the keys C(id) and C(port) for each host, in the order of the names.
  type: list
  elements: dict
"""

from ansible.errors import AnsibleFilterError


def targets(names, hostvars, id_from, port):
    """Return C([{"id": str, "port": int}]) for the hosts.

    Raises AnsibleFilterError naming the hosts that lack the variable, because a target that is left out
    would silently carry no traffic.
    """
    missing = [name for name in names if not hostvars[name].get(id_from)]
    if missing:
        raise AnsibleFilterError(
            f"Expected the variable {id_from!r} on every host; it is missing or empty on {', '.join(missing)}. "
            f"Set it in the inventory, or name another variable."
        )
    return [{"id": str(hostvars[name][id_from]), "port": int(port)} for name in names]


class FilterModule:
    def filters(self):
        return {"targets": targets}
