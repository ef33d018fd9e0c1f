#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alb_target_health
short_description: Wait until target groups are healthy and stay so
version_added: "1.0.0"
description:
  - Polls each target group with one call, however many targets it has, at most once in two seconds on average.
  - Is content when enough targets of every group are healthy, in several polls on end.
  - Fails at once when waiting cannot help, that is when a group is empty or not attached to any listener or rule, when
    its health checks are off, or when too few targets are left because instances are stopped or lie in an Availability
    Zone that the load balancer does not use. A group that was attached a moment ago gets up to thirty seconds to be in
    use.
options:
  target_groups:
    description:
      - ARNs of the target groups.
    type: list
    elements: str
    required: true
  min_healthy:
    description:
      - How many targets have to be healthy in each group.
    type: int
    default: 1
  min_healthy_percent:
    description:
      - How many percent of its targets have to be healthy as well. Targets that drain do not count.
    type: int
    default: 100
  stable_polls:
    description:
      - In how many polls on end.
    type: int
    default: 3
  interval:
    description:
      - Seconds between two polls. It is raised to two seconds for each target group.
    type: float
    default: 5.0
  timeout:
    description:
      - Seconds to wait at most.
    type: float
    default: 300.0
attributes:
  check_mode:
    description: Reads each group once, does not wait, and claims no success.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
author:
  - TechCorp (@techcorp)
notes:
  - Needs the permissions C(elasticloadbalancing:DescribeTargetHealth) and, to say why a group is not in use,
    C(elasticloadbalancing:DescribeTargetGroups), and C(s3:GetObject) and C(s3:PutObject) for O(fence).
  - The calls for O(fence) are not in RV(api_calls).
seealso:
  - module: techcorp.rag_admin.alb_targets
extends_documentation_fragment:
  - techcorp.rag_admin.rollout_fence.lease
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Wait until all targets of green are healthy
  techcorp.rag_admin.alb_target_health:
    target_groups:
      - arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/rag-admin-green/2453ed029918f21f

- name: Require two healthy targets and nine of ten
  techcorp.rag_admin.alb_target_health:
    target_groups:
      - arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/rag-admin-green/2453ed029918f21f
    min_healthy: 2
    min_healthy_percent: 90
    timeout: 120
"""

RETURN = r"""
stable:
  description: Whether the demand was met in O(stable_polls) polls on end. Always false in check mode.
  returned: success
  type: bool
groups:
  description: What was read last, by the ARN of the target group.
  returned: success, or when the demand is not met
  type: dict
  contains:
    healthy:
      description: Number of healthy targets.
      type: int
    total:
      description: Number of targets without those that drain.
      type: int
    required:
      description: Number of targets that have to be healthy.
      type: int
    met:
      description: Whether they were in the last poll.
      type: bool
    hopeless:
      description: Targets that waiting does not help, in the form of C(targets).
      type: list
      elements: dict
    out_of_reach:
      description: Whether the demand cannot be met by the other targets.
      type: bool
    unattached:
      description: Whether no target is in use because no listener or rule forwards to the group.
      type: bool
    targets:
      description: All targets, with C(id), C(port), C(state), C(reason) and C(description).
      type: list
      elements: dict
polls:
  description: Number of polls.
  returned: success
  type: int
  sample: 4
waited:
  description: Seconds until the last poll.
  returned: success
  type: float
  sample: 15.2
owner:
  description: Who holds the lease of the rollout now; null when nobody does.
  returned: when the lease was lost
  type: dict
lease_lost:
  description: True. Unlike RV(owner) it always has a value.
  returned: when the lease was lost
  type: bool
calls:
  description: Always empty.
  returned: always
  type: list
  elements: dict
api_calls:
  description: Number of calls made, C(read) and C(write), and of attempts that were C(retried).
  returned: always
  type: dict
  sample: {read: 4, write: 0, retried: 0}
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import health
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.fence import LEASE

ARGUMENT_SPEC = {
    "target_groups": {"type": "list", "elements": "str", "required": True},
    "min_healthy": {"type": "int", "default": 1},
    "min_healthy_percent": {"type": "int", "default": 100},
    "stable_polls": {"type": "int", "default": 3},
    "interval": {"type": "float", "default": 5.0},
    "timeout": {"type": "float", "default": 300.0},
    "fence": LEASE,
}


def main():
    module = AnsibleAWSModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    execute(module, health.run)


if __name__ == "__main__":
    main()
