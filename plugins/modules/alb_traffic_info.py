#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alb_traffic_info
short_description: Read how an Application Load Balancer divides requests between target groups
version_added: "1.0.0"
description:
  - Reads the forward actions of listeners and rules, their target groups, and the health of every target.
  - Says which of the target groups, usually two colours, is live. With O(validate) it refuses what could not be moved.
  - The number of calls depends neither on the number of targets nor, page limits aside, on the number of rules.
options:
  load_balancer:
    description:
      - Name or ARN of the load balancer.
    type: str
    required: true
  listeners:
    description:
      - The listeners whose forwards are read.
    type: list
    elements: dict
    required: true
    suboptions:
      port:
        description:
          - Port of the listener.
        type: int
        required: true
      priorities:
        description:
          - Priorities of the rules to read. The listener's default action is read when there are none.
        type: list
        elements: int
        default: []
  target_groups:
    description:
      - Name or ARN of each target group, by the colour (or any other word) that it is called.
    type: dict
    required: true
  validate:
    description:
      - Fail when traffic could not be moved between these target groups, saying everything that is wrong.
      - That is a listener or rule that does not exist or does not forward, target groups that differ in protocol,
        protocol version or target type, or lie outside the load balancer's VPC, another target group that carries
        traffic, and more than five target groups in an action.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reads the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
author:
  - TechCorp (@techcorp)
notes:
  - Needs the permissions C(elasticloadbalancing:DescribeLoadBalancers), C(elasticloadbalancing:DescribeListeners),
    C(elasticloadbalancing:DescribeRules), C(elasticloadbalancing:DescribeTargetGroups),
    C(elasticloadbalancing:DescribeTargetGroupAttributes) and C(elasticloadbalancing:DescribeTargetHealth).
seealso:
  - module: techcorp.rag_admin.alb_traffic
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Read which colour is live
  techcorp.rag_admin.alb_traffic_info:
    load_balancer: rag-admin
    listeners:
      - port: 443
    target_groups:
      blue: rag-admin-blue
      green: rag-admin-green
  register: traffic

- name: Require two rules and the default action to be ready for a rollout
  techcorp.rag_admin.alb_traffic_info:
    load_balancer: rag-admin
    listeners:
      - port: 443
      - port: 443
        priorities: [10, 20]
    target_groups:
      blue: rag-admin-blue
      green: rag-admin-green
    validate: true
"""

RETURN = r"""
load_balancer:
  description: The load balancer.
  returned: success
  type: dict
  contains:
    arn:
      description: ARN.
      type: str
    name:
      description: Name.
      type: str
      sample: rag-admin
    dns_name:
      description: Name under which clients reach it.
      type: str
    vpc_id:
      description: The VPC it lies in.
      type: str
    scheme:
      description: V(internet-facing) or V(internal).
      type: str
forwards:
  description: The forward actions, in the order of O(listeners).
  returned: success
  type: list
  elements: dict
  contains:
    arn:
      description: ARN of the listener or of the rule.
      type: str
    kind:
      description: V(listener) for a default action, or V(rule).
      type: str
    port:
      description: Port of the listener.
      type: int
    priority:
      description: Priority of the rule; null for a default action.
      type: int
    actions:
      description: The whole list of actions as AWS returned it, for O(techcorp.rag_admin.alb_traffic#module:restore).
      type: list
      elements: dict
    weights:
      description: Weight by target group ARN; empty when the action does not forward.
      type: dict
    stickiness:
      description: Whether stickiness is C(enabled), and its C(duration) in seconds.
      type: dict
      sample: {enabled: true, duration: 3600}
target_groups:
  description: The target groups by colour.
  returned: success
  type: dict
  contains:
    arn:
      description: ARN.
      type: str
    name:
      description: Name.
      type: str
    vpc_id:
      description: The VPC it lies in.
      type: str
    protocol:
      description: Protocol to the targets.
      type: str
      sample: HTTP
    protocol_version:
      description: V(HTTP1), V(HTTP2) or V(GRPC).
      type: str
    port:
      description: Port of targets that name none.
      type: int
    target_type:
      description: V(instance), V(ip) or V(lambda).
      type: str
    deregistration_delay:
      description: Seconds that a target drains.
      type: int
    attached:
      description: Whether all the forwards name it, at whatever weight.
      type: bool
    weight:
      description: Its weight, 0 when it is not attached; null when the forwards do not agree.
      type: int
    targets:
      description: All targets, with those that drain.
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
    healthy:
      description: Number of healthy targets.
      type: int
    total:
      description: Number of targets without those that drain.
      type: int
live_color:
  description: The one colour that has all the weight in every forward; null when traffic is split or goes elsewhere.
  returned: success
  type: str
  sample: blue
consistent:
  description: Whether all the forwards divide traffic alike.
  returned: success
  type: bool
empty:
  description: Whether the target groups that have weight have no targets, as before a first deployment.
  returned: success
  type: bool
problems:
  description: Why traffic could not be moved, as sentences. With O(validate) they are a failure.
  returned: success, or when O(validate) fails
  type: list
  elements: str
calls:
  description: Always empty.
  returned: always
  type: list
  elements: dict
api_calls:
  description: Number of calls made, C(read) and C(write), and of attempts that were C(retried).
  returned: always
  type: dict
  sample: {read: 7, write: 0, retried: 0}
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import info
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute

ARGUMENT_SPEC = {
    "load_balancer": {"type": "str", "required": True},
    "listeners": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "port": {"type": "int", "required": True},
            "priorities": {"type": "list", "elements": "int", "default": []},
        },
    },
    "target_groups": {"type": "dict", "required": True},
    "validate": {"type": "bool", "default": False},
}


def main():
    module = AnsibleAWSModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    execute(module, info.run)


if __name__ == "__main__":
    main()
