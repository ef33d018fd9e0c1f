#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alb_targets
short_description: Register and deregister the targets of a target group
version_added: "1.0.0"
description:
  - Makes one call for the whole list of targets.
  - A target that drains counts as absent. It is registered again when it is to be present, and not deregistered twice.
options:
  target_group:
    description:
      - Name or ARN of the target group.
    type: str
    required: true
  targets:
    description:
      - The targets. With O(purge=true) and an empty list, all are deregistered.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description:
          - Instance ID or address, as the type of the target group asks.
        type: str
        required: true
      port:
        description:
          - Port of the target. The target group's port is used when this is omitted.
        type: int
      availability_zone:
        description:
          - Availability Zone of an address, V(all) for one outside the VPC of the target group.
        type: str
  state:
    description:
      - Whether the targets are registered.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - With O(state=present), deregister targets that O(targets) does not name.
    type: bool
    default: false
  forwards:
    description:
      - ARNs of listeners, whose default action is meant, and of listener rules.
      - With O(purge=true), nothing is changed when targets would be deregistered while one of these sends traffic to
        the target group.
    type: list
    elements: str
    default: []
  wait:
    description:
      - With O(state=present), wait until the targets are healthy, or unused because no load balancer uses the target
        group.
      - With O(state=absent), wait until they are gone, that is for the deregistration delay of the target group.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait at most.
    type: int
    default: 330
attributes:
  check_mode:
    description: Returns the diff and the calls that the real run would make. It does not wait.
    support: full
  diff_mode:
    description: Returns the registered targets before and after.
    support: full
author:
  - TechCorp (@techcorp)
notes:
  - Needs the permissions C(elasticloadbalancing:DescribeTargetGroups), C(elasticloadbalancing:DescribeTargetHealth),
    C(elasticloadbalancing:RegisterTargets) and C(elasticloadbalancing:DeregisterTargets), for O(forwards)
    C(elasticloadbalancing:DescribeListeners) and C(elasticloadbalancing:DescribeRules), and for O(fence), which is also
    prolonged when it is near its end, C(s3:GetObject) and C(s3:PutObject).
  - The calls for O(fence) are not in RV(calls) and RV(api_calls).
seealso:
  - module: techcorp.rag_admin.alb_target_health
extends_documentation_fragment:
  - techcorp.rag_admin.rollout_fence
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Register the hosts of green, and no others
  techcorp.rag_admin.alb_targets:
    target_group: rag-admin-green
    targets:
      - id: 10.0.1.21
        port: 8000
      - id: 10.0.1.22
        port: 8000
    purge: true

- name: Drain one host and wait until its requests are finished
  techcorp.rag_admin.alb_targets:
    target_group: rag-admin-green
    targets:
      - id: 10.0.1.21
        port: 8000
    state: absent
    wait: true
"""

RETURN = r"""
target_group_arn:
  description: ARN of the target group.
  returned: success
  type: str
registered:
  description: Targets that this run registered, or would in check mode.
  returned: success
  type: list
  elements: dict
  sample: [{id: 10.0.1.21, port: 8000, availability_zone: null}]
deregistered:
  description: Targets that this run deregistered, or would in check mode.
  returned: success
  type: list
  elements: dict
  sample: [{id: 10.0.1.11, port: 8000}]
targets:
  description: All targets as they were read last, that is after a wait, and otherwise before the change.
  returned: success, or when the wait is over
  type: list
  elements: dict
  contains:
    id:
      description: Instance ID or address.
      type: str
    port:
      description: Port.
      type: int
    state:
      description: State as AWS calls it.
      type: str
      sample: healthy
    reason:
      description: AWS's reason code; null when there is none.
      type: str
    description:
      description: AWS's explanation; null when there is none.
      type: str
owner:
  description: Who holds the lease of the rollout now; null when nobody does.
  returned: when the lease was lost
  type: dict
lease_lost:
  description: True. Unlike RV(owner) it always has a value.
  returned: when the lease was lost
  type: bool
calls:
  description: The calls that changed something, in their order; in check mode those that would.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: Name of the API action.
      type: str
      sample: RegisterTargets
    resource:
      description: ARN of the target group.
      type: str
api_calls:
  description: Number of calls made, C(read) and C(write), and of attempts that were C(retried).
  returned: always
  type: dict
  sample: {read: 2, write: 1, retried: 0}
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import targets
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.fence import FENCE

ARGUMENT_SPEC = {
    "target_group": {"type": "str", "required": True},
    "targets": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "id": {"type": "str", "required": True},
            "port": {"type": "int"},
            "availability_zone": {"type": "str"},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    "forwards": {"type": "list", "elements": "str", "default": []},
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 330},
    "fence": FENCE,
}


def main():
    module = AnsibleAWSModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    execute(module, targets.run)


if __name__ == "__main__":
    main()
