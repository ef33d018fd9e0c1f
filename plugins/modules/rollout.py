#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
version_added: "1.0.0"
short_description: Keep the record and the lease of a rollout in S3
description:
  - A rollout is described by one JSON object in S3. It holds a lease (who may change traffic), the steps and where
    they are,
    the full actions from before the rollout (so that it can be taken back without looking anything up), and an audit
    trail.
  - It is only ever written on top of the very version that was read (C(If-Match), C(If-None-Match)), so of any number
    of
    controllers that begin at the same time one gets the lease and the others fail, naming it.
  - Each time the lease changes hands its token grows by one. Modules that are given the token check it before they
    change
    anything, so that a controller that lost its lease does no harm.
  - A rollout that was killed at any point can be resumed, and no step is raised without the gate of the one before it.
  - The record of the previous rollout is kept beside it under C(<key without .json>.history/<rollout_id>.json).
author:
  - TechCorp (@techcorp)
options:
  bucket:
    description: Bucket that holds the records. Versioning should be on.
    type: str
    required: true
  key:
    description:
      - Key of the record.
      - The default is C(<application>/<environment>.json).
    type: str
  state:
    description:
      - V(begun) acquires the lease and starts, resumes or takes back a rollout, or finds that there is nothing to do.
      - V(recorded) writes how far the rollout is, and renews the lease.
      - V(finished) writes how it ended, and releases the lease. Doing so twice changes nothing.
      - V(read) changes nothing.
    type: str
    choices: [begun, recorded, finished, read]
    default: read
  application:
    description:
      - Name of the application.
      - Required with O(state=begun) and when O(key) is not given.
    type: str
  environment:
    description:
      - Name of the environment.
      - Required with O(state=begun) and when O(key) is not given.
    type: str
  version:
    description:
      - Version to roll out, with O(state=begun).
      - >-
        When it is not given, the last rollout is taken back, be it unfinished, succeeded, or taken back before: unless
        O(traffic) shows that live weights are those of before it, they are restored again. One that was aborted before
        it moved anything cannot be taken back; the message says which version to deploy instead.
    type: str
  steps:
    description: Share of the traffic that the new version gets, step by step. It must rise and end at 100.
    type: list
    elements: dict
    default: [{"weight": 100}]
    suboptions:
      weight:
        description: Percent of the traffic, from 1 to 100.
        type: int
        required: true
      pause:
        description: How long the step is watched, in seconds or as V(30s), V(10m), V(1h30m).
        type: str
        default: "0"
      wait_for:
        description:
          - Whether the step is passed only when a person approves.
          - The record keeps it; the role C(blue_green) acts on it.
        type: str
        choices: [approval]
  bake:
    description: How long the old version is kept warm after the last step, in seconds or as V(30s), V(10m), V(1h30m).
    type: str
    default: "0"
  lease_ttl:
    description:
      - Seconds after which others may take the lease if it is not renewed.
      - V(recorded) renews it for as long as it was begun with, unless given here.
      - The default is 600 with O(state=begun).
    type: int
  on_unfinished:
    description:
      - What O(state=begun) does when it finds a rollout that was left unfinished and that nobody works on.
      - V(resume) goes on with it if it is of the same O(version), and fails otherwise, unless nothing had moved yet.
      - V(rollback) takes it back.
      - V(fail) fails and says what was found.
    type: str
    choices: [resume, rollback, fail]
    default: resume
  traffic:
    description:
      - What M(techcorp.rag_admin.alb_traffic_info) returned. Required with O(state=begun), except to take a rollout
        back.
      - It says which colour is live, and live weights that neither this rollout nor its rollback wrote stop it.
    type: dict
  force:
    description:
      - Take the lease even though another run holds it. That run then changes nothing more.
      - Also takes a rollout back when somebody else has written the live weights.
    type: bool
    default: false
  max_clock_skew:
    description:
      - Seconds that this machine's clock may differ from S3's. Leases are reckoned in S3's time.
      - Without O(version), when a rollout is taken back, a greater difference is only warned of.
    type: int
    default: 60
  token:
    description: The lease's token as O(state=begun) returned it. Required with V(recorded) and V(finished).
    type: int
  event:
    description: What happened, for the audit trail. Required with O(state=recorded).
    type: str
  position:
    description: >-
      Where the rollout is. It moves through the states of a step in their order, and from V(verified) to the next step.
    type: dict
    suboptions:
      step:
        description: Index into the steps; -1 is the new colour being attached without traffic.
        type: int
        required: true
      state:
        description:
          - V(intended) before weights are changed, V(applied) after, V(verified) when the gate has passed.
        type: str
        choices: [intended, applied, verified]
        required: true
  status:
    description: The rollout's status from now on. After V(rolling_back) there is no way forward.
    type: str
    choices: [preparing, shifting, baking, awaiting_approval, rolling_back]
  weights:
    description: Weights that are about to be set, by target group ARN.
    type: dict
  detail:
    description: >-
      Anything worth keeping in the audit trail, for example a gate's values. What is longer than 4 KiB is cut.
    type: raw
  release:
    description:
      - Give the lease back although the rollout is not finished, with O(state=recorded).
      - For a run that ends while a person is asked; whoever brings the answer begins again.
    type: bool
    default: false
  outcome:
    description: How the rollout ended. Required with O(state=finished).
    type: str
    choices: [succeeded, rolled_back, aborted]
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
notes:
  - Supports check mode, in which it predicts what would be written.
  - Needs botocore 1.35.69 or newer for conditional writes.
  - Needs the permissions C(s3:GetObject) and C(s3:PutObject) on the bucket's objects, and C(s3:ListBucket) on the
    bucket.
  - Taking a rollout back waits a few seconds at most for an S3 that throttles or does not answer.
  - An owner that ran on this very machine and has died is replaced at once; any other one when its lease has expired.
