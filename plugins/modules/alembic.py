#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alembic
short_description: Apply an application's Alembic migrations to PostgreSQL while it is in use
version_added: "1.0.0"
description:
  - Applies the migrations of one phase. Those of the phase V(expand) leave the schema such that the version before can
    go on; those of the phase V(contract) take away what only older versions use. Each migration declares its own on a
    line C(phase = "expand") or C(phase = "contract") of its file.
  - Each migration is a transaction of its own. One that cannot have a lock within O(lock_timeout) is given up and tried
    again after a pause, which grows to 30 seconds and is never the same for two runners.
  - A run that was interrupted is resumed by the next. One runner works at a time, by an advisory lock of the
    database that ends with its connection.
  - A database to which nothing was ever applied has no users to protect, and gets all phases.
  - A database that is ahead, at a revision that the application does not know, is left as it is. It is refused when
    contract migrations that the application does not know were applied, because they took away what it uses. The newest
    one is in the comment on O(version_table).
options:
  virtualenv:
    description:
      - The application's virtual environment, with Alembic, SQLAlchemy and psycopg or psycopg2.
    type: path
    required: true
  script_location:
    description:
      - Where the migrations are, as C(alembic.ini) says it. This is a directory, or C(package:directory).
      - C(env.py) is not run, since it would open a connection of its own without a limit on waiting.
      - The migrations have to form one line.
    type: str
    required: true
  chdir:
    description:
      - Directory to run in, for an application that is not installed in O(virtualenv).
    type: path
    default: /
  database_file:
    description:
      - File with the database, as a URL, or as the JSON object that RDS keeps in Secrets Manager (C(host), C(port),
        C(dbname), C(username) and C(password), and perhaps C(sslmode) and C(sslrootcert)).
      - When omitted, the environment variable E(DATABASE_URL) of the task holds the URL.
    type: path
  user:
    description:
      - System user to run the application's code as. The file is read by the user of the task.
    type: str
  revision:
    description:
      - The last migration to apply, or V(head).
    type: str
    default: head
  phase:
    description:
      - Which migrations to apply. It fails when one of the other phase is missing in between.
    type: str
    choices: [expand, contract, all]
    default: expand
  lock_timeout:
    description:
      - Seconds that a migration may hold up others while it waits for a lock. The server gives up when nine tenths of
        them are over, so that those who waited are served within them.
      - PostgreSQL waits without a limit for what holds up nobody, if the migration itself says so.
    type: float
    default: 2
  retries:
    description:
      - How often a migration is tried again because others hold what it needs. 40 take a quarter of an hour.
    type: int
    default: 40
  retry_timeout:
    description:
      - Seconds that a run may lose to others, waiting and pausing, before it tries nothing again. It bounds migrations
        that wait longer than O(lock_timeout), as one does that builds an index concurrently.
    type: int
    default: 3600
  lock_wait:
    description:
      - Seconds to wait for another runner.
    type: int
    default: 60
  version_table:
    description:
      - Table that holds the revision.
    type: str
    default: alembic_version
attributes:
  check_mode:
    description: Returns the migrations and the SQL of the real run. It connects, and reads the revision.
    support: full
  diff_mode:
    description: Returns the revision before and after.
    support: full
author:
  - TechCorp (@techcorp)
notes:
  - Needs PostgreSQL 14 or newer. While it waits or runs, the server looks once a second whether we are still there.
  - Nothing here can know whether an older version is still in use. C(playbooks/migrate.yml) asks the load balancer.
"""

EXAMPLES = r"""
- name: Show the SQL of what a deployment would apply
  techcorp.rag_admin.alembic:
    virtualenv: /opt/rag-admin/releases/1.2.0
    script_location: rag_admin:migrations
    database_file: /etc/rag-admin/database
  check_mode: true
  register: planned

- name: Expand the schema before traffic moves
  techcorp.rag_admin.alembic:
    virtualenv: /opt/rag-admin/releases/1.2.0
    script_location: rag_admin:migrations
    database_file: /etc/rag-admin/database
    user: rag-admin

- name: Contract it, up to a revision
  techcorp.rag_admin.alembic:
    virtualenv: /srv/shop/venv
    chdir: /srv/shop
    script_location: migrations
    phase: contract
    revision: 4f2a91c07d1e
  environment:
    DATABASE_URL: "{{ shop_database_url }}"
  no_log: true
"""

RETURN = r"""
before:
  description: The database's revision before this run; null when nothing was ever applied.
  returned: success
  type: str
  sample: "0002"
current:
  description: The revision after this run, or what it would be in check mode.
  returned: success
  type: str
  sample: "0007"
head:
  description: The application's newest revision.
  returned: success
  type: str
  sample: "0008"
applied:
  description: The migrations that this run applied, or would in check mode, the oldest first.
  returned: success, or when a migration failed
  type: list
  elements: dict
  contains:
    revision:
      description: Its revision.
      type: str
    phase:
      description: Its phase; null when its file declares none.
      type: str
    title:
      description: The first line of its file.
      type: str
  sample: [{revision: "0003", phase: expand, title: A status of users.}]
pending:
  description: What the application has beyond RV(current), as RV(applied).
  returned: success
  type: list
  elements: dict
  sample: [{revision: "0008", phase: contract, title: Users without is_active.}]
retried:
  description: How often a migration was tried again.
  returned: success
  type: int
  sample: 2
sql:
  description: The SQL of RV(applied), with the limits that it runs under; empty when there is none.
  returned: success
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.migrations import send

ARGUMENT_SPEC = {
    "virtualenv": {"type": "path", "required": True},
    "script_location": {"type": "str", "required": True},
    "chdir": {"type": "path", "default": "/"},
    "database_file": {"type": "path"},
    "user": {"type": "str"},
    "revision": {"type": "str", "default": "head"},
    "phase": {"type": "str", "choices": ["expand", "contract", "all"], "default": "expand"},
    "lock_timeout": {"type": "float", "default": 2},
    "retries": {"type": "int", "default": 40},
    "retry_timeout": {"type": "int", "default": 3600},
    "lock_wait": {"type": "int", "default": 60},
    "version_table": {"type": "str", "default": "alembic_version"},
}


def main():
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = send.run(module.run_command, module.params, module.check_mode, os.environ)
    except Failure as failure:
        module.fail_json(msg=str(failure), **failure.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
