# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: restore_drill_report
short_description: Put the report of a restore drill together
version_added: 1.0.0
description:
  - Says what a drill has proven, or what stopped it.
options:
  _input:
    description:
      - What M(techcorp.rag_admin.database_proof) returned; without a verdict the drill came to none.
    type: dict
    required: true
  drill:
    description:
      - C(host), C(cluster), C(database) and the C(time) that was asked for, empty for the latest.
      - C(started), C(ready) and C(ended) in seconds since the epoch, the latter two null when it did not come to that.
      - C(recorded), whether it was known what the copy must hold.
      - C(stopped), the name of the task that failed as C(task) and what it returned as C(result).
      - C(before), the report of the last drill, empty when there is none.
    type: dict
    required: true
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Show how long the restore took
  ansible.builtin.debug:
    msg: "{{ (proof | techcorp.rag_admin.restore_drill_report(drill)).rto }}"
"""

RETURN = r"""
_value:
  description:
    - C(host), C(cluster), C(database), C(time), C(started), C(seconds), C(rto) (seconds until it could be asked),
      C(verdict), C(failures), C(reached), C(rpo), C(rows), C(bytes), C(summary), and C(last_proven), when a drill was
      proven last, in seconds since the epoch.
  type: dict
"""

from ansible_collections.techcorp.rag_admin.plugins.module_utils.database.report import report


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"restore_drill_report": report}