"""

EXAMPLES = r"""
- name: Read where traffic goes
  techcorp.rag_admin.alb_traffic_info:
    load_balancer: rag-admin
    listeners:
      - port: 443
    target_groups:
      blue: rag-admin-blue
      green: rag-admin-green
  register: traffic

- name: Begin or resume the rollout
  techcorp.rag_admin.rollout:
    state: begun
    bucket: techcorp-rag-admin-rollouts
    application: rag-admin
    environment: production
    version: 1.1.0
    steps:
      - weight: 10
        pause: 10m
      - weight: 100
    bake: 30m
    traffic: "{{ traffic }}"
  register: rollout

- name: Record that the first step is about to be made
  techcorp.rag_admin.rollout:
    state: recorded
    bucket: techcorp-rag-admin-rollouts
    application: rag-admin
    environment: production
    token: "{{ rollout.token }}"
    event: step intended
    status: shifting
    position:
      step: 0
      state: intended
    weights: "{{ rollout.steps[0].weights }}"

- name: Finish it
  techcorp.rag_admin.rollout:
    state: finished
    bucket: techcorp-rag-admin-rollouts
    application: rag-admin
    environment: production
    token: "{{ rollout.token }}"
    outcome: succeeded

- name: Begin to take the last rollout back
  techcorp.rag_admin.rollout:
    state: begun
    bucket: techcorp-rag-admin-rollouts
    application: rag-admin
    environment: production

- name: See who deploys
  techcorp.rag_admin.rollout:
    bucket: techcorp-rag-admin-rollouts
    application: rag-admin
    environment: production
"""

RETURN = r"""
rollout:
  description: The record, null when there is none. In check mode as it would be.
  returned: success
  type: dict
  contains:
    schema:
      description: Number of the record's form.
      type: int
    rollout_id:
      description: Name of the rollout.
      type: str
    application:
      description: Name of the application.
      type: str
    environment:
      description: Name of the environment.
      type: str
    version:
      description: Version that is rolled out.
      type: str
    previous_version:
      description: Version that was live before, null when it is not known.
      type: str
    status:
      description: >-
        One of V(preparing), V(shifting), V(baking), V(awaiting_approval), V(rolling_back), V(succeeded),
        V(rolled_back), V(aborted).
      type: str
    first:
      description: Whether nobody was served before, so that the steps are one.
      type: bool
    started_at:
      description: When it began, ISO 8601 in UTC, as all times here.
      type: str
    finished_at:
      description: When it ended.
      type: str
    baking_since:
      description: When its bake time last began.
      type: str
    token:
      description: The highest token given out.
      type: int
    lease:
      description: Who may change traffic; null when nobody.
      type: dict
      contains:
        owner:
          description: Who holds it, as C(name), C(host), C(pid), C(started), C(boot_id), C(pid_namespace), C(job).
          type: dict
        token:
          description: Its token.
          type: int
        ttl:
          description: Seconds that each renewal adds.
          type: int
        acquired_at:
          description: When it was acquired.
          type: str
        expires_at:
          description: When others may take it.
          type: str
    forwards:
      description: Listeners and rules that are moved, with C(previous_actions) and C(previous_weights) from before.
      type: list
      elements: dict
    live:
      description: Colour and target group that were live when it began.
      type: dict
    next:
      description: Colour and target group that get the new version.
      type: dict
    colors:
      description: Version of each colour, as far as known.
      type: dict
    steps:
      description: All steps, pauses in seconds.
      type: list
      elements: dict
    bake:
      description: Bake time in seconds.
      type: int
    position:
      description: Last step and its state; null before the first.
      type: dict
    weights:
      description: Weights that were last intended.
      type: dict
    audit:
      description: What happened, each with C(at), C(event), C(by), C(detail).
      type: list
      elements: dict
    replaced:
      description: >-
        The last rollout before it that moved anything, as C(rollout_id), C(version), C(previous_version), C(status);
        null when there was none.
      type: dict
