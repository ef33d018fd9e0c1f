#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbackrest_info
short_description: Tell what can be restored from pgBackRest's repositories
version_added: "1.0.0"
description:
  - Judges each repository by its listing, that is whether the WAL of each backup and all WAL since is there without a
    gap, along the timelines that recovery follows.
  - pgBackRest's own C(info) names the newest WAL segment whether or not those before it are there, its C(verify) passes
    over gaps, and PostgreSQL ends recovery at a gap without an error.
  - Changes nothing. Run it as the user that pgBackRest runs as.
options:
  stanza:
    description:
      - Name of the stanza.
    type: str
    default: main
  repositories:
    description:
      - Numbers of the repositories to read. All when omitted.
    type: list
    elements: int
  port:
    description:
      - Port of the server on its local socket. WAL that it takes for archived and that is not there counts as missing.
        Without an answer, only the repository is judged.
    type: int
    default: 5432
  verify:
    description:
      - Have C(pgbackrest verify) read and check every file too. It takes about as long as a restore.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
author:
  - TechCorp (@techcorp)
seealso:
  - ref: P(techcorp.rag_admin.pgbackrest#role)
    description: The role that configures pgBackRest.
"""

EXAMPLES = r"""
- name: Read what could be restored
  techcorp.rag_admin.pgbackrest_info:
    stanza: main
  become: true
  become_user: postgres
  register: backups

- name: Fail when anything is missing
  ansible.builtin.assert:
    that: backups.problems is falsy
    fail_msg: "{{ backups.problems | join('; ') }}"
"""

RETURN = r"""
problems:
  description: A sentence for everything that is wrong in any repository. Empty when all is well.
  returned: success
  type: list
  elements: str
  sample: ["repository 1: 1 WAL segments are missing, from 000000010000000000000005 to 000000010000000000000005"]
age:
  description: Seconds since the newest usable backup of any type ended, in the repository where that is newest. Null
    when there is none.
  returned: success
  type: int
  sample: 7260
repositories:
  description: The repositories by their numbers.
  returned: success
  type: list
  elements: dict
  contains:
    repository:
      description: Number.
      type: int
    reachable:
      description: Whether it could be read and has an archive.
      type: bool
    message:
      description: What pgBackRest says of it.
      type: str
    system_id:
      description: System identifier of the cluster that the backups are of, as C(pg_controldata) has it. Null when the
        repository cannot be read.
      type: str
      sample: "7577210923457891234"
    restorable:
      description: The newest point that can be restored; null when there is none.
      type: dict
      contains:
        lsn:
          description: Position in the WAL up to which all is there.
          type: str
          sample: 0/5000000
        segment:
          description: The last segment before that position.
          type: str
        timeline:
          description: Its timeline.
          type: int
        archived_at:
          description: When that segment was stored, in seconds since the epoch. What it holds is older.
          type: int
        backup:
          description: Label of the newest backup that leads there.
          type: str
        backup_stopped_at:
          description: When that backup ended, in seconds since the epoch.
          type: int
    gaps:
      description: Missing WAL since the oldest backup, as C(first), C(last) and number of C(segments).
      type: list
      elements: dict
    duplicates:
      description: Segments that are there with two contents, which pgBackRest refuses to restore.
      type: list
      elements: str
    newest:
      description: When the newest usable backup ended, by C(full), C(diff) and C(incr), in seconds since the epoch. A
        full one counts as a differential one too.
      type: dict
    backups:
      description: All backups, the oldest first.
      type: list
      elements: dict
      contains:
        label:
          description: Label.
          type: str
          sample: 20261127-064748F
        type:
          description: C(full), C(diff) or C(incr).
          type: str
        usable:
          description: Whether its own WAL is complete and its pages passed the check.
          type: bool
        error:
          description: Whether pages failed the check.
          type: bool
        started_at:
          description: Seconds since the epoch.
          type: int
        stopped_at:
          description: Seconds since the epoch.
          type: int
        size:
          description: Bytes of the cluster.
          type: int
        wal_start:
          description: First segment that it needs; null for a backup of a stopped server.
          type: str
        wal_stop:
          description: Last segment that it needs.
          type: str
    problems:
      description: What is wrong with this repository.
      type: list
      elements: str
"""

import time
from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.pgbackrest import info

ARGUMENT_SPEC = {
    "stanza": {"type": "str", "default": "main"},
    "repositories": {"type": "list", "elements": "int"},
    "port": {"type": "int", "default": 5432},
    "verify": {"type": "bool", "default": False},
}


def execute(module, command):
    code, out, err = module.run_command(command)
    if code:
        raise ValueError((err or out).strip() or f"`{command[0]}` ended with status {code}")
    return out


def main():
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = info.run(module.params, partial(execute, module), time.time())
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
