"""Everything that waits: how long, how often, and when it stops."""

from __future__ import annotations

import contextlib

import boto3
import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common import retries
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, CallLog, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

PROFILES = [retries.NORMAL, retries.ROLLBACK, retries.ROLLBACK_FENCE]


class FakeClock:
    def __init__(self):
        self.now, self.slept = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def jitter(self, seconds):
        return seconds


def throttled():
    return ClientError({"Error": {"Code": "Throttling"}}, "X")


class Flaky:
    """Fails that many times, each attempt taking that long."""

    def __init__(self, clock, failures, seconds=0.0, exception=throttled):
        self.clock, self.failures, self.seconds, self.exception = clock, failures, seconds, exception
        self.attempts = 0

    def __call__(self):
        self.attempts += 1
        self.clock.now += self.seconds
        if self.attempts <= self.failures:
            raise self.exception()
        return "done"


def test_a_call_is_tried_until_it_succeeds():
    clock = FakeClock()
    retry = retries.Retry(retries.NORMAL, clock)
    assert retry(Flaky(clock, 3)) == "done"
    assert clock.slept == [0.5, 1.0, 2.0]
    assert retry.retries == 3


@pytest.mark.parametrize("exception", [ValueError, lambda: ClientError({"Error": {"Code": "ListenerNotFound"}}, "X")])
def test_what_cannot_help_is_not_tried_again(exception):
    clock = FakeClock()
    call = Flaky(clock, 1, exception=exception)
    with pytest.raises((ValueError, ClientError)):
        retries.Retry(retries.NORMAL, clock)(call)
    assert (call.attempts, clock.slept) == (1, [])


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 3)), max_size=12), st.sampled_from(PROFILES))
def test_one_budget_holds_over_all_calls_of_a_run(calls, profile):
    clock = FakeClock()
    retry = retries.Retry(profile, clock)
    for failures, seconds in calls:
        with contextlib.suppress(ClientError):
            retry(Flaky(clock, failures, seconds))
    assert sum(clock.slept) <= profile.total


def test_attempts_that_hang_spend_the_budget_too():
    clock = FakeClock()
    call = Flaky(clock, 99, seconds=2.0)
    with pytest.raises(ClientError):
        retries.Retry(retries.ROLLBACK, clock)(call)
    assert call.attempts == 3
    assert clock.now < retries.ROLLBACK.total + 2.0


def test_the_rollback_never_sleeps_longer_than_ten_seconds():
    # The writes, the fence and the last look; the reading back sleeps two seconds more (alb.traffic).
    assert retries.ROLLBACK.total + retries.ROLLBACK_FENCE.total + 2.0 <= 10.0


def test_an_endpoint_that_cannot_be_reached_is_given_up_early():
    clock = FakeClock()
    call = Flaky(clock, 99, exception=lambda: EndpointConnectionError(endpoint_url="http://x"))
    with pytest.raises(EndpointConnectionError):
        retries.Retry(retries.NORMAL, clock)(call)
    assert call.attempts == retries.NORMAL.unreachable
    assert sum(clock.slept) < 5


def test_the_real_clock():
    clock = Clock()
    began = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.01
    assert clock.time() > 1_700_000_000
    assert all(1.0 <= clock.jitter(2.0) <= 2.0 for _ in range(100))


def test_poll_returns_what_was_looked_for():
    clock = FakeClock()
    assert poll(lambda elapsed: elapsed if elapsed >= 4 else None, 2.0, 60.0, clock) == 4.0
    assert clock.slept == [2.0, 2.0]


def test_poll_looks_once_more_at_the_very_end():
    clock, looks = FakeClock(), []
    assert poll(lambda elapsed: looks.append(elapsed), 4.0, 10.0, clock) is None
    assert looks == [0.0, 4.0, 8.0, 10.0]


def test_poll_looks_once_even_without_time():
    assert poll(lambda _elapsed: True, 1.0, 0.0, FakeClock()) is True
    assert poll(lambda _elapsed: None, 1.0, 0.0, FakeClock()) is None


def test_poll_takes_the_interval_from_a_function():
    clock = FakeClock()
    poll(lambda _elapsed: None, lambda calls: float(calls), 6.0, clock)
    assert clock.slept == [1.0, 2.0, 3.0]


@pytest.fixture
def elb():
    client = boto3.client("elbv2", region_name="us-west-2")
    with Stubber(client) as stubber:
        yield Aws(client, retries.NORMAL, CallLog(), FakeClock()), stubber


def test_reads_are_counted_once_however_often_they_are_tried(elb):
    aws, stubber = elb
    stubber.add_client_error("describe_rules", "ThrottlingException")
    stubber.add_response("describe_rules", {"Rules": []})
    aws.read("describe_rules", "x")
    assert aws.log.result() == {"calls": [], "api_calls": {"read": 1, "write": 0, "retried": 1}}


@pytest.mark.parametrize(("code", "status", "logged"), [("RuleNotFound", 400, 0), ("Broken", 500, 1)])
def test_writes_that_may_have_been_carried_out_are_logged(elb, code, status, logged):
    aws, stubber = elb
    stubber.add_client_error("modify_rule", code, http_status_code=status)
    with pytest.raises(AwsFailure):
        aws.write_once("modify_rule", "x", RuleArn="x", Actions=[])
    assert len(aws.log.calls) == logged


def test_planned_calls_are_no_writes():
    log = CallLog()
    log.plan("ModifyRule", "x")
    result = log.result()
    assert result["calls"] == [{"action": "ModifyRule", "resource": "x"}]
    assert result["api_calls"]["write"] == 0


@pytest.mark.parametrize(
    ("service", "method", "action"),
    [
        ("elbv2", "modify_rule", "elasticloadbalancing:ModifyRule"),
        ("s3", "head_object", "s3:GetObject"),
        ("cloudwatch", "get_metric_data", "cloudwatch:GetMetricData"),
    ],
)
def test_iam_action(service, method, action):
    client = boto3.client(service, region_name="us-west-2")
    assert Aws(client, retries.NORMAL, CallLog(), FakeClock()).iam_action(method) == action


def test_botocore_does_not_retry_whatever_the_operator_configured():
    seen = {}

    class Module:
        params = {"aws_config": {"retries": {"max_attempts": 9}, "read_timeout": 600, "proxies": {"http": "p"}}}

        def client(self, service, aws_config):
            seen.update(aws_config)
            return boto3.client(service, region_name="us-west-2")

    Connector(Module(), FakeClock())("elbv2", retries.ROLLBACK)
    assert seen["retries"] == {"total_max_attempts": 1, "mode": "standard"}
    assert (seen["read_timeout"], seen["proxies"]) == (retries.ROLLBACK.read_timeout, {"http": "p"})