decision:
  description:
    - What O(state=begun) decided, V(start), V(resume), V(rollback) or V(nothing).
    - >-
      V(rollback) comes also when another O(version) was asked for: a rollback that was begun is finished first, and
      the version is for the next run.
  returned: with O(state=begun)
  type: str
reason:
  description: Why, for people.
  returned: with O(state=begun)
  type: str
  sample: rollout 20260131T080000Z-1a2b3c of 1.1.0 (shifting, step 2 of 4 (30 %) applied) was left unfinished
token:
  description: The lease's token to give to everything that changes traffic; null when there is nothing to do.
  returned: with O(state=begun)
  type: int
steps:
  description: >-
    What is still to do. A step whose state is C(intended) or C(applied) is done again, weights and gate: weights that
    already are
    as wanted cost no call.
  returned: with O(state=begun)
  type: list
  elements: dict
  contains:
    index:
      description: Index of the step; -1 is to attach the new colour without traffic.
      type: int
    weight:
      description: Percent of the traffic.
      type: int
    pause:
      description: Seconds to watch it.
      type: int
    weights:
      description: Weights to set, by target group ARN.
      type: dict
    expected_weights:
      description: Weights that are live before.
      type: dict
    state:
      description: V(pending), V(intended) or V(applied).
      type: str
restore:
  description: >-
    The actions from before the rollout, for O(techcorp.rag_admin.alb_traffic#module:restore); empty when there is no
    record.
  returned: success
  type: list
  elements: dict
bake_left:
  description: >-
    Seconds of bake time that are left. A bake that was cut short begins anew, since nobody watched in between.
  returned: with O(state=begun)
  type: int
position:
  description: Where the rollout is, for people.
  returned: success
  type: str
  sample: step 2 of 4 (30 %) applied
unfinished:
  description: Whether a rollout is under way or was left behind.
  returned: success
  type: bool
lease_expired:
  description: Whether the lease may be taken by anybody; null when there is none.
  returned: success
  type: bool
owner_alive:
  description: Whether the owner's process runs; null when it cannot be seen from here.
  returned: success
  type: bool
location:
  description: Address of the record.
  returned: success
  type: str
  sample: s3://techcorp-rag-admin-rollouts/rag-admin/production.json
calls:
  description: Mutating calls that were made, or in check mode would be.
  returned: always
  type: list
  elements: dict
  sample: [{"action": "PutObject", "resource": "s3://techcorp-rag-admin-rollouts/rag-admin/production.json"}]
api_calls:
  description: Number of calls by C(read), C(write) and C(retried).
  returned: always
  type: dict
owner:
  description: Who holds the lease.
  returned: when it failed because somebody else holds the lease
  type: dict
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.session import run

STEP_SPEC = {
    "weight": {"type": "int", "required": True},
    "pause": {"type": "str", "default": "0"},
    "wait_for": {"type": "str", "choices": ["approval"]},
}
POSITION_SPEC = {
    "step": {"type": "int", "required": True},
    "state": {"type": "str", "choices": ["intended", "applied", "verified"], "required": True},
}
ARGUMENT_SPEC = {
    "bucket": {"type": "str", "required": True},
    "key": {"type": "str", "no_log": False},
    "state": {"type": "str", "choices": ["begun", "recorded", "finished", "read"], "default": "read"},
    "application": {"type": "str"},
    "environment": {"type": "str"},
    "version": {"type": "str"},
    "steps": {"type": "list", "elements": "dict", "options": STEP_SPEC, "default": [{"weight": 100}]},
    "bake": {"type": "str", "default": "0"},
    "lease_ttl": {"type": "int"},
    "on_unfinished": {"type": "str", "choices": ["resume", "rollback", "fail"], "default": "resume"},
    "traffic": {"type": "dict"},
    "force": {"type": "bool", "default": False},
    "max_clock_skew": {"type": "int", "default": 60},
    "token": {"type": "int", "no_log": False},
    "event": {"type": "str"},
    "position": {"type": "dict", "options": POSITION_SPEC},
    "status": {"type": "str", "choices": ["preparing", "shifting", "baking", "awaiting_approval", "rolling_back"]},
    "weights": {"type": "dict"},
    "detail": {"type": "raw"},
    "release": {"type": "bool", "default": False},
    "outcome": {"type": "str", "choices": ["succeeded", "rolled_back", "aborted"]},
}
REQUIRED_IF = [
    ("state", "begun", ("application", "environment")),
    ("state", "recorded", ("token", "event")),
    ("state", "finished", ("token", "outcome")),
]


def main():
    module = AnsibleAWSModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=REQUIRED_IF,
        required_one_of=[("key", "application")],
        required_together=[("application", "environment")],
        supports_check_mode=True,
    )
    module.require_botocore_at_least("1.35.69", reason="for conditional writes to S3")
    execute(module, run)


if __name__ == "__main__":
    main()
