#!/usr/bin/python
# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: metric_gate
version_added: "1.0.0"
short_description: Watch a new version for a while, and fail as soon as it is surely worse than allowed
description:
  - Polls Prometheus, CloudWatch and the load balancer itself for O(duration), and succeeds when every check passes at
    its end.
  - It fails at the first sure failure, and tells V(failed) (measured, and too bad) from V(no_data) (nothing was
    measured) and
    V(unreadable) (a source did not answer). None of the last two ever counts as passed, unless a check says so.
  - The probe makes requests through every address of the load balancer. It alone sees at once what the new version
    cannot
    count itself, such as the load balancer's 502 when a process dies.
  - On the controller it shows one line per poll while it waits.
author:
  - TechCorp (@techcorp)
options:
  checks:
    description:
      - What to judge by.
      - >-
        With O(probe) and no check of that source, failed probes are judged too. The gate fails when, of the newest 200,
        surely more than 1 % failed (O(checks[].confidence) 0.95): 2 of up to 66, 3 of up to 120, or 5 of 200. A single
        failure is never enough, and less than 25 requests (5 polls where O(probe.requests) is below 5) are no data;
        what they lack is asked for within O(grace).
      - >-
        While O(probe.expect_share) is below 100 %, what fails hardly shows in all requests. Then of the newest 1000 so
        much less must fail as that share is, though never less than 0.3 % (O(checks[].confidence) 0.99).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the check, used in messages.
        type: str
        required: true
      source:
        description: Where its numbers come from.
        type: str
        choices: [prometheus, cloudwatch, probe]
        default: prometheus
      query:
        description:
          - PromQL that gives one number. A query that gives nothing, or NaN, is no data.
          - C($window) is replaced by the time since the gate began (at least C(5s)), C($start) by the time at which it
            began, in seconds since 1970.
          - C($probed) is replaced by the number of requests of O(probe) that were answered, by the colour that is
            expected if one is. They are not users' - subtract them from the samples, so that they do not stand in for
            them.
          - Of a counter that appears with its first event, C(increase()) sees only what comes after. Subtract its value
            C(@ $start) instead where single errors count.
        type: str
      baseline_query:
        description: PromQL for the number to compare with, usually that of the live colour.
        type: str
      samples_query:
        description: PromQL for the number of samples behind the number, usually requests.
        type: str
      metric:
        description: CloudWatch metric. Only whole periods since the gate began count.
        type: dict
        suboptions: &metric
          namespace:
            description: Namespace.
            type: str
            default: AWS/ApplicationELB
          name:
            description: Name of the metric.
            type: str
            required: true
          dimensions:
            description: >-
              Dimensions. The ARN of a load balancer or target group is accepted and shortened as CloudWatch wants it.
            type: dict
            required: true
          statistic:
            description: >-
              Statistic, such as V(Sum), V(Average) or V(p95). Of counts the sum counts, else the newest period.
            type: str
            default: Sum
          period:
            description: Seconds of a period.
            type: int
            default: 60
      baseline_metric:
        description: CloudWatch metric to compare with.
        type: dict
        suboptions: *metric
      samples_metric:
        description:
          - CloudWatch metric that counts the samples, usually C(RequestCount).
          - CloudWatch keeps no zeros. A missing count is zero when this one is above zero, and no data otherwise.
        type: dict
        suboptions: *metric
      ratio:
        description: Divide the CloudWatch metric by its samples.
        type: bool
        default: false
      measure:
        description:
          - What of the probe to judge.
          - V(failed_ratio) is the part of requests that got no answer or one of 500 or above.
          - V(recent_failed_ratio) is the same of the newest 200 requests, so that what breaks late is seen at once.
          - V(p95) is the 95th percentile of the seconds that a colour took to answer.
          - V(share) is the part of the answers that a colour gave.
        type: str
        choices: [failed_ratio, recent_failed_ratio, p95, share]
      color:
        description: Colour that V(p95) and V(share) are about.
        type: str
      baseline_color:
        description: Colour to compare V(p95) with.
        type: str
      operator:
        description: How the number must relate to O(checks[].threshold).
        type: str
        choices: ["<", "<=", ">", ">="]
        default: "<="
      threshold:
        description: Limit of the number itself.
        type: float
      max_ratio:
        description: How many times the baseline the number may be.
        type: float
      max_difference:
        description: By how much the number may exceed the baseline.
        type: float
      floor:
        description: Numbers up to this are never worse than the baseline, so that 3 ms are not judged against 1 ms.
        type: float
        default: 0.0
      confidence:
        description:
          - For ratios. Fail only when the ratio is this surely above its limits (Wilson's lower bound), for example
            V(0.95).
          - Without it the ratio itself is judged.
        type: float
      min_samples:
        description: With fewer samples there is no data, whatever the number is.
        type: int
        default: 0
      failure_limit:
        description: How many failing polls in a row are tolerated.
        type: int
        default: 0
      no_data:
        description: >-
          Whether no data is waited out, passes or fails. What is still without data at the end fails the gate.
        type: str
        choices: [wait, pass, fail]
        default: wait
      unreadable:
        description: >-
          Whether a source that does not answer is waited out, passes or fails. What cannot get better by waiting, such
          as a query
          that cannot be parsed or a refused login, is not waited out.
        type: str
        choices: [hold, pass, fail]
        default: hold
      no_baseline:
        description: >-
          What a comparison without baseline does. V(wait) is as no data; V(pass) leaves the threshold alone to decide,
          which the
          last step needs, when the old version gets no traffic.
        type: str
        choices: [wait, pass, fail]
        default: wait
      unit:
        description:
          - How numbers are shown.
          - V(ratio) also says that the number is a part of the samples. A limit that is broken even if all samples that
            O(checks[].min_samples) still lacks were good then fails at once.
        type: str
        choices: [none, ratio, seconds]
        default: none
  duration:
    description: >-
      How long to watch, in seconds or as V(30s), V(10m), V(1h30m). V(0) is one poll, or as many as the data takes.
    type: str
    default: "0"
  interval:
    description: Seconds between two polls.
    type: float
    default: 5.0
  grace:
    description:
      - Seconds beyond O(duration) for which checks without data, or whose source does not answer, are waited for.
      - >-
        With a check of CloudWatch it is at least a period and 120 s, since no metrics can be there before; so much
        longer a gate takes that is shorter than that.
    type: float
    default: 10.0
  label:
    description: What is watched, for progress lines and messages, for example V(10%).
    type: str
  preflight:
    description: >-
      Only see whether each source answers and each query is understood. Fails otherwise, and waits for nothing.
      CloudWatch is asked for the last five periods.
    type: bool
    default: false
  probe:
    description: Requests through the load balancer, each on a connection of its own.
    type: dict
    suboptions:
      url:
        description: What to request. Its host stays the Host header and the name that the certificate is checked for.
        type: str
        required: true
      addresses:
        description: >-
          Addresses to connect to. The default is every IPv4 and IPv6 address of the host, looked up at each poll.
        type: list
        elements: str
        default: []
      requests:
        description:
          - Requests to each address at each poll. While O(probe.expect_share) is below 100 % they are as many more, up
            to 30, as make up for it.
        type: int
        default: 5
      timeout:
        description: Seconds to wait for an answer.
        type: float
        default: 5.0
      headers:
        description: Headers to send, for example one that a test rule routes by.
        type: dict
      ca_path:
        description: File of CA certificates to trust. The default is what the system trusts.
        type: path
      validate_certs:
        description: Whether to check certificates.
        type: bool
        default: true
      color_header:
        description: Header of the answer that tells the colour.
        type: str
        default: X-App-Color
      expect_color:
        description: Colour that every answer must come from, with O(converge_timeout).
        type: str
      expect_share:
        description: Share of the answers that a colour must give on every node, up to chance, with O(converge_timeout).
        type: dict
        suboptions:
          color:
            description: The colour.
            type: str
            required: true
          percent:
            description: Its share in percent.
            type: float
            required: true
          tolerance:
            description: Percentage points that it may be off, beyond 3.3 standard deviations of chance.
            type: float
            default: 0.0
          before:
            description:
              - >-
                Its share in percent on a node that has not followed yet. The closer the two are, the more answers it
                takes to tell them.
              - >-
                It takes 88 answers of each node to tell 10 % from nothing, 205 to tell 30 % from 10 %, and never more
                than 1000, which are too few below 1 %.
            type: float
            default: 0.0
      expect_requests:
        description:
          - How many of the newest answers of each node must be as expected, at least.
          - A share takes as many as tell it from O(probe.expect_share.before). They come up to 50 a poll.
        type: int
        default: 20
  converge_timeout:
    description:
      - Seconds within which every node of the load balancer must answer as O(probe.expect_color) or
        O(probe.expect_share) say.
      - O(duration) begins when they do. V(0) does not wait for it.
      - Until then it polls every two seconds, or O(interval) where that is less.
    type: float
    default: 0.0
  prometheus_url:
    description: Address of Prometheus, without C(/api). Required with a check of that source.
    type: str
  prometheus_username:
    description: User name for basic authentication.
    type: str
  prometheus_password:
    description: Password for basic authentication.
    type: str
  prometheus_password_file:
    description: File that holds the password.
    type: path
  prometheus_token:
    description: Bearer token.
    type: str
  prometheus_token_file:
    description: File that holds the bearer token.
    type: path
  prometheus_ca_path:
    description: File of CA certificates to trust for Prometheus.
    type: path
  prometheus_validate_certs:
    description: Whether to check the certificate of Prometheus.
    type: bool
    default: true
  prometheus_timeout:
    description: Seconds to wait for an answer of Prometheus.
    type: float
    default: 5.0
  progress_path:
    description: File to append a line to at each poll. The action plugin of the same name sets it, and shows the lines.
    type: path
extends_documentation_fragment:
  - techcorp.rag_admin.rollout_fence.lease
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
notes:
  - In check mode each source is read once and nothing is waited for or claimed; what cannot be read is a warning.
  - CloudWatch is asked at most every ten seconds, in one call for all checks, and needs C(cloudwatch:GetMetricData).
  - Runs where C(delegate_to) says; progress is shown only for the controller itself.
"""

EXAMPLES = r"""
- name: See whether the gate can be read before anything is changed
  techcorp.rag_admin.metric_gate: &gate
    preflight: true
    prometheus_url: http://monitor.example.com:9090
    probe:
      url: https://rag-admin.example.com/health
    checks:
      # The counters' difference since the gate began. increase() would miss the first error of each series.
      - name: errors
        query: >-
          ((sum(http_requests_total{color="green",status=~"5.."}) or vector(0))
          - (sum(http_requests_total{color="green",status=~"5.."} @ $start) or vector(0)))
          / (sum(http_requests_total{color="green"}) - (sum(http_requests_total{color="green"} @ $start) or vector(0)))
        samples_query: >-
          sum(http_requests_total{color="green"}) - (sum(http_requests_total{color="green"} @ $start) or vector(0))
        min_samples: 50
        threshold: 0.01
        unit: ratio
      - name: p95
        query: >-
          histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{color="green"}[$window])))
        baseline_query: >-
          histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{color="blue"}[$window])))
        max_ratio: 2
        floor: 0.05
        unit: seconds

