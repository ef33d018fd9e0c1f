#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: database_proof
short_description: Prove that a restored copy of a database is what was asked for
version_added: 1.0.0
description:
  - Keeps what proofs need in the live database. The schema C(restore_proof) has a chain of beats, each with a checksum
    over itself and the one before, and manifests of what a backup must hold.
  - Proves a copy. It reads every table and index with C(pg_amcheck), follows the chain of beats, compares checksums of
    tables and the revision of the schema, and tells from the newest beat which point in time was reached and whether
    recovery ended before it should.
  - Runs on the host of the cluster, as the user that owns it, and needs psycopg2 there.
options:
  state:
    description:
      - With V(present) the schema and the function C(restore_proof.beat()) exist. Call that function regularly.
      - With V(recorded) a manifest is written too. Do that right before a backup, and before a drill.
      - With V(verified) the cluster is a restored copy, and it is proven. Only the extension C(amcheck) is made there.
    type: str
    choices: [present, recorded, verified]
    default: present
  login_unix_socket:
    description:
      - Directory of the cluster's socket.
    type: path
    default: /var/run/postgresql
  port:
    description:
      - Port of the cluster.
    type: int
    default: 5432
  user:
    description:
      - Superuser to connect as.
    type: str
    default: postgres
  database:
    description:
      - Database that has the schema C(restore_proof), the tables and Alembic's version.
    type: str
    required: true
  live:
    description:
      - What O(state=recorded) returned of the live database before the restore. Without it the copy is judged by the
        manifests that it has itself, which says less.
    type: dict
  started:
    description:
      - When the restore began, in seconds since the epoch. Needed to tell how old the data is.
    type: float
  target_time:
    description:
      - The point in time that was restored, with its time zone, such as V(2026-11-27 06:30:00+00). Without it the copy
        is one of the latest.
    type: str
  rpo:
    description:
      - How many seconds old the newest beat may be in a copy of the latest.
    type: float
    default: 300
extends_documentation_fragment:
  - techcorp.rag_admin.restore_proof
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: partial
    details:
      - With O(state=verified) amcheck is not run, so that the verdict is RV(verdict=failed).
  diff_mode:
    description: Returns what was changed.
    support: none
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Have what proofs need
  techcorp.rag_admin.database_proof:
    database: rag_admin
  become: true
  become_user: postgres

- name: Record what a backup must hold
  techcorp.rag_admin.database_proof:
    state: recorded
    database: rag_admin
    tables:
      - {name: public.audit, key: id}
  become: true
  become_user: postgres
  register: recorded

- name: Prove the copy that listens on another port
  techcorp.rag_admin.database_proof:
    state: verified
    database: rag_admin
    login_unix_socket: /var/lib/postgresql/restore-drill/socket
    port: 5499
    live: "{{ recorded.live }}"
    target_time: 2026-11-27 06:30:00+00
  become: true
  become_user: postgres
  register: proof
  failed_when: proof.verdict != 'proven'
"""

RETURN = r"""
live:
  description:
    - What a copy of the database has to hold. Hand it to O(live). Null in check mode when there is no schema yet.
  returned: when O(state=recorded)
  type: dict
  sample: {"timeline": 1, "recorded_at": 1795761000.5, "archived_wal": "00000001000000000000002A"}
verdict:
  description: V(proven) or V(failed). The module itself does not fail.
  returned: when O(state=verified)
  type: str
  sample: proven
failures:
  description: What the copy did not show.
  returned: when O(state=verified)
  type: list
  elements: dict
  contains:
    check:
      description: What was checked, such as V(amcheck), V(archive), V(canaries), V(heartbeat), V(rpo) or V(target).
      type: str
      returned: always
    expected:
      description: What was expected.
      type: str
      returned: always
    found:
      description: What was found.
      type: str
      returned: always
    todo:
      description: What to do.
      type: str
      returned: always
summary:
  description: The verdict in one line.
  returned: when O(state=verified)
  type: str
  sample: "proven: data up to 2026-11-27 06:30:00+00, 1000345 rows, 104857600 bytes"
reached:
  description: When the newest beat of the copy was written, in seconds since the epoch. Null when there is none.
  returned: when O(state=verified)
  type: float
  sample: 1795761000.5
rpo:
  description: How many seconds old the data was when the restore began. Null for a point in time.
  returned: when O(state=verified)
  type: float
  sample: 41.3
rows:
  description: Rows whose checksums were compared.
  returned: when O(state=verified)
  type: int
  sample: 1000345
bytes:
  description: Size of all databases of the copy.
  returned: when O(state=verified)
  type: int
  sample: 104857600
"""

import traceback
from functools import partial

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database import proof, prove

try:
    import psycopg2

    MISSING = None
except ImportError:
    psycopg2 = None
    MISSING = traceback.format_exc()

ARGUMENT_SPEC = {
    "state": {"type": "str", "choices": ["present", "recorded", "verified"], "default": "present"},
    "login_unix_socket": {"type": "path", "default": "/var/run/postgresql"},
    "port": {"type": "int", "default": 5432},
    "user": {"type": "str", "default": "postgres"},
    "database": {"type": "str", "required": True},
    "live": {"type": "dict"},
    "started": {"type": "float"},
    "target_time": {"type": "str"},
    "rpo": {"type": "float", "default": 300},
    **proof.OPTIONS,
}


def connect(params):
    """A connection in autocommit mode."""
    connection = psycopg2.connect(
        host=params["login_unix_socket"], port=params["port"], user=params["user"], dbname=params["database"]
    )
    connection.autocommit = True
    return connection


def main():
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("psycopg2"), exception=MISSING)
    try:
        execute = partial(module.run_command, environ_update={"PGUSER": module.params["user"]})
        result = prove.run(module.params, module.check_mode, partial(connect, module.params), execute)
    except (Failure, psycopg2.Error) as error:
        module.fail_json(msg=str(error).strip())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
