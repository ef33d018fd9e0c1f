# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that say what a restored database is held against."""

    DOCUMENTATION = r"""
options:
  tables:
    description:
      - Tables whose checksums are recorded. Their rows must never change.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The table, as V(schema.table).
        type: str
        required: true
      key:
        description:
          - Column whose values only grow, for a table that gets new rows. Without it the table never changes at all.
        type: str
  interval:
    description:
      - Seconds between two beats.
    type: float
    default: 15
  alembic_head:
    description:
      - Revision of the schema that the copy must have. Without it, the one that was recorded.
    type: str
"""