- name: Watch the new version for ten minutes
  techcorp.rag_admin.metric_gate:
    label: 10%
    duration: 10m
    checks:
      - name: errors
        source: cloudwatch
        metric:
          name: HTTPCode_Target_5XX_Count
          dimensions:
            LoadBalancer: "{{ load_balancer_arn }}"
            TargetGroup: "{{ green_arn }}"
        samples_metric:
          name: RequestCount
          dimensions:
            LoadBalancer: "{{ load_balancer_arn }}"
            TargetGroup: "{{ green_arn }}"
        ratio: true
        min_samples: 100
        threshold: 0.01
        unit: ratio
    fence:
      bucket: techcorp-rag-admin-rollouts
      key: rag-admin/production.json
      token: "{{ rollout.token }}"

- name: Wait until every node of the load balancer answers from green
  techcorp.rag_admin.metric_gate:
    converge_timeout: 60
    interval: 1
    probe:
      url: https://rag-admin.example.com/health
      expect_color: green
"""

RETURN = r"""
verdict:
  description: >-
    V(passed), V(failed), V(no_data) or V(unreadable); V(not_evaluated) in check mode and with O(preflight). All but
    the first and the
    last fail the task.
  returned: when the gate could be begun
  type: str
checks:
  description: The last reading of each check.
  returned: when the gate could be begun
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
    value:
      description: The number, null when there was none.
      type: float
    baseline:
      description: The number that it was compared with.
      type: float
    samples:
      description: Samples behind it.
      type: float
    verdict:
      description: V(pass), V(fail), V(no_data) or V(unreadable), before the check's policies.
      type: str
    reason:
      description: The same in words.
      type: str
    history:
      description: How many polls had which verdict.
      type: dict
