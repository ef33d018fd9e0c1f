"""Forward actions: what AWS accepts, and how it answers."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.lab.account import forward


def refusal(function: Any, **arguments: Any) -> str:
    """Return the code with which AWS refuses a call."""
    with pytest.raises(ClientError) as caught:
        function(**arguments)
    return caught.value.response["Error"]["Code"]


@pytest.mark.parametrize("weight", [-1, 1000])
def test_a_weight_is_between_0_and_999(aws: Any, weight: int) -> None:
    balancer = aws.balancer()
    actions = [forward(dict(zip(balancer.groups, (1, weight), strict=True)))]
    assert (
        refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=actions) == "ValidationError"
    )


def test_a_refused_call_changes_nothing(aws: Any) -> None:
    balancer = aws.balancer()
    before = aws.elbv2.describe_listeners(ListenerArns=[balancer.listener])["Listeners"]
    actions = [forward(dict.fromkeys(balancer.groups, 1000))]
    refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=actions, Port=81)
    assert aws.elbv2.describe_listeners(ListenerArns=[balancer.listener])["Listeners"] == before


def test_several_groups_need_weights(aws: Any) -> None:
    balancer = aws.balancer()
    actions = [forward(dict.fromkeys(balancer.groups))]
    assert (
        refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=actions) == "ValidationError"
    )


def test_an_action_takes_at_most_five_groups(aws: Any) -> None:
    balancer = aws.balancer(groups=6)
    rule = aws.elbv2.create_rule(
        ListenerArn=balancer.listener,
        Priority=1,
        Conditions=[{"Field": "path-pattern", "Values": ["/x"]}],
        Actions=[forward(dict.fromkeys(balancer.groups[:5], 1))],
    )["Rules"][0]["RuleArn"]
    actions = [forward(dict.fromkeys(balancer.groups, 1))]
    assert refusal(aws.elbv2.modify_rule, RuleArn=rule, Actions=actions)


def test_a_group_appears_once_in_an_action(aws: Any) -> None:
    balancer = aws.balancer()
    action = forward({balancer.groups[0]: 1})
    action["ForwardConfig"]["TargetGroups"] *= 2
    assert refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=[action])


def test_stickiness_needs_a_duration(aws: Any) -> None:
    balancer = aws.balancer()
    actions = [forward(dict.fromkeys(balancer.groups, 1), TargetGroupStickinessConfig={"Enabled": True})]
    assert (
        refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=actions) == "ValidationError"
    )


def test_the_answer_is_complete_for_the_short_form(aws: Any) -> None:
    balancer = aws.balancer()
    group = balancer.groups[0]
    actions = [{"Type": "forward", "TargetGroupArn": group}]
    answer = aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=actions)["Listeners"][0]
    assert answer["DefaultActions"] == [
        {
            "Type": "forward",
            "TargetGroupArn": group,
            "ForwardConfig": {
                "TargetGroups": [{"TargetGroupArn": group, "Weight": 1}],
                "TargetGroupStickinessConfig": {"Enabled": False},
            },
        }
    ]


@pytest.mark.lab_only
def test_both_calls_replace_the_whole_list_and_keep_weight_0(aws: Any) -> None:
    balancer = aws.balancer(groups=3)
    first, second, third = balancer.groups
    stickiness = {"TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60}}
    rule = aws.elbv2.create_rule(
        ListenerArn=balancer.listener,
        Priority=1,
        Conditions=[{"Field": "path-pattern", "Values": ["/x"]}],
        Actions=[forward({first: 90, second: 10}, **stickiness)],
    )["Rules"][0]["RuleArn"]
    aws.elbv2.modify_rule(RuleArn=rule, Actions=[forward({third: 5, first: 0})])
    aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({third: 5, first: 0})])
    actions = [
        aws.elbv2.describe_rules(RuleArns=[rule])["Rules"][0]["Actions"],
        aws.elbv2.describe_listeners(ListenerArns=[balancer.listener])["Listeners"][0]["DefaultActions"],
        aws.elbv2.describe_rules(ListenerArn=balancer.listener)["Rules"][-1]["Actions"],
    ]
    wanted = forward({third: 5, first: 0}, TargetGroupStickinessConfig={"Enabled": False})
    assert actions == [[wanted]] * 3


def test_a_group_belongs_to_one_load_balancer(aws: Any) -> None:
    vpc = aws.vpc()
    one, other = aws.balancer(vpc=vpc), aws.balancer(vpc=vpc)
    actions = [forward({one.groups[0]: 1, other.groups[0]: 1})]
    code = refusal(aws.elbv2.modify_listener, ListenerArn=one.listener, DefaultActions=actions)
    assert code == "TargetGroupAssociationLimit"


def test_a_group_of_another_vpc_is_refused(aws: Any) -> None:
    balancer, stranger = aws.balancer(), aws.group(aws.vpc())
    actions = [forward({balancer.groups[0]: 1, stranger: 0})]
    assert refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=actions)


def test_a_group_of_another_protocol_is_refused(aws: Any) -> None:
    balancer = aws.balancer()
    tcp = aws.elbv2.create_target_group(Name="tcp", VpcId=balancer.vpc.id, Protocol="TCP", Port=80, TargetType="ip")
    actions = [forward({balancer.groups[0]: 1, tcp["TargetGroups"][0]["TargetGroupArn"]: 0})]
    assert refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=actions)


def test_an_unknown_group_is_refused_by_both_calls(aws: Any) -> None:
    balancer = aws.balancer()
    unknown = balancer.groups[0][:-4] + "0000"
    code = refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=[forward({unknown: 1})])
    assert code == "TargetGroupNotFound"


def test_an_action_list_ends_with_the_one_that_answers(aws: Any) -> None:
    balancer = aws.balancer()
    actions = [forward({group: 1}) | {"Order": n} for n, group in enumerate(balancer.groups, start=1)]
    assert refusal(aws.elbv2.modify_listener, ListenerArn=balancer.listener, DefaultActions=actions)


def test_a_group_tells_its_load_balancer_as_long_as_it_is_attached(aws: Any) -> None:
    balancer = aws.balancer()
    blue, green = balancer.groups
    aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({green: 1})])
    found = aws.elbv2.describe_target_groups(TargetGroupArns=[blue, green])["TargetGroups"]
    assert {group["TargetGroupArn"]: group["LoadBalancerArns"] for group in found} == {blue: [], green: [balancer.arn]}


def test_a_load_balancer_that_forwards_to_no_group_has_none(aws: Any) -> None:
    balancer = aws.balancer()
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}
    aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[fixed])
    try:
        assert aws.elbv2.describe_target_groups(LoadBalancerArn=balancer.arn)["TargetGroups"] == []
    except ClientError as error:
        pytest.fail(f"AWS has no complaint: {error}")
