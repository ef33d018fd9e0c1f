#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_backup
short_description: Take, copy, verify and prune snapshots of an RDS DB instance
version_added: "1.0.0"
description:
  - Takes a manual snapshot, copies it to another region with a key of that region, verifies both, and then deletes
    those of its own that are too old.
  - Snapshot and copy are called C(<instance>-backup-<stamp>). A run that finds them goes on with them, so a run that
    was interrupted is finished by running again, and nothing is made twice.
  - A copy that an earlier run could not make is made by a later one. Copies begin with the first backup for which
    O(copy) is given; older snapshots are not copied.
  - A snapshot or copy that failed is deleted and made once more.
  - A busy instance, the limit of 100 snapshots and the limit of 20 copies in progress are waited for. At a limit, what
    is too old is deleted at once instead of at the end.
  - A snapshot is deleted only when it has the name and the tags that this module gives, is too old, and is neither
    held by the tag C(backup:hold) (with any value but V(false) or V(no)), nor shared with another account, nor being
    made, nor the source of a copy that runs or is still to be made, nor the newest good one of its database. Automated
    snapshots, final ones and those that somebody else made are never touched.
  - Age is counted back from the newest good backup, not from now. While backups fail, nothing grows too old.
options:
  db_instance_identifier:
    description:
      - Name of the DB instance.
    type: str
    required: true
  stamp:
    description:
      - What tells this backup from the instance's others, of lower-case letters, digits and single hyphens.
      - The date in UTC, as AWS's clock has it, is used when this is omitted. Give it where C(until) runs the module
        again and again, because a loop that goes on past midnight would begin the next day's backup.
      - A run that finds the snapshot of its day, older than 20 hours, warns that it took none.
    type: str
    default: ""
  retention_days:
    description:
      - Backups of the day of the newest one and of so many days before it stay in the instance's region.
    type: int
    default: 30
  copy:
    description:
      - Where to copy it. It is not copied when this is omitted.
    type: dict
    suboptions:
      region:
        description:
          - The other region.
        type: str
        required: true
      kms_key_id:
        description:
          - ARN, ID or alias of a KMS key of that region.
        type: str
        required: true
      retention_days:
        description:
          - As O(retention_days), for the copies.
        type: int
        default: 30
  tags:
    description:
      - Tags of a new snapshot and its copy, beside the instance's own and this module's. Those of AWS, which begin with
        C(aws:), are not taken over. An instance's tags that exceed the 50 of a snapshot are left out.
    type: dict
    default: {}
  wait:
    description:
      - Wait until the backup is complete. Otherwise the run does what can be done at once and says in RV(pending)
        whether another one has to follow, which is how C(until) shows progress and survives interruption.
      - What is too old is deleted by the run that finds everything complete.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait at most. Copies to another region can take hours.
    type: int
    default: 7200
attributes:
  check_mode:
    description:
      - Returns the calls that the real run would make and the snapshots that it would delete, provided that no
        snapshot or copy fails. It does not wait.
    support: full
  diff_mode:
    description: What it deletes is in RV(deleted).
    support: none
author:
  - TechCorp (@techcorp)
notes:
  - Needs the permissions C(rds:DescribeDBInstances), C(rds:DescribeDBSnapshots), C(rds:DescribeDBSnapshotAttributes),
    C(rds:CreateDBSnapshot), C(rds:DeleteDBSnapshot) and C(rds:AddTagsToResource) in the instance's region, and for
    O(copy) C(rds:CopyDBSnapshot) in both regions, all but the first and C(rds:CreateDBSnapshot) in the other one too,
    and there C(kms:DescribeKey), C(kms:CreateGrant), C(kms:Encrypt), C(kms:Decrypt), C(kms:ReEncrypt*) and
    C(kms:GenerateDataKey*) on the key. When the instance is encrypted, its own key needs C(kms:DescribeKey),
    C(kms:CreateGrant) and C(kms:Decrypt).
  - Nothing is deleted when the instance no longer exists. Its last backups stay until somebody deletes them.
  - A backup counts when it has been restored.
seealso:
  - module: techcorp.rag_admin.rds_restore_drill
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Back up, copy to the region of the disaster recovery, and prune
  techcorp.rag_admin.rds_backup:
    db_instance_identifier: rag-admin
    region: us-west-2
    retention_days: 30
    copy:
      region: us-east-1
      kms_key_id: alias/rag-admin-backups
      retention_days: 30

