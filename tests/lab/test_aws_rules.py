"""Rules: order, notation, and the default rule."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.lab.account import forward


def make_rule(aws: Any, balancer: Any, priority: int, condition: dict[str, Any]) -> str:
    """Return the ARN of a rule that forwards to the first group."""
    actions = [forward({balancer.groups[0]: 1})]
    rule = aws.elbv2.create_rule(
        ListenerArn=balancer.listener, Priority=priority, Conditions=[condition], Actions=actions
    )
    return rule["Rules"][0]["RuleArn"]


def test_rules_are_answered_by_priority(aws: Any) -> None:
    balancer = aws.balancer()
    for priority in (30, 4, 100):
        make_rule(aws, balancer, priority, {"Field": "path-pattern", "Values": [f"/{priority}"]})
    rules = aws.elbv2.describe_rules(ListenerArn=balancer.listener)["Rules"]
    assert [rule["Priority"] for rule in rules] == ["4", "30", "100", "default"]


def test_conditions_are_answered_in_both_notations(aws: Any) -> None:
    balancer = aws.balancer()
    make_rule(aws, balancer, 1, {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a", "/b"]}})
    make_rule(aws, balancer, 2, {"Field": "host-header", "Values": ["a.example"]})
    rules = aws.elbv2.describe_rules(ListenerArn=balancer.listener)["Rules"]
    assert [rule["Conditions"] for rule in rules[:2]] == [
        [{"Field": "path-pattern", "Values": ["/a", "/b"], "PathPatternConfig": {"Values": ["/a", "/b"]}}],
        [{"Field": "host-header", "Values": ["a.example"], "HostHeaderConfig": {"Values": ["a.example"]}}],
    ]


def test_the_default_rule_is_modified_through_its_listener_only(aws: Any) -> None:
    balancer = aws.balancer()
    rule = aws.elbv2.describe_rules(ListenerArn=balancer.listener)["Rules"][-1]["RuleArn"]
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        aws.elbv2.modify_rule(RuleArn=rule, Actions=[forward({balancer.groups[1]: 1})])
