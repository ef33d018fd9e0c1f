# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_held_settings
short_description: Name the settings that a standby must keep higher than declared
version_added: 1.0.0
description:
  - A standby that has less of some settings than its primary runs, such as C(max_connections), does not start. When
    such a setting is lowered, the standby has to keep it until its primary was restarted.
options:
  _input:
    description:
      - The declared settings, by name.
    type: dict
    required: true
  control_data:
    description:
      - What C(pg_controldata) prints for the standby. It tells what the primary runs.
    type: str
    required: true
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Show what a standby has to keep
  ansible.builtin.debug:
    msg: "{{ {'max_connections': 100} | techcorp.rag_admin.postgresql_held_settings(controldata.stdout) }}"
"""

RETURN = r"""
_value:
  description: The settings to keep higher, by name. Empty when there are none.
  type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import restart


def postgresql_held_settings(settings, control_data) -> dict:
    """Return the settings to keep higher.

    :raises AnsibleFilterError: when the output of pg_controldata cannot be read.
    """
    try:
        return restart.held(settings, control_data)
    except ValueError as error:
        raise AnsibleFilterError(f"postgresql_held_settings: {error}") from error


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"postgresql_held_settings": postgresql_held_settings}