- name: The same, with a line of progress a minute
  techcorp.rag_admin.rds_backup:
    db_instance_identifier: rag-admin
    region: us-west-2
    stamp: "{{ now(utc=true).strftime('%Y-%m-%d') }}" # worked out once, before the first try
    copy:
      region: us-east-1
      kms_key_id: alias/rag-admin-backups
    wait: false
  register: backup
  until: not backup.pending
  delay: 60
  retries: 240

- name: Keep a backup for good, before a risky change
  techcorp.rag_admin.rds_backup:
    db_instance_identifier: rag-admin
    stamp: before-upgrade-17
    tags:
      backup:hold: upgrade to PostgreSQL 17
"""

RETURN = r"""
pending:
  description: Whether another run has to complete the backup.
  returned: success, or when the wait is over
  type: bool
waiting_for:
  description: What is not complete yet, with AWS's progress or refusal.
  returned: success, or when the wait is over
  type: list
  elements: str
  sample: ["arn:aws:rds:us-east-1:123456789012:snapshot:rag-admin-backup-2026-01-31: creating 40 %"]
snapshot:
  description: The snapshot as it was read last; null when there is none yet.
  returned: success, or when the wait is over
  type: dict
  contains: &described
    identifier:
      description: Its name.
      type: str
    arn:
      description: Its ARN.
      type: str
    status:
      description: Status as AWS calls it.
      type: str
      sample: available
    progress:
      description: Per cent of its data that are written.
      type: int
    created:
      description: When the data in it were read.
      type: str
      sample: "2026-01-31T02:00:00+00:00"
    size:
      description: GiB of the instance's storage.
      type: int
    encrypted:
      description: Whether it is encrypted.
      type: bool
    kms_key_id:
      description: ARN of its key; null when it has none.
      type: str
    tags:
      description: Its tags.
      type: dict
snapshot_copy:
  description: Its copy, as RV(snapshot); null when there is none.
  returned: success, or when the wait is over
  type: dict
  contains: *described
deleted:
  description: Snapshots that this run deleted, or would in check mode.
  returned: success, or when the wait is over
  type: list
  elements: dict
  contains:
    identifier:
      description: Name of the snapshot.
      type: str
    region:
      description: Its region.
      type: str
    created:
      description: When the data in it were read; null when AWS does not say.
      type: str
    reason:
      description: Why.
      type: str
      sample: older than 30 days
kept:
  description: Snapshots that stay for another reason than their age.
  returned: success, or when the wait is over
  type: list
  elements: dict
  contains:
    identifier:
      description: Name of the snapshot.
      type: str
    region:
      description: Its region.
      type: str
    reason:
      description: Why.
      type: str
      sample: held by its tag
restorable:
  description: The newest point that can be restored, for each region, the instance's first.
  returned: success, or when the wait is over
  type: list
  elements: dict
  contains:
    region:
      description: The region.
      type: str
    snapshot:
      description: Name of the newest good snapshot, whoever made it; null when there is none.
      type: str
    at:
      description: When the data in it were read.
      type: str
    point_in_time:
      description: The latest time that automated backups can restore; left out where there are none.
      type: str
    age:
      description: Seconds from the later of these until this run began, which is the RPO; null when there is neither.
      type: int
calls:
  description: The calls that changed something, in their order; in check mode those that would.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: Name of the API action.
      type: str
      sample: CreateDBSnapshot
    resource:
      description: Name of the snapshot.
      type: str
api_calls:
  description: Number of calls made, C(read) and C(write), and of attempts that were C(retried).
  returned: always
  type: dict
  sample: {read: 5, write: 2, retried: 0}
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import backup

ARGUMENT_SPEC = {
    "db_instance_identifier": {"type": "str", "required": True},
    "stamp": {"type": "str", "default": ""},
    "retention_days": {"type": "int", "default": 30},
    "copy": {
        "type": "dict",
        "options": {
            "region": {"type": "str", "required": True},
            "kms_key_id": {"type": "str", "required": True},
            "retention_days": {"type": "int", "default": 30},
        },
    },
    "tags": {"type": "dict", "default": {}},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 7200},
}


def main():
    module = AnsibleAWSModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    execute(module, backup.run)


if __name__ == "__main__":
    main()
