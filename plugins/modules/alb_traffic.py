#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alb_traffic
short_description: Declare how an Application Load Balancer divides requests between target groups
version_added: "1.0.0"
description:
  - Sets the weights of the forward action of listeners (their default action) and of listener rules.
  - It owns the weights of the named target groups and, when declared, the stickiness. Everything else in the list of
    actions stays as it is, such as C(authenticate-oidc) actions and their order.
  - Target groups in the action that O(weights) does not name stay when their weight is 0, and stop the module when they
    carry traffic.
  - Several listeners and rules move as one. When one fails, those already moved are put back, and the failure says
    which.
  - Before it returns, what was written is read back.
options:
  arns:
    description:
      - ARNs of listeners, whose default action is meant, and of listener rules.
      - Required with O(weights).
    type: list
    elements: str
  weights:
    description:
      - Weight of each target group by its ARN, an integer from 0 to 999.
      - A target group that the action does not have yet is added, also at 0; an action has at most five.
    type: dict
  expected_weights:
    description:
      - The weights that are live now, in the same form as O(weights). Only the proportions count.
      - When an action has neither these weights nor those in O(weights), somebody else changed it, and the module fails
        before it writes anything.
    type: dict
  stickiness:
    description:
      - Target group stickiness of the forward action. It stays as it is when this is omitted.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether a client stays with the target group that served it first. Such clients do not follow new weights.
        type: bool
        required: true
      duration:
        description:
          - For how many seconds, from 1 to 604800. Required when O(stickiness.enabled=true).
        type: int
  restore:
    description:
      - Puts recorded actions back. One call is made for each entry, without reading anything from the load balancer
        before it and with retries that end after seconds, so it is the way to roll back.
      - All entries are tried even when one fails.
      - When the fence cannot be read, this goes on with a warning; when it names another owner, this fails.
      - The call is made whatever the weights are, so the result is always changed.
    type: list
    elements: dict
    suboptions:
      arn:
        description:
          - ARN of the listener or listener rule.
        type: str
        required: true
      actions:
        description:
          - The whole list of actions as RV(techcorp.rag_admin.alb_traffic_info#module:forwards) holds it.
        type: list
        elements: dict
        required: true
attributes:
  check_mode:
    description: Returns the diff and the calls that the real run would make, and makes none that changes something.
    support: full
  diff_mode:
    description: Returns weights and stickiness by ARN. With O(restore) nothing is known of the time before.
    support: full
author:
  - TechCorp (@techcorp)
notes:
  - Needs the permissions C(elasticloadbalancing:DescribeRules), C(elasticloadbalancing:DescribeListeners),
    C(elasticloadbalancing:ModifyRule) and C(elasticloadbalancing:ModifyListener), and C(s3:GetObject) and
    C(s3:PutObject) for O(fence), which is also prolonged when it is near its end.
  - The calls for O(fence) are not in RV(calls) and RV(api_calls).
seealso:
  - module: techcorp.rag_admin.alb_traffic_info
  - module: techcorp.rag_admin.alb_target_health
  - module: techcorp.rag_admin.rollout
extends_documentation_fragment:
  - techcorp.rag_admin.rollout_fence
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Read what the load balancer does now
  techcorp.rag_admin.alb_traffic_info:
    load_balancer: rag-admin
    listeners:
      - port: 443
    target_groups:
      blue: rag-admin-blue
      green: rag-admin-green
  register: traffic

- name: Attach green without traffic, so that its health is checked
  techcorp.rag_admin.alb_traffic:
    arns: "{{ traffic.forwards | map(attribute='arn') }}"
    weights: "{{ {traffic.target_groups.blue.arn: 100, traffic.target_groups.green.arn: 0} }}"

- name: Send one request in ten to green, unless somebody else changed the weights
  techcorp.rag_admin.alb_traffic:
    arns: "{{ traffic.forwards | map(attribute='arn') }}"
    weights: "{{ {traffic.target_groups.blue.arn: 90, traffic.target_groups.green.arn: 10} }}"
    expected_weights: "{{ {traffic.target_groups.blue.arn: 100, traffic.target_groups.green.arn: 0} }}"
    stickiness:
      enabled: false

- name: Put back at once what was there before
  techcorp.rag_admin.alb_traffic:
    restore:
      - arn: "{{ traffic.forwards[0].arn }}"
        actions: "{{ traffic.forwards[0].actions }}"
"""

RETURN = r"""
forwards:
  description: What each listener or rule forwards to after this run, or would in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    arn:
      description: ARN of the listener or rule.
      type: str
      sample: arn:aws:elasticloadbalancing:us-west-2:123456789012:listener/app/rag-admin/50dc6c495c/f2f7dc8efc
    weights:
      description: Weight by target group ARN, with those that were not named.
      type: dict
    stickiness:
      description: Whether stickiness is C(enabled), and its C(duration) in seconds.
      type: dict
      sample: {enabled: false, duration: null}
verified:
  description: With O(restore), whether what was put back was read back too. If not, a warning says what was read
    instead. False in check mode.
  returned: when O(restore) is given
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
      sample: ModifyListener
    resource:
      description: ARN that it changed.
      type: str
api_calls:
  description: Number of calls made, C(read) and C(write), and of attempts that were C(retried).
  returned: always
  type: dict
  sample: {read: 2, write: 1, retried: 0}
put_back:
  description: ARNs that had been moved when another one failed, and that were put back.
  returned: when one of several failed
  type: list
  elements: str
not_put_back:
  description: ARNs that had been moved when another one failed, and that could not be put back.
  returned: when one of several failed
  type: list
  elements: str
restored:
  description: ARNs whose actions were put back although others failed.
  returned: when a part of O(restore) failed
  type: list
  elements: str
remaining:
  description: ARNs whose actions could not be put back.
  returned: when a part of O(restore) failed
  type: list
  elements: str
unanswered:
  description: Those of RV(remaining) where no answer came, so that they may have been put back.
  returned: when a part of O(restore) failed
  type: list
  elements: str
foreign_writer:
  description: Weights that somebody else wrote. Not returned when O(weights) were accepted but the earlier ones still
    show.
  returned: when somebody else changed the weights
  type: dict
owner:
  description: Who holds the lease of the rollout now; null when nobody does.
  returned: when the lease was lost
  type: dict
lease_lost:
  description: True. Unlike RV(owner) it always has a value.
  returned: when the lease was lost
  type: bool
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import traffic
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.fence import FENCE

ARGUMENT_SPEC = {
    "arns": {"type": "list", "elements": "str"},
    "weights": {"type": "dict"},
    "expected_weights": {"type": "dict"},
    "stickiness": {
        "type": "dict",
        "options": {"enabled": {"type": "bool", "required": True}, "duration": {"type": "int"}},
    },
    "restore": {
        "type": "list",
        "elements": "dict",
        "options": {
            "arn": {"type": "str", "required": True},
            "actions": {"type": "list", "elements": "dict", "required": True},
        },
    },
    "fence": FENCE,
}


def main():
    module = AnsibleAWSModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("weights", "restore")],
        required_together=[("arns", "weights")],
        mutually_exclusive=[("restore", "arns"), ("restore", "expected_weights"), ("restore", "stickiness")],
    )
    execute(module, traffic.run)


if __name__ == "__main__":
    main()
