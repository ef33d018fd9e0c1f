"""Faults on demand."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from lab.aws.overlay.faults import Fault
from tests.lab.account import forward


def failure(function: Any, **arguments: Any) -> tuple[str, int]:
    """Return the error code and HTTP status of a call that fails."""
    with pytest.raises(ClientError) as caught:
        function(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def bucket(aws: Any, name: str) -> str:
    """Return the name of a new bucket."""
    aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return name


def test_each_service_throttles_in_its_own_words(aws: Any) -> None:
    aws.control.fault("throttle")
    now = {"StartTime": 0, "EndTime": 60, "MetricDataQueries": []}
    assert failure(aws.elbv2.describe_load_balancers) == ("Throttling", 400)
    assert failure(aws.s3.get_object, Bucket="b", Key="k") == ("SlowDown", 503)
    assert failure(aws.s3.head_object, Bucket="b", Key="k") == ("503", 503)
    assert failure(aws.ec2.describe_vpcs) == ("RequestLimitExceeded", 503)
    assert failure(aws.cloudwatch.get_metric_data, **now) == ("Throttling", 400)
    assert failure(aws.secretsmanager.list_secrets) == ("ThrottlingException", 400)


def test_each_service_denies_in_its_own_words(aws: Any) -> None:
    balancer = aws.balancer()
    aws.control.fault("deny")
    assert failure(aws.elbv2.describe_load_balancers) == ("AccessDenied", 403)
    assert failure(aws.s3.put_object, Bucket="b", Key="k") == ("AccessDenied", 403)
    assert failure(aws.ec2.describe_vpcs) == ("UnauthorizedOperation", 403)
    assert failure(aws.secretsmanager.list_secrets) == ("AccessDeniedException", 400)
    with pytest.raises(ClientError, match=f"elasticloadbalancing:DeleteListener on resource: {balancer.listener}"):
        aws.elbv2.delete_listener(ListenerArn=balancer.listener)


def test_errors_of_the_server_have_no_effect(aws: Any) -> None:
    balancer = aws.balancer()
    aws.control.fault("error", service="elbv2", action="DeleteListener")
    aws.control.fault("error", service="s3", code="ServiceUnavailable", status=503)
    assert failure(aws.elbv2.delete_listener, ListenerArn=balancer.listener) == ("InternalFailure", 500)
    assert failure(aws.s3.list_buckets) == ("ServiceUnavailable", 503)
    assert aws.elbv2.describe_listeners(ListenerArns=[balancer.listener])["Listeners"]


def test_a_fault_befalls_only_what_it_names(aws: Any) -> None:
    one, other = aws.balancer(), aws.balancer()
    aws.control.fault(
        "throttle", service="elbv2", action=["Modify*", "Delete*"], resource=one.listener, skip=1, count=2
    )
    outcomes = []
    for listener in [other.listener, *[one.listener] * 4]:
        try:
            aws.elbv2.modify_listener(ListenerArn=listener, Port=81)
            outcomes.append("done")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])
    assert outcomes == ["done", "done", "Throttling", "Throttling", "done"]
    (fault,) = aws.control.faults()
    assert (fault["matched"], fault["befallen"]) == (4, 2)


def test_a_token_bucket_lets_a_burst_through(aws: Any) -> None:
    aws.control.fault("throttle", service="elbv2", rate=0.001, burst=3)
    for _ in range(3):
        aws.elbv2.describe_load_balancers()
    assert failure(aws.elbv2.describe_load_balancers) == ("Throttling", 400)


@pytest.mark.parametrize(("kind", "applied"), [("lost_answer", True), ("lost_call", False)])
def test_a_connection_breaks_after_or_before_the_effect(aws: Any, kind: str, applied: bool) -> None:
    name = bucket(aws, f"lost-{kind.replace('_', '-')}")
    aws.control.mark()
    with aws.control.faulty(kind, service="s3", action="PutObject"), pytest.raises(ConnectionClosedError):
        aws.s3.put_object(Bucket=name, Key="k", Body=b"x")
    assert ("Contents" in aws.s3.list_objects_v2(Bucket=name)) is applied
    (call, _list) = aws.control.journal()
    assert (call["action"], call["status"], call["applied"]) == ("PutObject", 0, applied)


def test_a_client_that_retries_gets_over_a_lost_answer(aws: Any) -> None:
    balancer = aws.balancer()
    aws.control.fault("lost_answer", service="elbv2", action="ModifyListener", count=1)
    aws.control.mark()
    client = aws.client("elbv2", retries={"total_max_attempts": 2, "mode": "standard"})
    client.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({balancer.groups[1]: 1})])
    assert [call["applied"] for call in aws.control.journal(action="ModifyListener")] == [True, True]


@pytest.mark.parametrize("kind", ["latency", "slow_answer"])
def test_latency_holds_up_only_its_own_call(aws: Any, kind: str) -> None:
    aws.control.fault(kind, service="elbv2", seconds=0.5)
    started = time.monotonic()
    aws.elbv2.describe_load_balancers()
    slow = time.monotonic() - started
    started = time.monotonic()
    aws.s3.list_buckets()
    assert slow >= 0.5 > time.monotonic() - started


@pytest.mark.parametrize(("kind", "applied"), [("slow_answer", True), ("lost_call", False)])
def test_a_removed_fault_lets_go_what_it_holds_up(aws: Any, kind: str, applied: bool) -> None:
    balancer = aws.balancer()
    aws.control.mark()
    aws.control.fault(kind, service="elbv2", action="DeleteListener", seconds=60)
    client = aws.client("elbv2", retries={"total_max_attempts": 1, "mode": "standard"})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.delete_listener, ListenerArn=balancer.listener)
        while not any(fault["befallen"] for fault in aws.control.faults()):
            time.sleep(0.01)
        assert not call.done()
        aws.control.clear_faults()
        assert (call.exception(10) is None) is applied
    assert [entry["applied"] for entry in aws.control.journal(action="DeleteListener")] == [applied]


def test_a_share_of_the_calls_is_befallen_repeatably() -> None:
    one, other = (Fault.parse({"kind": "throttle", "probability": 0.5, "seed": 7}) for _ in range(2))
    choices = [one.befalls(0) for _ in range(1000)]
    assert choices == [other.befalls(0) for _ in range(1000)]
    assert 400 < sum(choices) < 600


def test_a_bucket_fills_again() -> None:
    fault = Fault.parse({"kind": "throttle", "rate": 2, "burst": 1})
    start = fault._filled
    befallen = [seconds for seconds in (0, 0.1, 0.6, 0.7, 5, 5.1) if fault.befalls(start + seconds)]
    assert befallen == [0.1, 0.7, 5.1]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"kind": "flood"},
        {"kind": "deny", "probability": 2},
        {"kind": "latency"},
        {"kind": "deny", "matched": 1},
        {"kind": "deny", "x": 1},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(document: Any) -> None:
    with pytest.raises(ValueError):
        Fault.parse(document)
