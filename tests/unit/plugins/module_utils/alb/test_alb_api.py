"""Each function makes its one call, with the right parameters, and follows pages."""

from __future__ import annotations

import boto3
import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import api
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, CallLog
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL
from botocore.stub import Stubber


@pytest.fixture
def stubbed(clock):
    client = boto3.client("elbv2", region_name="us-west-2")
    with Stubber(client) as stubber:
        yield Aws(client, NORMAL, CallLog(), clock), stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(("given", "parameter"), [("web", "Names"), ("arn:x", "LoadBalancerArns")])
def test_describe_load_balancer(stubbed, given, parameter):
    aws, stubber = stubbed
    stubber.add_response(
        "describe_load_balancers", {"LoadBalancers": [{"LoadBalancerName": "web"}]}, {parameter: [given]}
    )
    assert api.describe_load_balancer(aws, given)["LoadBalancerName"] == "web"


@pytest.mark.parametrize(
    ("function", "argument", "method", "parameters", "key", "name"),
    [
        (api.describe_listeners_of, "lb", "describe_listeners", {"LoadBalancerArn": "lb"}, "Listeners", "ListenerArn"),
        (
            api.describe_listeners,
            ["a", "b"],
            "describe_listeners",
            {"ListenerArns": ["a", "b"]},
            "Listeners",
            "ListenerArn",
        ),
        (api.describe_rules_of, "l", "describe_rules", {"ListenerArn": "l"}, "Rules", "RuleArn"),
        (api.describe_rules, ["a", "b"], "describe_rules", {"RuleArns": ["a", "b"]}, "Rules", "RuleArn"),
        (
            api.describe_target_groups,
            ["n"],
            "describe_target_groups",
            {"Names": ["n"]},
            "TargetGroups",
            "TargetGroupName",
        ),
        (
            api.describe_target_groups,
            ["arn:n"],
            "describe_target_groups",
            {"TargetGroupArns": ["arn:n"]},
            "TargetGroups",
            "TargetGroupArn",
        ),
    ],
)
def test_pages_are_followed(stubbed, function, argument, method, parameters, key, name):
    aws, stubber = stubbed
    stubber.add_response(method, {key: [{name: "1"}], "NextMarker": "m"}, parameters)
    stubber.add_response(method, {key: [{name: "2"}]}, {**parameters, "Marker": "m"})
    assert [item[name] for item in function(aws, argument)] == ["1", "2"]
    assert aws.log.reads == 2


def test_describe_target_group_attributes(stubbed):
    aws, stubber = stubbed
    stubber.add_response("describe_target_group_attributes", {"Attributes": [{"Key": "k"}]}, {"TargetGroupArn": "g"})
    assert api.describe_target_group_attributes(aws, "g") == [{"Key": "k"}]


def test_describe_target_health(stubbed):
    aws, stubber = stubbed
    stubber.add_response(
        "describe_target_health", {"TargetHealthDescriptions": [{"HealthCheckPort": "1"}]}, {"TargetGroupArn": "g"}
    )
    assert api.describe_target_health(aws, "g") == [{"HealthCheckPort": "1"}]


ACTIONS = [{"Type": "forward", "TargetGroupArn": "g"}]
TARGETS = [{"Id": "10.0.0.1", "Port": 80}]


@pytest.mark.parametrize(
    ("function", "method", "parameters"),
    [
        (api.modify_listener, "modify_listener", {"ListenerArn": "x", "DefaultActions": ACTIONS}),
        (api.modify_rule, "modify_rule", {"RuleArn": "x", "Actions": ACTIONS}),
    ],
)
@pytest.mark.parametrize("guard", [None, lambda: None])
def test_modify(stubbed, function, method, parameters, guard):
    aws, stubber = stubbed
    stubber.add_response(method, {}, parameters)
    function(aws, "x", ACTIONS, guard)
    assert [call["resource"] for call in aws.log.calls] == ["x"]


@pytest.mark.parametrize(
    ("function", "method"), [(api.register_targets, "register_targets"), (api.deregister_targets, "deregister_targets")]
)
def test_targets(stubbed, function, method):
    aws, stubber = stubbed
    stubber.add_response(method, {}, {"TargetGroupArn": "g", "Targets": TARGETS})
    function(aws, "g", TARGETS)
    assert aws.log.calls == [{"action": method.title().replace("_", ""), "resource": "g"}]


def test_without_a_guard_there_is_one_attempt(stubbed):
    aws, stubber = stubbed
    stubber.add_client_error("modify_rule", "Throttling")
    with pytest.raises(Exception, match="Throttling"):
        api.modify_rule(aws, "x", ACTIONS)
