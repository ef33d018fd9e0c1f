"""Shapes of boto3 become ours, and action lists survive the way back."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import transformations as t
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure

AUTHENTICATE = {
    "Type": "authenticate-oidc",
    "Order": 1,
    "AuthenticateOidcConfig": {"Issuer": "https://id", "ClientId": "me", "SessionTimeout": 60},
}


def forward(*groups, **options):
    return {
        "Type": "forward",
        "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": a, "Weight": w} for a, w in groups]},
        **options,
    }


def test_kind_of(arns):
    assert t.kind_of(arns.listener) == "listener"
    assert t.kind_of(arns.rules[0]) == "rule"


@pytest.mark.parametrize("arn", ["web", "arn:aws:elasticloadbalancing:us-west-2:1:targetgroup/web/1"])
def test_kind_of_refuses_what_has_no_actions(arn):
    with pytest.raises(Failure, match=r"Expected .*; found"):
        t.kind_of(arn)


def test_actions_of_rule_and_listener():
    assert t.actions_of({"RuleArn": "r", "Actions": [1]}) == [1]
    assert t.actions_of({"ListenerArn": "l", "DefaultActions": [2]}) == [2]


def test_forward_index_is_none_without_a_forward():
    assert t.forward_index([AUTHENTICATE, forward(("b", 1))]) == 1
    assert t.forward_index([{"Type": "redirect"}]) is None


@pytest.mark.parametrize(
    ("action", "weights"),
    [
        ({"Type": "forward", "TargetGroupArn": "b"}, {"b": 1}),
        (
            {"Type": "forward", "TargetGroupArn": "b", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "b"}]}},
            {"b": 1},
        ),
        (forward(("b", 0), ("g", "100")), {"b": 0, "g": 100}),
        ({"Type": "forward", "ForwardConfig": None}, {}),
    ],
)
def test_weights_of(action, weights):
    assert t.weights_of(action) == weights


@pytest.mark.parametrize(
    ("config", "stickiness"),
    [
        (None, {"enabled": False, "duration": None}),
        ({}, {"enabled": False, "duration": None}),
        ({"Enabled": False, "DurationSeconds": 60}, {"enabled": False, "duration": None}),
        ({"Enabled": True, "DurationSeconds": 60}, {"enabled": True, "duration": 60}),
        ({"Enabled": "true", "DurationSeconds": "60"}, {"enabled": True, "duration": 60}),
    ],
)
def test_stickiness_of(config, stickiness):
    action = {"Type": "forward", "ForwardConfig": {"TargetGroups": [], "TargetGroupStickinessConfig": config}}
    assert t.stickiness_of(action) == stickiness


def test_with_forward_changes_nothing_else():
    actions = [AUTHENTICATE, forward(("b", 100), Order=2, TargetGroupArn="b")]
    before = copy.deepcopy(actions)
    changed = t.with_forward(actions, {"b": 90, "g": 10}, {"enabled": True, "duration": 60})
    assert actions == before
    assert changed[0] == {
        **AUTHENTICATE,
        "AuthenticateOidcConfig": {**AUTHENTICATE["AuthenticateOidcConfig"], "UseExistingClientSecret": True},
    }
    assert changed[1] == {
        "Type": "forward",
        "Order": 2,
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": "b", "Weight": 90}, {"TargetGroupArn": "g", "Weight": 10}],
            "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60},
        },
    }


def test_with_forward_keeps_the_order_of_the_groups():
    changed = t.with_forward(
        [forward(("g", 1), ("b", 1))], {"b": 2, "g": 3, "a": 0}, {"enabled": False, "duration": None}
    )
    assert list(t.weights_of(changed[0])) == ["g", "b", "a"]


def test_writable_restores_types_and_keeps_a_new_client_secret():
    oidc = {**AUTHENTICATE["AuthenticateOidcConfig"], "ClientSecret": "x", "SessionTimeout": "60"}
    actions = [
        {**AUTHENTICATE, "Order": "1", "AuthenticateOidcConfig": oidc},
        {**forward(("b", "0"), ("g", "5")), "TargetGroupArn": None},
    ]
    written = t.writable(actions)
    assert written[0]["Order"] == 1
    assert written[0]["AuthenticateOidcConfig"]["SessionTimeout"] == 60
    assert "UseExistingClientSecret" not in written[0]["AuthenticateOidcConfig"]
    assert written[1] == forward(("b", 0), ("g", 5))


def test_writable_leaves_a_lone_target_group():
    assert t.writable([{"Type": "forward", "TargetGroupArn": "b"}]) == [{"Type": "forward", "TargetGroupArn": "b"}]


def test_load_balancer_from_boto():
    given = {
        "LoadBalancerArn": "a",
        "LoadBalancerName": "n",
        "DNSName": "d",
        "VpcId": "v",
        "Scheme": "internal",
        "Type": "x",
    }
    assert t.load_balancer_from_boto(given) == {
        "arn": "a",
        "name": "n",
        "dns_name": "d",
        "vpc_id": "v",
        "scheme": "internal",
    }


def test_target_group_from_boto():
    given = {
        "TargetGroupArn": "a",
        "TargetGroupName": "n",
        "VpcId": "v",
        "Protocol": "HTTP",
        "Port": 80,
        "TargetType": "ip",
    }
    assert t.target_group_from_boto({**given, "ProtocolVersion": "HTTP2", "LoadBalancerArns": ["l"]}) == {
        "arn": "a",
        "name": "n",
        "vpc_id": "v",
        "protocol": "HTTP",
        "protocol_version": "HTTP2",
        "port": 80,
        "target_type": "ip",
        "load_balancers": ["l"],
    }


def test_deregistration_delay_of():
    assert (
        t.deregistration_delay_of(
            [{"Key": "x", "Value": "1"}, {"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
        )
        == 0
    )
    assert t.deregistration_delay_of([]) is None


def test_targets_from_boto_are_sorted():
    described = [
        {"Target": {"Id": "10.0.0.2", "Port": 80}, "TargetHealth": {"State": "healthy"}},
        {
            "Target": {"Id": "10.0.0.1", "Port": 80},
            "TargetHealth": {"State": "unused", "Reason": "R", "Description": "D"},
        },
    ]
    first, second = t.targets_from_boto(described)
    assert first == {"id": "10.0.0.1", "port": 80, "state": "unused", "reason": "R", "description": "D"}
    assert second == {"id": "10.0.0.2", "port": 80, "state": "healthy", "reason": None, "description": None}


def test_targets_to_boto():
    given = [
        {"id": "a", "port": 1, "availability_zone": "all"},
        {"id": "b", "port": 2, "availability_zone": None},
        {"id": "c", "port": 3},
    ]
    assert t.targets_to_boto(given) == [
        {"Id": "a", "Port": 1, "AvailabilityZone": "all"},
        {"Id": "b", "Port": 2},
        {"Id": "c", "Port": 3},
    ]
