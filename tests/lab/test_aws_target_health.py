"""Target health: decided from probes, shown as AWS shows it."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.aws.overlay.target_health import Outcome, Target, matches, serving
from tests.lab.account import forward, until

PASSED = Outcome(True)
FAILED = Outcome(False, "Target.Timeout", "Request timed out")
HEALTHY = [("healthy", None)]


def registered(aws: Any, group: str, *ports: int) -> list[dict[str, Any]]:
    """Register ports of the loopback address; return them as targets."""
    targets = [{"Id": "127.0.0.1", "Port": port} for port in ports]
    aws.elbv2.register_targets(TargetGroupArn=group, Targets=targets)
    return targets


# Through the API


def test_a_group_that_nothing_forwards_to_is_unused_and_not_checked(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(), web()
    registered(aws, balancer.groups[1], server.port)
    assert aws.health(balancer.groups[1]) == [("unused", "Target.NotInUse")]
    time.sleep(0.5)
    assert server.hits == 0


def test_weight_0_is_enough_to_be_checked(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(), web()
    blue, green = balancer.groups
    registered(aws, green, server.port)
    aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({blue: 1, green: 0})])
    assert aws.health(green)[0][0] == "initial"
    until(lambda: aws.health(green) == HEALTHY)
    assert server.agents == {"ELB-HealthChecker/2.0"}
    aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({blue: 1})])
    assert aws.health(green) == [("unused", "Target.NotInUse")]


def test_health_follows_the_answers(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(groups=1), web(503)
    (group,) = balancer.groups
    registered(aws, group, server.port)
    assert aws.health(group) != HEALTHY
    until(lambda: aws.health(group) == [("unhealthy", "Target.ResponseCodeMismatch")])
    server.status = 200
    until(lambda: aws.health(group) == HEALTHY)
    server.status = 500
    until(lambda: aws.health(group) == [("unhealthy", "Target.ResponseCodeMismatch")])


def test_a_target_that_does_not_listen_fails_its_checks(aws: Any) -> None:
    balancer = aws.balancer(groups=1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        registered(aws, balancer.groups[0], unused.getsockname()[1])
        assert aws.health(balancer.groups[0]) != HEALTHY
        until(lambda: aws.health(balancer.groups[0]) == [("unhealthy", "Target.FailedHealthChecks")])


def test_a_target_that_does_not_answer_times_out(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(groups=1, UnhealthyThresholdCount=2), web()
    server.delay = 2.5
    registered(aws, balancer.groups[0], server.port)
    assert aws.health(balancer.groups[0]) != HEALTHY
    until(lambda: aws.health(balancer.groups[0]) == [("unhealthy", "Target.Timeout")], seconds=8)


def test_the_matcher_decides_what_passes(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(groups=1, Matcher={"HttpCode": "200,300-399"}), web(302)
    registered(aws, balancer.groups[0], server.port)
    assert aws.health(balancer.groups[0])[0][0] == "initial"
    until(lambda: aws.health(balancer.groups[0]) == HEALTHY)


def test_a_deregistered_target_drains_and_goes(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(groups=1), web()
    (group,) = balancer.groups
    aws.elbv2.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
    )
    targets = registered(aws, group, server.port)
    until(lambda: aws.health(group) == HEALTHY)
    aws.elbv2.deregister_targets(TargetGroupArn=group, Targets=targets)
    assert aws.health(group) == [("draining", "Target.DeregistrationInProgress")]
    until(lambda: aws.health(group) == [])
    assert aws.health(group, *targets) == [("unused", "Target.NotRegistered")]


def test_a_draining_target_can_be_registered_again(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(groups=1), web()
    (group,) = balancer.groups
    targets = registered(aws, group, server.port)
    until(lambda: aws.health(group) == HEALTHY)
    aws.elbv2.deregister_targets(TargetGroupArn=group, Targets=targets)
    assert [state for state, _reason in aws.health(group)] == ["draining"]
    aws.elbv2.register_targets(TargetGroupArn=group, Targets=targets)
    until(lambda: aws.health(group) == HEALTHY)


@pytest.mark.lab_only
def test_registering_again_changes_nothing(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(groups=1), web()
    registered(aws, balancer.groups[0], server.port)
    until(lambda: aws.health(balancer.groups[0]) == HEALTHY)
    registered(aws, balancer.groups[0], server.port)
    assert aws.health(balancer.groups[0]) == HEALTHY


@pytest.mark.lab_only
def test_targets_of_a_group_not_in_use_go_at_once(aws: Any) -> None:
    balancer = aws.balancer()
    targets = registered(aws, balancer.groups[1], 9)
    aws.elbv2.deregister_targets(TargetGroupArn=balancer.groups[1], Targets=targets)
    assert aws.health(balancer.groups[1]) == []


def test_one_address_takes_several_ports(aws: Any) -> None:
    balancer = aws.balancer()
    registered(aws, balancer.groups[1], 7, 9)
    assert len(aws.health(balancer.groups[1])) == 2


def test_an_unknown_target_is_not_registered(aws: Any) -> None:
    balancer = aws.balancer()
    unknown = {"Id": "10.0.0.99", "Port": 1}
    assert aws.health(balancer.groups[0], unknown) == [("unused", "Target.NotRegistered")]
    try:
        aws.elbv2.deregister_targets(TargetGroupArn=balancer.groups[0], Targets=[unknown])
    except ClientError as error:
        pytest.fail(f"AWS takes no offence at a target that is not there: {error}")


def test_health_checks_of_addresses_cannot_be_disabled(aws: Any) -> None:
    vpc = aws.vpc()
    with pytest.raises(ClientError, match="ValidationError"):
        aws.group(vpc, HealthCheckEnabled=False)


def test_a_target_is_an_address(aws: Any) -> None:
    balancer = aws.balancer()
    with pytest.raises(ClientError, match="ValidationError"):
        aws.elbv2.register_targets(TargetGroupArn=balancer.groups[0], Targets=[{"Id": "blue-1", "Port": 1}])


@pytest.mark.lab_only
def test_500_targets_are_checked_in_time(aws: Any, web: Any) -> None:
    server = web()
    balancer = aws.balancer(groups=5, HealthCheckIntervalSeconds=100)  # 4 s in this server
    aws.elbv2.modify_listener(
        ListenerArn=balancer.listener, DefaultActions=[forward(dict.fromkeys(balancer.groups, 1))]
    )
    for number, group in enumerate(balancer.groups):
        targets = [{"Id": f"127.0.{number}.{host}", "Port": server.port} for host in range(1, 101)]
        aws.elbv2.register_targets(TargetGroupArn=group, Targets=targets)
    # Nothing listens on 127.0.n.m but on 127.0.0.1: one passes, the others must all get their verdict.
    until(lambda: [state for group in balancer.groups for state, _ in aws.health(group)].count("unhealthy") == 499, 12)
    assert aws.health(balancer.groups[0], {"Id": "127.0.0.1", "Port": server.port}) == HEALTHY


# The decisions


def used() -> Target:
    """Return a target that has just come into use."""
    target = Target("10.0.0.1", 80)
    target.use(True, True, now=0)
    return target


def test_one_pass_makes_a_new_target_healthy_and_the_threshold_an_unhealthy_one() -> None:
    target = used()
    target.record(PASSED, 3, 2)
    assert target.state == "healthy"
    states = []
    for outcome in (FAILED, FAILED, PASSED, PASSED, FAILED, PASSED, PASSED, PASSED):
        target.record(outcome, 3, 2)
        states.append(target.state)
    assert states == ["healthy", *["unhealthy"] * 6, "healthy"]


def test_failures_must_come_in_a_row() -> None:
    target = used()
    for outcome in (PASSED, FAILED, PASSED, FAILED, PASSED):
        target.record(outcome, 3, 2)
    assert target.state == "healthy"


def test_a_new_target_that_fails_is_initial_until_the_threshold() -> None:
    target = used()
    assert target.status[1] == "Elb.RegistrationInProgress"
    target.record(FAILED, 2, 2)
    assert target.status[:2] == ("initial", "Elb.InitialHealthChecking")
    target.record(FAILED, 2, 2)
    assert target.status == ("unhealthy", "Target.Timeout", "Request timed out")


def test_going_out_of_use_forgets_health() -> None:
    target = used()
    target.record(PASSED, 2, 2)
    target.use(False, True, now=1)
    target.use(True, True, now=2)
    assert target.state == "initial"


def test_a_late_outcome_does_not_revive_a_draining_target() -> None:
    target = used()
    target.drain(now=0, delay=10)
    target.record(PASSED, 2, 2)
    target.use(False, True, now=1)
    assert target.state == "draining"


def test_a_group_without_healthy_targets_fails_open() -> None:
    targets = [Target("10.0.0.1", 1, ("unhealthy", "", "")), Target("10.0.0.2", 1, ("initial", "", ""))]
    leaving = Target("10.0.0.3", 1)
    leaving.drain(now=0, delay=10)
    assert serving([*targets, leaving]) == {("10.0.0.1", 1): True, ("10.0.0.2", 1): True}
    healthy = Target("10.0.0.4", 1, ("healthy", None, None))
    assert serving([*targets, healthy]) == {("10.0.0.1", 1): False, ("10.0.0.2", 1): False, ("10.0.0.4", 1): True}


@pytest.mark.parametrize(
    ("matcher", "code", "passes"),
    [
        ("200", 200, True),
        ("200", 201, False),
        ("200,301", 301, True),
        ("200-299,400", 250, True),
        ("200-299", 300, False),
    ],
)
def test_matchers(matcher: str, code: int, passes: bool) -> None:
    assert matches(matcher, code) is passes
