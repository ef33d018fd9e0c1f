# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that say which rollout a task belongs to."""

    DOCUMENTATION = r"""
options:
  fence:
    description:
      - The record of the rollout that this task belongs to. It is read before each attempt of a call that changes
        something, and the task stops when somebody else owns the rollout by then.
    type: dict
    suboptions:
      bucket:
        description:
          - S3 bucket of the record.
        type: str
        required: true
      key:
        description:
          - S3 key of the record.
        type: str
        required: true
      token:
        description:
          - Fencing token, as M(techcorp.rag_admin.rollout) returned it when the rollout was begun.
        type: int
        required: true
      status:
        description:
          - Status to write into the record before the first change, so that a run that is killed afterwards is taken up
            there.
        type: str
        choices: [rolling_back]
"""

    # For modules that wait and change nothing.
    LEASE = r"""
options:
  fence:
    description:
      - The record of the rollout that this task belongs to. Its lease is renewed when a third of its time is over, and
        the task stops when somebody else owns the rollout.
    type: dict
    suboptions:
      bucket:
        description:
          - S3 bucket of the record.
        type: str
        required: true
      key:
        description:
          - S3 key of the record.
        type: str
        required: true
      token:
        description:
          - Fencing token, as M(techcorp.rag_admin.rollout) returned it when the rollout was begun.
        type: int
        required: true
      ttl:
        description:
          - Seconds that each renewal adds.
        type: int
        default: 600
"""
