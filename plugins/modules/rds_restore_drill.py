#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_restore_drill
short_description: Prove a backup of an RDS DB instance by restoring it
version_added: "1.0.0"
description:
  - Restores a snapshot, or the instance as it was at a time, into a temporary instance that is not publicly accessible
    and has security, subnet and parameter groups of the drill's own. Proves it through connections, by the same
    judgement as M(techcorp.rag_admin.database_proof), and deletes it whatever came of it.
  - Reads every table and index with the extension C(amcheck), follows the chain of beats in the schema
    C(restore_proof), compares checksums of tables and the revision of the schema.
  - A run that was killed leaves its instance behind. The next one deletes it, and those of other drills whose O(ttl) is
    over. It deletes only instances with the tags C(drill:instance) and C(drill:expires).
  - Hold one drill of a name at a time, as a second one would take the first one's instance for a leftover.
  - Fails when the backup is not proven. RV(failures) says why.
options:
  db_instance_identifier:
    description:
      - Name of the DB instance whose backup is proven. It need not exist in the region, so that copies in another
        region can be proven too.
    type: str
    required: true
  snapshot_identifier:
    description:
      - Name or ARN of the snapshot. The newest good one is restored when this is omitted.
    type: str
    default: ""
  restore_time:
    description:
      - Restore the instance as it was at this time instead, such as V(2026-01-31T02:00:00Z), or V(latest) for the
        latest restorable time.
    type: str
    default: ""
  drill_identifier:
    description:
      - Name of the temporary instance. C(<instance>-drill) is used when this is omitted.
    type: str
    default: ""
  db_instance_class:
    description:
      - Class of the temporary instance. That of the instance is used when this is omitted.
    type: str
    default: ""
  vpc_security_group_ids:
    description:
      - Security groups of the temporary instance, none of which the instance itself has.
    type: list
    elements: str
    required: true
  db_subnet_group_name:
    description:
      - Subnet group of the temporary instance.
    type: str
    required: true
  db_parameter_group_name:
    description:
      - Parameter group of the temporary instance.
    type: str
    required: true
  ttl:
    description:
      - For how long the temporary instance may exist, such as V(6h). After that any drill in the region deletes it.
    type: str
    default: 6h
  max_age:
    description:
      - How old the newest snapshot or the latest restorable time may be, such as V(25h).
    type: str
    default: 25h
  login_user:
    description:
      - User to connect as, who may create the extension C(amcheck), that is one with C(rds_superuser).
    type: str
    required: true
  login_password:
    description:
      - The user's password at the time of the backup.
    type: str
    required: true
  login_db:
    description:
      - Database that has the schema C(restore_proof), the tables and Alembic's version.
    type: str
    required: true
  ssl_mode:
    description:
      - How connections are encrypted, as libpq's C(sslmode).
    type: str
    choices: [disable, require, verify-ca, verify-full]
    default: verify-full
  ca_cert:
    description:
      - File with the certificates of the authorities that sign those of RDS.
    type: path
  record:
    description:
      - Before the restore, connect to the live instance when it is in this region, have the schema C(restore_proof)
        there, and record what a copy has to hold. Without it the copy is judged by what it says of itself.
    type: bool
    default: true
  rpo:
    description:
      - How many seconds before the snapshot was taken the newest beat in it may be.
    type: float
    default: 300
  wait_timeout:
    description:
      - Seconds to wait for the restored instance at most.
    type: int
    default: 3600
attributes:
  check_mode:
    description: Sees whether everything that the drill needs is there, and returns the calls that it would make.
    support: full
  diff_mode:
    description: Nothing stays.
    support: none
author:
  - TechCorp (@techcorp)
requirements:
  - psycopg2 on the controller
notes:
  - Needs the permissions C(rds:DescribeDBInstances), C(rds:DescribeDBSnapshots), C(rds:DescribeDBSubnetGroups),
    C(rds:DescribeDBParameterGroups), C(rds:RestoreDBInstanceFromDBSnapshot), C(rds:RestoreDBInstanceToPointInTime),
    C(rds:DeleteDBInstance), C(rds:AddTagsToResource) and C(ec2:DescribeSecurityGroups), and C(kms:DescribeKey),
    C(kms:CreateGrant) and C(kms:Decrypt) on the key of an encrypted backup. Limit C(rds:DeleteDBInstance) to instances
    with the tag C(drill:instance).
  - Something has to call C(restore_proof.beat()) in the live database regularly, such as the extension C(pg_cron).
    Only backups that were taken since then can be proven.
seealso:
  - module: techcorp.rag_admin.rds_backup
  - module: techcorp.rag_admin.database_proof
