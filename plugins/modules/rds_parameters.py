#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_parameters
short_description: Declare the settings of PostgreSQL on RDS in a DB parameter group
version_added: "1.0.0"
description:
  - Takes the same settings as a host does, in PostgreSQL's own units, and writes them as RDS wants them.
  - Units, allowed values and whether a setting needs a restart are read from RDS for the group's family.
  - Everything is checked before anything is changed. One wrong setting, and nothing is changed.
  - Never restarts a DB instance. It tells which ones wait for a restart, and why.
options:
  name:
    description:
      - Name of the DB parameter group. RDS stores it in lower case.
    type: str
    required: true
  family:
    description:
      - Family of the group, that is the engine and its major version, such as V(postgres15).
      - Needed when the group does not exist yet. A group of another family is refused.
    type: str
  description:
    description:
      - Description of a group that is made. RDS cannot change that of one that exists.
    type: str
    default: Managed by Ansible
  settings:
    description:
      - Settings by name. Sizes and times carry a unit of PostgreSQL's, such as V(16GB), V(64MB) or V(15min).
      - Numeric settings also take RDS's own expressions, such as V({DBInstanceClassMemory/32768}). One that comes to
        more than the instance's memory is refused.
    type: dict
    default: {}
  purge:
    description:
      - Give parameters that somebody has set and O(settings) does not name their defaults again.
    type: bool
    default: false
  state:
    description:
      - Whether the group exists. One that a DB instance uses is not deleted.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Returns the diff and the calls that the real run would make.
    support: full
  diff_mode:
    description: Returns the changed settings, as RDS writes them, and the tags before and after.
    support: full
author:
  - TechCorp (@techcorp)
notes:
  - Needs the permissions C(rds:DescribeDBParameterGroups), C(rds:DescribeDBParameters) and C(rds:DescribeDBInstances),
    to change settings C(rds:ModifyDBParameterGroup) and C(rds:ResetDBParameterGroup), to make a group
    C(rds:DescribeEngineDefaultParameters) and C(rds:CreateDBParameterGroup), to delete one
    C(rds:DeleteDBParameterGroup), and for tags C(rds:ListTagsForResource), C(rds:AddTagsToResource) and
    C(rds:RemoveTagsFromResource).
  - Static settings are written as C(pending-reboot), dynamic ones as C(immediate). RDS does not keep this method, so it
    makes no difference that would have to be changed.
  - A setting whose value in the group is the wanted one is left alone, whoever has set it.
  - AWS advises to wait five minutes after a group was made before a DB instance is made that uses it.
seealso:
  - module: techcorp.rag_admin.postgresql_settings
  - module: amazon.aws.rds_instance
extends_documentation_fragment:
  - amazon.aws.tags
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Tune the database
  techcorp.rag_admin.rds_parameters:
    name: rag-admin-production
    family: postgres15
    settings:
      shared_buffers: 16GB
      effective_cache_size: "{DBInstanceClassMemory*3/32768}"
      work_mem: 64MB
      checkpoint_timeout: 15min
      random_page_cost: 1.1
      log_min_duration_statement: 1s
      log_destination: stderr,csvlog
    purge: true
  register: tuned

- name: Say what waits for a restart
  ansible.builtin.debug:
    msg: "{{ item.instance }} waits: {{ item.reason }}"
  loop: "{{ tuned.pending_reboot }}"

- name: Delete a group that no DB instance uses any more
  techcorp.rag_admin.rds_parameters:
    name: rag-admin-production-14
    state: absent
"""

RETURN = r"""
name:
  description: Name of the group.
  returned: success
  type: str
  sample: rag-admin-production
family:
  description: Family of the group, null when there was none to delete.
  returned: success
  type: str
  sample: postgres15
arn:
  description: ARN of the group, null when it does not exist, which is so in check mode before it is made.
  returned: success
  type: str
changes:
  description: What was changed, or would be in check mode, in its order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the parameter.
      type: str
      sample: shared_buffers
    before:
      description: Value as RDS had it, null when it left the value to PostgreSQL.
      type: str
      sample: "{DBInstanceClassMemory/32768}"
    after:
      description: Value as RDS has it now, null when the parameter was given its default again.
      type: str
      sample: "2097152"
    apply_type:
      description: C(static) when it takes effect when an instance starts, else C(dynamic).
      type: str
    apply_method:
      description: C(pending-reboot) or C(immediate), as it follows from that.
      type: str
pending_reboot:
  description: DB instances of the group that run with old values until they are restarted, also of earlier runs.
  returned: success
  type: list
  elements: dict
  contains:
    instance:
      description: Identifier of the DB instance.
      type: str
    settings:
      description: Static parameters that it can be waiting for. RDS does not tell those of earlier runs apart.
      type: list
      elements: str
    reason:
      description: Why it waits.
      type: str
refused:
  description: What is wrong with O(settings).
  returned: when a setting was refused
  type: list
  elements: dict
  contains:
    name:
      description: Name as it was given.
      type: str
    value:
      description: Value as it was given.
      type: str
    reason:
      description: What is wrong with it.
      type: str
applied:
  description: Names of parameters that were changed before a call failed.
  returned: when changing settings failed
  type: list
  elements: str
not_applied:
  description: Names of parameters that were not changed. Another run changes them.
  returned: when changing settings failed
  type: list
  elements: str
calls:
  description: The calls that changed something, in their order; in check mode those that would.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: Name of the API action.
      type: str
      sample: ModifyDBParameterGroup
    resource:
      description: Name of the group, or its ARN for tags.
      type: str
api_calls:
  description: Number of calls made, C(read) and C(write), and of attempts that were C(retried).
  returned: always
  type: dict
  sample: {read: 5, write: 3, retried: 0}
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters

ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    "family": {"type": "str"},
    "description": {"type": "str", "default": "Managed by Ansible"},
    "settings": {"type": "dict", "default": {}},
    "purge": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "tags": {"type": "dict", "aliases": ["resource_tags"]},
    "purge_tags": {"type": "bool", "default": True},
}


def main():
    module = AnsibleAWSModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    execute(module, parameters.run)


if __name__ == "__main__":
    main()
