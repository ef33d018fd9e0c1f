"""What is decided from what is."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import plan
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure

UNSTICKY = {"enabled": False, "duration": None}


def group(n):
    return f"arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/g{n}/{n}"


BLUE, GREEN, OTHER = group(0), group(1), group(2)


def forward(weights, **options):
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}, **options}


def planned(actions, weights, stickiness=None, expected=None):
    return plan.plan_forward("arn", actions, weights, stickiness, expected)


@pytest.mark.parametrize(("given", "number"), [(0, 0), (999, 999), ("90", 90), (" 7 ", 7)])
def test_weight_is_an_integer_from_0_to_999(given, number):
    assert plan.parse_weights({BLUE: 1, GREEN: given}, "weights") == {BLUE: 1, GREEN: number}


@pytest.mark.parametrize("given", [-1, 1000, 1.5, 90.0, "-1", "1e2", "", "ten", True, None, [1]])
def test_other_weights_are_refused(given):
    with pytest.raises(Failure, match="integer from 0 to 999"):
        plan.parse_weights({BLUE: 1, GREEN: given}, "weights")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "at least one"),
        ({BLUE: 0, GREEN: 0}, "above 0"),
        ({"blue": 1}, "an ARN"),
        ({"arn:aws:elasticloadbalancing:us-west-2:1:listener/app/x/1/2": 1}, "target group ARNs"),
        ({group(n): 1 for n in range(6)}, "at most 5"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    with pytest.raises(Failure, match=message):
        plan.parse_weights(weights, "weights")


def test_five_groups_are_accepted():
    assert len(plan.parse_weights({group(n): 1 for n in range(5)}, "weights")) == 5


def test_parse_stickiness():
    assert plan.parse_stickiness(None) is None
    assert plan.parse_stickiness({"enabled": False, "duration": 60}) == UNSTICKY
    assert plan.parse_stickiness({"enabled": True, "duration": 60}) == {"enabled": True, "duration": 60}


@pytest.mark.parametrize("duration", [None, 0, 604801])
def test_parse_stickiness_refuses_durations_that_aws_refuses(duration):
    with pytest.raises(Failure, match="1 to 604800"):
        plan.parse_stickiness({"enabled": True, "duration": duration})


def test_require_forward_names_what_is_there():
    plan.require_forward("arn", [forward({BLUE: 1})])
    with pytest.raises(Failure, match="found redirect"):
        plan.require_forward("arn", [{"Type": "redirect"}])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({BLUE: 1}, {BLUE: 100}, True),
        ({BLUE: 1, GREEN: 1}, {BLUE: 50, GREEN: 50}, True),
        ({BLUE: 2, GREEN: 1}, {BLUE: 50, GREEN: 50}, False),
        ({BLUE: 1}, {BLUE: 1, GREEN: 0}, False),
        ({BLUE: 0, GREEN: 5}, {GREEN: 5, BLUE: 0}, True),
        ({BLUE: 0}, {BLUE: 0}, True),
    ],
)
def test_same_shares(one, other, same):
    assert plan.same_shares(one, other) is same
    assert plan.same_shares(other, one) is same


@pytest.mark.parametrize(
    ("live", "expected", "declared", "is_expected"),
    [
        ({BLUE: 1}, {BLUE: 100}, {BLUE: 100, GREEN: 0}, True),  # about to attach
        ({BLUE: 100, GREEN: 0}, {BLUE: 100}, {BLUE: 100, GREEN: 0}, True),  # attached by a run that was killed
        ({BLUE: 90, GREEN: 10}, {BLUE: 100, GREEN: 0}, {BLUE: 90, GREEN: 10}, True),  # moved by a run that was killed
        (
            {BLUE: 100, GREEN: 0, OTHER: 0},
            {BLUE: 100, GREEN: 0},
            {BLUE: 90, GREEN: 10},
            True,
        ),  # somebody's parked group
        ({BLUE: 50, GREEN: 50}, {BLUE: 100, GREEN: 0}, {BLUE: 90, GREEN: 10}, False),
        (
            {BLUE: 100},
            {BLUE: 100, GREEN: 0},
            {BLUE: 90, GREEN: 10},
            False,
        ),  # green is detached: nobody checks its health
        ({BLUE: 100, GREEN: 0, OTHER: 1}, {BLUE: 100, GREEN: 0}, {BLUE: 90, GREEN: 10}, False),
    ],
)
def test_is_expected(live, expected, declared, is_expected):
    assert plan.is_expected(live, expected, declared) is is_expected


def test_plan_forward_says_what_to_write():
    result = planned([forward({BLUE: 100})], {BLUE: 90, GREEN: 10})
    assert result["before"] == {"weights": {BLUE: 100}, "stickiness": UNSTICKY}
    assert result["after"] == {"weights": {BLUE: 90, GREEN: 10}, "stickiness": UNSTICKY}
    assert result["actions"][0]["ForwardConfig"]["TargetGroups"][1] == {"TargetGroupArn": GREEN, "Weight": 10}


@pytest.mark.parametrize(
    "action",
    [
        forward({BLUE: 90, GREEN: 10}),
        forward({GREEN: 10, BLUE: 90}),
        forward({GREEN: 10, BLUE: 90}, Order=1),
        forward({GREEN: "10", BLUE: "90"}),
        forward({GREEN: 10, BLUE: 90}, TargetGroupArn=None),
    ],
)
def test_nothing_is_written_when_the_action_already_is_so(action):
    assert planned([action], {BLUE: 90, GREEN: 10})["actions"] is None


def test_stickiness_stays_unless_declared():
    action = forward({BLUE: 1})
    action["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": 60}
    assert planned([action], {BLUE: 2})["after"]["stickiness"] == {"enabled": True, "duration": 60}
    assert planned([action], {BLUE: 1}, UNSTICKY)["actions"] is not None
    assert planned([action], {BLUE: 1}, {"enabled": True, "duration": 60})["actions"] is None


def test_a_group_of_weight_0_that_is_not_named_stays():
    result = planned([forward({BLUE: 100, OTHER: 0})], {BLUE: 90, GREEN: 10})
    assert result["after"]["weights"] == {BLUE: 90, OTHER: 0, GREEN: 10}


def test_a_group_with_traffic_that_is_not_named_is_refused():
    with pytest.raises(Failure, match="g2=1 as well"):
        planned([forward({BLUE: 100, OTHER: 1})], {BLUE: 90, GREEN: 10})


def test_parked_groups_count_towards_five():
    parked = {group(n): 0 for n in range(2, 6)}
    with pytest.raises(Failure, match="at most 5"):
        planned([forward({BLUE: 100, **parked})], {BLUE: 90, GREEN: 10})


def test_a_foreign_writer_is_named_before_anything_is_written():
    with pytest.raises(Failure, match="somebody else changed them") as caught:
        planned([forward({BLUE: 50, GREEN: 50})], {BLUE: 90, GREEN: 10}, expected={BLUE: 100, GREEN: 0})
    assert caught.value.details["foreign_writer"]["found"] == {BLUE: 50, GREEN: 50}


def test_plan_traffic_plans_each():
    forwards = [{"arn": "a", "actions": [forward({BLUE: 1})]}, {"arn": "b", "actions": [forward({BLUE: 2})]}]
    assert [item["actions"] is None for item in plan.plan_traffic(forwards, {BLUE: 2}, None, None)] == [False, True]


def test_plan_restore(arns):
    [item] = plan.plan_restore([{"arn": arns.listener, "actions": [forward({BLUE: "7"}, TargetGroupArn=BLUE)]}])
    assert item["actions"] == [forward({BLUE: 7})]
    assert item["after"] == {"weights": {BLUE: 7}, "stickiness": UNSTICKY}


@pytest.mark.parametrize("restore", [[], [{"arn": "x", "actions": []}]])
def test_plan_restore_refuses_what_it_cannot_put_back(restore, arns):
    with pytest.raises(Failure):
        plan.plan_restore(restore)
    with pytest.raises(Failure, match="no action"):
        plan.plan_restore([{"arn": arns.listener, "actions": []}])


def test_diff_of():
    assert plan.diff_of([{"arn": "a", "before": 1, "after": 2}, {"arn": "b", "after": 3}]) == {
        "before": {"a": 1},
        "after": {"a": 2, "b": 3},
    }


def test_action_name(arns):
    assert plan.action_name(arns.listener) == "ModifyListener"
    assert plan.action_name(arns.rules[0]) == "ModifyRule"


def target(n, state="healthy", reason=None, description=None):
    return {"id": f"10.0.0.{n}", "port": 80, "state": state, "reason": reason, "description": description}


def wanted(n):
    return {"id": f"10.0.0.{n}", "port": 80, "availability_zone": None}


def test_plan_targets_registers_what_is_absent_or_draining():
    result = plan.plan_targets([target(1), target(2, "draining")], [wanted(1), wanted(2), wanted(3)], "present", False)
    assert [item["id"] for item in result["register"]] == ["10.0.0.2", "10.0.0.3"]
    assert result["deregister"] == []
    assert result["before"] == ["10.0.0.1:80"]
    assert result["after"] == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]


def test_plan_targets_purges_only_when_asked():
    current = [target(1), target(2), target(3, "draining")]
    assert plan.plan_targets(current, [wanted(1)], "present", False)["deregister"] == []
    result = plan.plan_targets(current, [wanted(1)], "present", True)
    assert result["deregister"] == [{"id": "10.0.0.2", "port": 80}]
    assert result["after"] == ["10.0.0.1:80"]


def test_plan_targets_deregisters_once():
    result = plan.plan_targets([target(1), target(2, "draining")], [wanted(1), wanted(2), wanted(3)], "absent", False)
    assert result["deregister"] == [{"id": "10.0.0.1", "port": 80}]
    assert result["register"] == [] and result["after"] == []


def test_plan_targets_knows_a_target_by_its_port_too():
    assert plan.plan_targets([target(1)], [{**wanted(1), "port": 81}], "present", False)["register"]


def test_plan_targets_writes_ipv6_in_brackets():
    assert plan.plan_targets([], [{"id": "fd00::1", "port": 80}], "present", False)["after"] == ["[fd00::1]:80"]


def test_staying():
    gone = [target(1, "draining"), target(2, "unhealthy.draining"), target(3, "unused", "Target.NotRegistered")]
    assert plan.staying([*gone, target(4), target(5, "unused", "Target.NotInUse")]) == [
        target(4),
        target(5, "unused", "Target.NotInUse"),
    ]


@pytest.mark.parametrize(
    ("healthy", "unhealthy", "number", "percent", "required", "met"),
    [
        (2, 0, 1, 100, 2, True),
        (1, 1, 1, 100, 2, False),
        (1, 1, 1, 50, 1, True),
        (1, 2, 1, 50, 2, False),  # a third of a target is one too few
        (1, 0, 2, 0, 2, False),
        (0, 0, 0, 0, 0, False),  # an empty group is never healthy
    ],
)
def test_judge_health(healthy, unhealthy, number, percent, required, met):
    targets = [target(n) for n in range(healthy)] + [target(9 - n, "unhealthy") for n in range(unhealthy)]
    judged = plan.judge_health(targets, number, percent)
    assert (judged["healthy"], judged["required"], judged["met"]) == (healthy, required, met)


def test_draining_targets_do_not_count():
    assert plan.judge_health([target(1), target(2, "draining")], 1, 100)["met"]


@pytest.mark.parametrize("reason", sorted(plan.HOPELESS - {"Target.NotRegistered"}))
def test_too_few_targets_that_can_heal_are_out_of_reach(reason):
    targets = [target(1, "initial"), target(2, "unused", reason)]
    assert plan.judge_health(targets, 1, 100)["out_of_reach"]
    assert not plan.judge_health(targets, 1, 50)["out_of_reach"]
    assert plan.judge_health(targets, 1, 50)["hopeless"] == [targets[1]]


def test_an_empty_group_is_out_of_reach():
    assert plan.judge_health([], 0, 0)["out_of_reach"]


ZONE = "Target is in an Availability Zone that is not enabled for the load balancer"
UNUSED = "Target group is not configured to receive traffic from the load balancer"


@pytest.mark.parametrize(
    ("targets", "unattached"),
    [
        ([target(1, "unused", "Target.NotInUse", UNUSED), target(2, "unused", "Target.NotInUse", UNUSED)], True),
        ([target(1, "unused", "Target.NotInUse", ZONE)], False),
        ([target(1, "initial"), target(2, "unused", "Target.NotInUse", UNUSED)], False),
        ([], False),
    ],
)
def test_an_unattached_group_is_told_from_a_zone_that_is_not_enabled(targets, unattached):
    assert plan.judge_health(targets, 1, 100)["unattached"] is unattached


@pytest.mark.parametrize(("interval", "groups", "seconds"), [(5, 1, 5), (1, 1, 2), (1, 2, 4), (5, 4, 8), (10, 2, 10)])
def test_poll_interval_keeps_to_half_a_read_a_second(interval, groups, seconds):
    assert plan.poll_interval(interval, groups) == seconds


@pytest.mark.parametrize(
    ("forwards", "totals", "summary"),
    [
        ([{BLUE: 1}], (1, 0), (True, "blue", False)),
        ([{BLUE: 1}], (0, 1), (True, "blue", True)),
        ([{BLUE: 100, GREEN: 0}, {BLUE: 1, GREEN: 0}], (1, 1), (True, "blue", False)),
        ([{BLUE: 100, GREEN: 0}, {BLUE: 1}], (1, 1), (True, "blue", False)),
        ([{BLUE: 1}, {BLUE: 100, OTHER: 0}], (1, 1), (True, "blue", False)),
        ([{BLUE: 1}, {BLUE: 1, GREEN: 1}], (1, 1), (False, None, False)),
        ([{BLUE: 50, GREEN: 50}], (1, 1), (True, None, False)),
        ([{BLUE: 1}, {GREEN: 1}], (1, 1), (False, None, False)),
        ([{BLUE: 1, OTHER: 1}], (1, 1), (True, None, False)),
        ([{OTHER: 1}], (0, 0), (True, None, False)),
        ([{}], (1, 1), (True, None, False)),
        ([], (1, 1), (False, None, False)),
    ],
)
def test_describe_traffic(forwards, totals, summary):
    groups = {"blue": {"arn": BLUE, "total": totals[0]}, "green": {"arn": GREEN, "total": totals[1]}}
    described = plan.describe_traffic([{"weights": weights} for weights in forwards], groups)
    assert (described["consistent"], described["live_color"], described["empty"]) == summary


def problems(weights=None, actions=None, **green):
    base = {"vpc_id": "vpc-1", "protocol": "HTTP", "protocol_version": "HTTP1", "target_type": "ip"}
    groups = {"blue": {**base, "arn": BLUE, "name": "b"}, "green": {**base, "arn": GREEN, "name": "g", **green}}
    weights = {BLUE: 1} if weights is None else weights
    item = {"arn": "a", "port": 443, "priority": None, "weights": weights, "actions": actions or [forward(weights)]}
    return plan.find_problems({"name": "web", "vpc_id": "vpc-1"}, [item], groups)


def test_no_problems():
    assert problems() == []


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"vpc_id": "vpc-2"}, "found it in vpc-2"),
        ({"protocol": "HTTPS"}, "blue=HTTP, green=HTTPS"),
        ({"protocol_version": "HTTP2"}, "protocol version"),
        ({"target_type": "instance"}, "target type"),
        ({"arn": BLUE}, "given twice"),
        ({"weights": {BLUE: 1, OTHER: 1}}, "g2=1"),
        ({"weights": {BLUE: 1, **{group(n): 0 for n in range(2, 6)}}}, "found 6"),
        ({"weights": {}, "actions": [{"Type": "redirect"}]}, "found redirect"),
    ],
)
def test_each_problem_is_one_sentence_that_says_what_to_do(case, words):
    [problem] = problems(**case)
    assert words in problem
    assert problem.startswith("expected ") and "; found " in problem and ":" in problem.split("; found ")[1]


def test_describe_forward():
    assert plan.describe_forward(443, None) == "the default action of port 443"
    assert plan.describe_forward(443, 10) == "rule 10 of port 443"
