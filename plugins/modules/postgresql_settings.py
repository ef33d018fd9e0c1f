#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_settings
short_description: Keep the settings of a PostgreSQL cluster
version_added: 1.0.0
description:
  - Brings a whole definition of settings to a self-managed cluster, by one connection and one reload.
  - Every setting is checked against what the server knows of it (name, unit, range, allowed values), and the server's
    own parser reads the whole configuration as it would be, before anything is changed. One bad entry, and nothing
    changes.
  - Three layers are told apart. What the definition says is written to one file, which this module owns; what is no
    longer declared goes from it. What waits for a restart is returned with the reason. Nothing is restarted.
  - A run that was interrupted is made good by the next one. Two runs on one cluster wait for each other.
  - While the server does not run, names and values are judged by its parser alone, which takes a number without a unit.
options:
  path:
    description:
      - The file to own, in a folder that C(postgresql.conf) reads by C(include_dir). C(postgresql.conf) lies beside
        that folder. Server, data directory, port and socket are found from there, so that several clusters on a host
        differ in nothing else.
      - Use it for nothing else. What others wrote into it is replaced.
    type: path
    required: true
  settings:
    description:
      - All settings to have, by name. Memory and time are written with PostgreSQL's own units, such as V(256MB) and
        V(5min), but for V(0) and V(-1). Lists of names may be lists.
      - A setting that C(postgresql.auto.conf) or a file read later sets to another value is refused, since it would
        have no effect.
      - Values with passwords are refused. Those of settings such as C(primary_conninfo) are not shown.
    type: dict
    required: true
requirements:
  - psycopg2
notes:
  - Run it as the user who owns the cluster and is its superuser, usually C(postgres).
  - In check mode everything is judged as in the real run, the server's parser included.
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Returns the settings of the file before and after, without secrets.
    support: full
seealso:
  - plugin: techcorp.rag_admin.postgresql_tuning
    plugin_type: filter
author:
  - TechCorp (@techcorp)
"""

EXAMPLES = r"""
- name: Keep the settings of Debian's main cluster
  techcorp.rag_admin.postgresql_settings:
    path: /etc/postgresql/15/main/conf.d/10-ansible.conf
    settings:
      shared_buffers: 16GB
      work_mem: 64MB
      checkpoint_completion_target: 0.9
      wal_compression: true
      shared_preload_libraries: [pg_stat_statements]
  become: true
  become_user: postgres
  register: settings

- name: Say what waits for a restart
  ansible.builtin.debug:
    var: settings.pending_restart
"""

RETURN = r"""
running:
  description: Whether the server runs. If not, nothing is said about running values.
  returned: success
  type: bool
  sample: true
written:
  description: Whether the file was written, or would be in check mode.
  returned: success
  type: bool
  sample: true
reloaded:
  description: Whether the server read its files again, or would in check mode.
  returned: success
  type: bool
  sample: true
changes:
  description: The settings that changed in the file.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    before:
      description: What the file said, null when it said nothing.
      type: str
    after:
      description: What it says now, null when the setting is no longer declared.
      type: str
  sample: [{name: work_mem, before: null, after: 64MB}]
pending_restart:
  description:
    - The settings whose running value differs from what is stored, and that PostgreSQL takes only when it starts.
      Values are as in C(pg_settings), in the setting's base unit.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    running:
      description: What the server works with.
      type: str
    stored:
      description: What it will work with after a restart.
      type: str
    reason:
      description: Why it waits.
      type: str
  sample:
    - {name: shared_buffers, running: "16384", stored: "2097152", reason: PostgreSQL takes it only when it starts.}
invalid:
  description: The bad entries of the definition, by name, and what is wrong with each.
  returned: when the definition has some
  type: dict
  sample: {work_mem: "'64mb' has the unit 'mb', which PostgreSQL does not know for memory"}
overridden:
  description: The entries that win over the definition, and where they are.
  returned: when there are some
  type: list
  elements: str
  sample: ["work_mem in /var/lib/postgresql/15/main/postgresql.auto.conf, line 3"]
"""

from functools import partial

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import api, settings

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "settings": {"type": "dict", "required": True},
}


def main():
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    if api.psycopg2 is None:
        module.fail_json(msg=missing_required_lib("psycopg2"))
    execute = partial(module.run_command, environ_update={"LC_ALL": "C.UTF-8"})
    try:
        result = settings.run(module.params, module.check_mode, execute, Clock())
    except Failure as failure:
        module.fail_json(msg=str(failure), **failure.details)
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
