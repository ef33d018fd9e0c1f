# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_restart
short_description: Judge whether a PostgreSQL cluster may be restarted now
version_added: 1.0.0
description:
  - Says whether settings that wait for a restart may have it now, and why or why not.
  - A primary waits for its standbys where a setting rises that a standby must not have less of, such as
    C(max_connections).
options:
  _input:
    description:
      - The settings that wait.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the setting.
        type: str
        required: true
      running:
        description:
          - Value that runs, in the setting's base unit.
        type: str
        required: true
      stored:
        description:
          - Value that a restart would bring, in the setting's base unit.
        type: str
        required: true
  policy:
    description:
      - When a cluster may be restarted.
    type: str
    choices: [never, window, immediately]
    required: true
  window:
    description:
      - Weekly window in UTC, such as V(Sun 02:00-04:00), V(Mon-Fri 01:00-02:00) or V(daily 23:30-00:30).
      - Read only with O(policy=window).
    type: str
    default: ''
  now:
    description:
      - The moment to judge, C(now(utc=true)).
    type: raw
    required: true
  empty:
    description:
      - Whether the cluster holds no role, database or table of a user. Such a one may always be restarted.
    type: bool
    default: false
  standbys:
    description:
      - What each standby of a primary runs, by its name; empty for one of which that is not known.
    type: dict
    default: {}
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Say whether the primary may be restarted
  ansible.builtin.debug:
    msg: "{{ pending | techcorp.rag_admin.postgresql_restart('window', window='Sun 02:00-04:00', now=now(utc=true)) }}"
  vars:
    pending:
      - {name: shared_buffers, running: '16384', stored: '32768'}
"""

RETURN = r"""
_value:
  description: The verdict.
  type: dict
  contains:
    restart:
      description: Whether to restart now.
      type: bool
    reason:
      description: Why, or what holds it up. Empty when nothing waits.
      type: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import restart


def postgresql_restart(pending, policy, now, window="", empty=False, standbys=None) -> dict:
    """Return whether to restart, and the reason.

    :raises AnsibleFilterError: when policy or window cannot be read.
    """
    try:
        return restart.verdict(pending, policy, window, now, empty, standbys or {})
    except ValueError as error:
        raise AnsibleFilterError(f"postgresql_restart: {error}") from error


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"postgresql_restart": postgresql_restart}