extends_documentation_fragment:
  - techcorp.rag_admin.restore_proof
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Prove the newest snapshot
  techcorp.rag_admin.rds_restore_drill:
    db_instance_identifier: rag-admin
    region: us-west-2
    vpc_security_group_ids: [sg-0123456789abcdef0]
    db_subnet_group_name: rag-admin-drill
    db_parameter_group_name: rag-admin-drill
    login_user: rag_admin_master
    login_password: "{{ database_master_password }}"
    login_db: rag_admin
    ca_cert: /etc/ssl/rds-global-bundle.pem

- name: Prove the copy in the region of the disaster recovery
  techcorp.rag_admin.rds_restore_drill:
    db_instance_identifier: rag-admin
    region: us-east-1
    db_instance_class: db.r6g.large
    vpc_security_group_ids: [sg-0fedcba9876543210]
    db_subnet_group_name: rag-admin-drill
    db_parameter_group_name: rag-admin-drill
    login_user: rag_admin_master
    login_password: "{{ database_master_password }}"
    login_db: rag_admin
    ca_cert: /etc/ssl/rds-global-bundle.pem

- name: Prove that any point in time can be restored
  techcorp.rag_admin.rds_restore_drill:
    db_instance_identifier: rag-admin
    restore_time: latest
    vpc_security_group_ids: [sg-0123456789abcdef0]
    db_subnet_group_name: rag-admin-drill
    db_parameter_group_name: rag-admin-drill
    login_user: rag_admin_master
    login_password: "{{ database_master_password }}"
    login_db: rag_admin
    ca_cert: /etc/ssl/rds-global-bundle.pem
"""

RETURN = r"""
verdict:
  description: V(proven), V(failed), or V(not_run) in check mode.
  returned: when a backup was found
  type: str
  sample: proven
failures:
  description: What the copy did not show, each with C(check), C(expected), C(found) and C(todo).
  returned: when a backup was found
  type: list
  elements: dict
source:
  description: ARN of the snapshot, or the point in time.
  returned: when a backup was found
  type: str
source_at:
  description: The point in time that it stands for.
  returned: when a backup was found
  type: str
  sample: "2026-01-31T02:00:00Z"
drill_identifier:
  description: Name of the temporary instance.
  returned: when a backup was found
  type: str
swept:
  description: Instances of earlier drills that were deleted, or would be in check mode.
  returned: when a backup was found
  type: list
  elements: str
reached:
  description: When the newest beat in the copy was written, in seconds since the epoch.
  returned: when a backup was found
  type: float
rpo:
  description: Seconds from that until the drill began.
  returned: when a backup was found
  type: float
rto:
  description: Seconds from the call that restored until the copy was proven, those of the proof with them.
  returned: when a backup was found
  type: float
rows:
  description: Rows that checksums were taken of.
  returned: when a backup was found
  type: int
bytes:
  description: Size of the databases.
  returned: when a backup was found
  type: int
orphan:
  description: Name of an instance that could not be deleted.
  returned: when there is one
  type: str
calls:
  description: The calls that changed something, in their order; in check mode those that would.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: Name of the API action.
      type: str
      sample: RestoreDBInstanceFromDBSnapshot
    resource:
      description: Name of the instance.
      type: str
api_calls:
  description: Number of calls made, C(read) and C(write), and of attempts that were C(retried).
  returned: always
  type: dict
  sample: {read: 30, write: 2, retried: 0}
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database import proof
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import drill

ARGUMENT_SPEC = {
    "db_instance_identifier": {"type": "str", "required": True},
    "snapshot_identifier": {"type": "str", "default": ""},
    "restore_time": {"type": "str", "default": ""},
    "drill_identifier": {"type": "str", "default": ""},
    "db_instance_class": {"type": "str", "default": ""},
    "vpc_security_group_ids": {"type": "list", "elements": "str", "required": True},
    "db_subnet_group_name": {"type": "str", "required": True},
    "db_parameter_group_name": {"type": "str", "required": True},
    "ttl": {"type": "str", "default": "6h"},
    "max_age": {"type": "str", "default": "25h"},
    "login_user": {"type": "str", "required": True},
    "login_password": {"type": "str", "required": True, "no_log": True},
    "login_db": {"type": "str", "required": True},
    "ssl_mode": {
        "type": "str",
        "choices": ["disable", "require", "verify-ca", "verify-full"],
        "default": "verify-full",
    },
    "ca_cert": {"type": "path"},
    "record": {"type": "bool", "default": True},
    "rpo": {"type": "float", "default": 300},
    **proof.OPTIONS,
    "wait_timeout": {"type": "int", "default": 3600},
}


def main():
    module = AnsibleAWSModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
    )
    execute(module, drill.run)


if __name__ == "__main__":
    main()