probe:
  description: What came of the requests through the load balancer; null without O(probe).
  returned: when the gate could be begun
  type: dict
  contains:
    sent:
      description: Requests made.
      type: int
    failed:
      description: Requests without an answer, or with one of 500 or above.
      type: int
    errors:
      description: How many failed in which way.
      type: dict
    colors:
      description: Answers of each colour.
      type: dict
    nodes:
      description: C(sent), C(failed) and C(colors) by address.
      type: dict
waited:
  description: Seconds that it took.
  returned: when the gate could be begun
  type: float
converged_after:
  description: Seconds until every node answered as expected; null when that was not asked for.
  returned: when the gate could be begun
  type: float
calls:
  description: Mutating calls, of which there are none.
  returned: always
  type: list
  elements: dict
api_calls:
  description: Number of AWS calls by C(read), C(write) and C(retried), without those that renew the lease.
  returned: always
  type: dict
owner:
  description: Who holds the lease now.
  returned: when the lease was lost
  type: dict
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import execute
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate.loop import run
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout.fence import LEASE

METRIC_SPEC = {
    "namespace": {"type": "str", "default": "AWS/ApplicationELB"},
    "name": {"type": "str", "required": True},
    "dimensions": {"type": "dict", "required": True},
    "statistic": {"type": "str", "default": "Sum"},
    "period": {"type": "int", "default": 60},
}
CHECK_SPEC = {
    "name": {"type": "str", "required": True},
    "source": {"type": "str", "choices": ["prometheus", "cloudwatch", "probe"], "default": "prometheus"},
    "query": {"type": "str"},
    "baseline_query": {"type": "str"},
    "samples_query": {"type": "str"},
    "metric": {"type": "dict", "options": METRIC_SPEC},
    "baseline_metric": {"type": "dict", "options": METRIC_SPEC},
    "samples_metric": {"type": "dict", "options": METRIC_SPEC},
    "ratio": {"type": "bool", "default": False},
    "measure": {"type": "str", "choices": ["failed_ratio", "recent_failed_ratio", "p95", "share"]},
    "color": {"type": "str"},
    "baseline_color": {"type": "str"},
    "operator": {"type": "str", "choices": ["<", "<=", ">", ">="], "default": "<="},
    "threshold": {"type": "float"},
    "max_ratio": {"type": "float"},
    "max_difference": {"type": "float"},
    "floor": {"type": "float", "default": 0.0},
    "confidence": {"type": "float"},
    "min_samples": {"type": "int", "default": 0},
    "failure_limit": {"type": "int", "default": 0},
    "no_data": {"type": "str", "choices": ["wait", "pass", "fail"], "default": "wait"},
    "unreadable": {"type": "str", "choices": ["hold", "pass", "fail"], "default": "hold"},
    "no_baseline": {"type": "str", "choices": ["wait", "pass", "fail"], "default": "wait"},
    "unit": {"type": "str", "choices": ["none", "ratio", "seconds"], "default": "none"},
}
SHARE_SPEC = {
    "color": {"type": "str", "required": True},
    "percent": {"type": "float", "required": True},
    "tolerance": {"type": "float", "default": 0.0},
    "before": {"type": "float", "default": 0.0},
}
PROBE_SPEC = {
    "url": {"type": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "requests": {"type": "int", "default": 5},
    "timeout": {"type": "float", "default": 5.0},
    "headers": {"type": "dict"},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "color_header": {"type": "str", "default": "X-App-Color"},
    "expect_color": {"type": "str"},
    "expect_share": {"type": "dict", "options": SHARE_SPEC},
    "expect_requests": {"type": "int", "default": 20},
}
ARGUMENT_SPEC = {
    "checks": {"type": "list", "elements": "dict", "options": CHECK_SPEC, "default": []},
    "duration": {"type": "str", "default": "0"},
    "interval": {"type": "float", "default": 5.0},
    "grace": {"type": "float", "default": 10.0},
    "label": {"type": "str"},
    "preflight": {"type": "bool", "default": False},
    "probe": {
        "type": "dict",
        "options": PROBE_SPEC,
        "mutually_exclusive": [("expect_color", "expect_share")],
    },
    "converge_timeout": {"type": "float", "default": 0.0},
    "fence": LEASE,
    "prometheus_url": {"type": "str"},
    "prometheus_username": {"type": "str"},
    "prometheus_password": {"type": "str", "no_log": True},
    "prometheus_password_file": {"type": "path", "no_log": False},
    "prometheus_token": {"type": "str", "no_log": True},
    "prometheus_token_file": {"type": "path", "no_log": False},
    "prometheus_ca_path": {"type": "path"},
    "prometheus_validate_certs": {"type": "bool", "default": True},
    "prometheus_timeout": {"type": "float", "default": 5.0},
    "progress_path": {"type": "path"},
}


def main():
    module = AnsibleAWSModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[
            ("prometheus_token", "prometheus_token_file", "prometheus_username"),
            ("prometheus_password", "prometheus_password_file"),
        ],
        supports_check_mode=True,
    )
    execute(module, run)


if __name__ == "__main__":
    main()
