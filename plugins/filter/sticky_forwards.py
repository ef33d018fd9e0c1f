# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: sticky_forwards
short_description: Name the listeners and rules that were sticky before a rollout
version_added: "1.0.0"
author: TechCorp (@techcorp)
description:
  - Reads target group stickiness from the actions that a rollout's record keeps from before it began.
options:
  _input:
    description: The record's C(forwards), as M(techcorp.rag_admin.rollout) returns them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where stickiness has to be turned on again
  ansible.builtin.debug:
    msg: "{{ begun.rollout.forwards | techcorp.rag_admin.sticky_forwards }}"
"""

RETURN = r"""
_value:
  description: One entry with C(arn) and C(duration) in seconds for each forward that was sticky.
  type: list
  elements: dict
"""


def sticky_forwards(forwards):
    """Return C([{"arn": str, "duration": int}]) for the forwards whose previous action was sticky."""
    found = []
    for forward in forwards:
        for action in forward["previous_actions"]:
            config = action.get("ForwardConfig", {}).get("TargetGroupStickinessConfig", {})
            if config.get("Enabled"):
                found.append({"arn": forward["arn"], "duration": int(config["DurationSeconds"])})
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"sticky_forwards": sticky_forwards}
