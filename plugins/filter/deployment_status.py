# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: deployment_status
short_description: Say in a few lines what is live
version_added: "1.0.0"
author: TechCorp (@techcorp)
description:
  - Puts what the load balancer does and what the record says side by side, for a person to read.
positional: record
options:
  _input:
    description: What M(techcorp.rag_admin.alb_traffic_info) returned.
    type: dict
    required: true
  record:
    description: The record that M(techcorp.rag_admin.rollout) read, or nothing where there was no rollout yet.
    type: dict
"""

EXAMPLES = r"""
- name: Show the state of the deployment
  ansible.builtin.debug:
    msg: "{{ traffic | techcorp.rag_admin.deployment_status(record.rollout) }}"
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""

FINAL = ("succeeded", "rolled_back", "aborted")


def deployment_status(traffic, record=None):
    """Return lines (list of str); the first one names the live colour and version."""
    record = record or {}
    colors = record.get("colors") or {}
    lines = [_live(traffic, colors)]
    for color, group in traffic["target_groups"].items():
        weight = "weight differs between listeners" if group["weight"] is None else f"weight {group['weight']}"
        attached = weight if group["attached"] else "not attached"
        version = (colors.get(color) or {}).get("version") or "version unknown"
        lines.append(f"{color}: {version}, {attached}, {group['healthy']} of {group['total']} targets healthy")
        lines += [
            f"  {target['id']}:{target['port']} is {target['state']} ({target['reason'] or 'no reason given'})"
            for target in group["targets"]
            if target["state"] != "healthy"
        ]
    lines.append(_rollout(record))
    lines += [f"problem: {problem}" for problem in traffic.get("problems", [])]
    return lines


def _live(traffic, colors):
    color = traffic["live_color"]
    name = traffic["load_balancer"]["name"]
    if color is None:
        return f"{name}: traffic is split between the colours"
    version = (colors.get(color) or {}).get("version") or "of unknown version"
    return f"{name}: {color} {version} is live"


def _rollout(record):
    if not record:
        return "rollout: none recorded"
    summary = f"rollout {record['rollout_id']} to {record['version']}: {record['status']}"
    if record["status"] in FINAL:
        return summary
    lease = record.get("lease")
    if not lease:
        return f"{summary}, unfinished and owned by nobody; run deploy.yml again to resume it, or rollback.yml"
    owner = lease["owner"]
    position = record.get("position")
    if position is None:
        where = "no traffic moved yet"
    elif position["step"] < 0:
        where = "attaching"
    else:
        where = f"step {position['step'] + 1} of {len(record['steps'])}"
    return f"{summary}, {where}, owned by {owner['name']} on {owner['host']} until {lease['expires_at']}"


class FilterModule:
    def filters(self):
        return {"deployment_status": deployment_status}
