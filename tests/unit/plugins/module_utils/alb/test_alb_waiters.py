"""What is waited for, and what is not."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import guard, health, targets, waiters
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL

UNUSED = "Target group is not configured to receive traffic from the load balancer"


def described(n, state="healthy", reason=None, description=None):
    known = {"State": state, "Reason": reason, "Description": description}
    return {
        "Target": {"Id": f"10.0.0.{n}", "Port": 80},
        "TargetHealth": {key: value for key, value in known.items() if value},
    }


class Script(dict):
    """Per group, what each poll finds; the last stays."""

    def get(self, arn, _default=None):
        states = self[arn]
        return states.pop(0) if len(states) > 1 else states[0]


def demand(arns, **options):
    defaults = {
        "min_healthy": 1,
        "min_healthy_percent": 100,
        "stable_polls": 3,
        "interval": 5.0,
        "timeout": 60.0,
        "fence": None,
    }
    return {"target_groups": arns, **defaults, **options}


def wait(connect, wanted):
    return health.run(connect, wanted, False)


def test_healthy_groups_are_stable_after_three_polls(memory, connect, arns, clock):
    memory.targets = Script({arns.green: [[described(1), described(2)]]})
    result = wait(connect, demand([arns.green]))
    assert (result["stable"], result["polls"], result["waited"]) == (True, 3, 10.0)
    assert clock.slept == [5.0, 5.0]
    assert connect.log.reads == 3


def test_polls_have_to_be_on_end(memory, connect, arns):
    good, bad = [described(1)], [described(1, "unhealthy", "Target.Timeout")]
    memory.targets = Script({arns.green: [good, good, bad, good]})
    assert wait(connect, demand([arns.green]))["polls"] == 6


def test_every_group_has_to_be_healthy(memory, connect, arns):
    good, bad = [described(1)], [described(1, "unhealthy", "Target.Timeout")]
    memory.targets = Script({arns.blue: [good], arns.green: [bad, good]})
    assert wait(connect, demand([arns.blue, arns.green], stable_polls=1))["polls"] == 2


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("count", [2, 100])
def test_reads_stay_below_half_a_read_a_second_however_many_targets_there_are(
    memory, connect, clock, arns, number, count
):
    groups = [f"{arns.green}{n}" for n in range(number)]
    memory.targets = Script({arn: [[described(n, "initial") for n in range(count)]] for arn in groups})
    began = clock.now
    with pytest.raises(Failure):
        wait(connect, demand(groups, interval=0.1, timeout=600.0))
    assert (connect.log.reads - number) / (clock.now - began) <= 0.5


def test_the_time_ends_and_says_what_is_missing(memory, connect, arns, clock):
    memory.targets = Script({arns.green: [[described(1), described(2, "unhealthy", "Target.Timeout")]]})
    with pytest.raises(Failure, match=r"1 of 2 healthy, 2 required .*10.0.0.2:80 unhealthy Target.Timeout") as caught:
        wait(connect, demand([arns.green]))
    assert 60 <= sum(clock.slept) < 61
    assert caught.value.details["groups"][arns.green]["healthy"] == 1


def test_healthy_but_not_for_long_enough_is_said(memory, connect, arns):
    memory.targets = Script({arns.green: [[described(1)]]})
    with pytest.raises(Failure, match="not stable for long enough"):
        wait(connect, demand([arns.green], timeout=5.0))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "Register targets first"),
        ([described(1, "draining", "Target.DeregistrationInProgress")], "Register targets first"),
        ([described(1, "unused", "Target.InvalidState")], "Start these instances"),
        ([described(1, "unavailable", "Target.HealthCheckDisabled")], "Enable health checks"),
        (
            [described(1, "unused", "Target.NotInUse", "Target is in an Availability Zone that is not enabled")],
            "Availability Zone",
        ),
        ([described(1), described(2, "unused", "Target.NotInUse", UNUSED)], "Availability Zone"),
        ([described(1, "unused", "Target.IpUnusable")], "addresses"),
    ],
)
def test_what_cannot_heal_fails_at_once(memory, connect, arns, clock, found, message):
    memory.targets = {arns.green: found}
    with pytest.raises(Failure, match=message):
        wait(connect, demand([arns.green]))
    assert clock.slept == []


def test_a_broken_target_beside_enough_others_is_no_reason_to_stop(memory, connect, arns):
    memory.targets = {arns.green: [described(1), described(2, "unused", "Target.InvalidState")]}
    assert wait(connect, demand([arns.green], min_healthy_percent=50))["stable"]


def test_an_unattached_group_fails_at_the_second_look(memory, connect, arns, clock):
    memory.targets = {arns.green: [described(1, "unused", "Target.NotInUse", UNUSED)]}
    with pytest.raises(Failure, match="Attach it at weight 0 first"):
        wait(connect, demand([arns.green]))
    assert clock.slept == [5.0]


def test_a_group_that_was_just_attached_gets_time(memory, connect, arns):
    unused = [described(1, "unused", "Target.NotInUse", UNUSED)]
    memory.targets = Script({arns.green: [unused, unused, unused, [described(1)]]})
    memory.load_balancers = {arns.green: ["lb"]}
    assert wait(connect, demand([arns.green]))["stable"]


def test_but_not_for_ever(memory, connect, arns, clock):
    memory.targets = {arns.green: [described(1, "unused", "Target.NotInUse", UNUSED)]}
    memory.load_balancers = {arns.green: ["lb"]}
    with pytest.raises(Failure, match="Attach it"):
        wait(connect, demand([arns.green], timeout=600.0))
    assert sum(clock.slept) == waiters.ATTACH_GRACE


LEASE = {"bucket": "b", "key": "k", "token": 7, "ttl": 30}


def test_the_lease_is_kept_while_waiting(memory, connect, arns, clock, monkeypatch):
    renewed = []
    monkeypatch.setattr(health.lease.fence, "renew", lambda *place: renewed.append((clock.now, *place[1:])))
    memory.targets = {arns.green: [described(1, "initial", "Elb.InitialHealthChecking")]}
    with pytest.raises(Failure, match="within 60 s"):
        wait(connect, demand([arns.green], fence=LEASE))
    assert renewed == [(1_000.0 + seconds, "b", "k", 7, 30) for seconds in range(0, 61, 10)]
    assert connect.log.reads == 13


def test_a_lost_lease_ends_the_wait(memory, connect, arns, monkeypatch):
    def renew(*_place):
        raise guard.fence.FenceLost("our token", "another", "Stop.", owner="them")

    monkeypatch.setattr(health.lease.fence, "renew", renew)
    with pytest.raises(guard.fence.FenceLost):
        wait(connect, demand([arns.green], fence=LEASE))
    assert memory.calls == []


def test_check_mode_reads_once_and_claims_nothing(memory, connect, arns, clock):
    memory.targets = {arns.green: [described(1)]}
    result = health.run(connect, demand([arns.green]), True)
    assert (result["stable"], result["polls"], clock.slept, connect.log.reads) == (False, 1, [], 1)
    memory.targets = {}
    assert not health.run(connect, demand([arns.green]), True)["stable"]


def test_another_region_is_refused_before_any_call(memory, connect, arns):
    with pytest.raises(Failure, match=r"us-west-2, the region of this task; found .* in eu-west-1"):
        wait(connect, demand([arns.green.replace("us-west-2", "eu-west-1")]))
    assert memory.calls == []


def test_read_forwards_needs_two_calls_for_any_number(memory, connect, arns):
    memory.actions = {arn: [{"Type": "forward", "TargetGroupArn": arns.blue}] for arn in [arns.listener, *arns.rules]}
    found = waiters.read_forwards(connect("elbv2", NORMAL), [*arns.rules, arns.listener])
    assert set(found) == {arns.listener, *arns.rules}
    assert connect.log.reads == 2


def test_read_forwards_refuses_default_rules_and_what_is_missing(memory, connect, arns):
    aws = connect("elbv2", NORMAL)
    memory.actions[arns.rules[0]] = []
    memory.default_rules = {arns.rules[0]}
    with pytest.raises(Failure, match="ARN of the listener instead"):
        waiters.read_forwards(aws, arns.rules[:1])
    with pytest.raises(Failure, match="no such listener or rule"):
        waiters.read_forwards(aws, arns.rules[1:2])


def wanted_targets(*numbers):
    return [{"id": f"10.0.0.{n}", "port": 80, "availability_zone": None} for n in numbers]


def change_targets(connect, arns, numbers, **options):
    defaults = {"state": "present", "purge": False, "wait": True, "wait_timeout": 60, "fence": None, "forwards": []}
    return targets.run(
        connect, {"target_group": arns.green, "targets": wanted_targets(*numbers), **defaults, **options}, False
    )


@pytest.fixture
def _accepting(memory):
    memory.RegisterTargets = memory.DeregisterTargets = lambda body: {}


@pytest.mark.usefixtures("_accepting")
def test_targets_are_waited_for_until_healthy(memory, connect, arns, clock):
    memory.targets = Script({arns.green: [[], [described(1, "initial")], [described(1)]]})
    assert change_targets(connect, arns, [1])["targets"][0]["state"] == "healthy"
    assert clock.slept == [2.0]
    assert memory.called("RegisterTargets") == 1


@pytest.mark.usefixtures("_accepting")
def test_draining_targets_are_waited_for_until_gone(memory, connect, arns, clock):
    draining = [described(1, "draining", "Target.DeregistrationInProgress"), described(2)]
    memory.targets = Script({arns.green: [draining, draining, draining, [described(2)]]})
    result = change_targets(connect, arns, [1], state="absent")
    assert not result["changed"]
    assert memory.called("DeregisterTargets") == 0
    assert sum(clock.slept) == 4.0


@pytest.mark.usefixtures("_accepting")
def test_waiting_for_targets_ends(memory, connect, arns):
    memory.targets = {arns.green: [described(1, "unhealthy", "Target.Timeout")]}
    with pytest.raises(Failure, match=r"healthy within 60 s; found 10.0.0.1:80 unhealthy"):
        change_targets(connect, arns, [1])


@pytest.mark.usefixtures("_accepting")
def test_the_fence_is_asked_before_targets_change(memory, connect, arns, monkeypatch):
    asked = []

    def check(_s3, *place):
        asked.append(place)
        if len(asked) == 3:
            raise guard.fence.FenceLost("our token", "another", "Stop.", owner="them")

    monkeypatch.setattr(guard.fence, "check", check)
    memory.faults["RegisterTargets"] = ["Throttling"]
    memory.targets = {arns.green: [described(2)]}
    fence = {"bucket": "b", "key": "k", "token": 7}
    with pytest.raises(guard.fence.FenceLost):
        change_targets(connect, arns, [1], purge=True, wait=False, fence=fence)
    assert asked == [("b", "k", 7)] * 3
    assert (memory.called("RegisterTargets"), memory.called("DeregisterTargets")) == (2, 0)


def forward(weights):
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


@pytest.mark.usefixtures("_accepting")
@pytest.mark.parametrize(("weight", "purged"), [(10, False), (0, True)])
def test_targets_that_serve_are_not_purged(memory, connect, arns, weight, purged):
    redirect = [{"Type": "redirect"}]
    memory.actions = {arns.listener: redirect, arns.rules[0]: forward({arns.blue: 90, arns.green: weight})}
    memory.targets = {arns.green: [described(1), described(2)]}
    options = {"purge": True, "wait": False, "forwards": [arns.listener, arns.rules[0]]}
    if purged:
        change_targets(connect, arns, [1], **options)
    else:
        with pytest.raises(Failure, match=f"10.0.0.2:80 are purged .*; found weight 10 on {arns.rules[0]}"):
            change_targets(connect, arns, [1], **options)
    assert memory.called("DeregisterTargets") == purged


@pytest.mark.usefixtures("_accepting")
def test_a_purge_of_nothing_reads_no_forwards(memory, connect, arns):
    memory.targets = {arns.green: [described(1)]}
    change_targets(connect, arns, [1, 2], purge=True, wait=False, forwards=[arns.listener])
    assert memory.called("DescribeListeners") == 0
