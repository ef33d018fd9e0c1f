"""List limits and pages of the ELBv2 API."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.aws.overlay.pages import page
from tests.lab.account import forward


def test_at_most_20_resources_are_listed_in_a_call(aws: Any) -> None:
    balancer = aws.balancer()
    for call, arguments in (
        (aws.elbv2.describe_tags, {"ResourceArns": [balancer.arn] * 21}),
        (aws.elbv2.describe_target_groups, {"TargetGroupArns": balancer.groups[:1] * 21}),
    ):
        with pytest.raises(ClientError, match="ValidationError"):
            call(**arguments)


def test_target_groups_come_in_pages(aws: Any) -> None:
    balancer = aws.balancer(groups=3)
    aws.elbv2.modify_listener(
        ListenerArn=balancer.listener, DefaultActions=[forward(dict.fromkeys(balancer.groups, 1))]
    )
    first = aws.elbv2.describe_target_groups(LoadBalancerArn=balancer.arn, PageSize=2)
    assert "NextMarker" in first
    rest = aws.elbv2.describe_target_groups(LoadBalancerArn=balancer.arn, PageSize=2, Marker=first["NextMarker"])
    assert [len(answer["TargetGroups"]) for answer in (first, rest)] == [2, 1]
    assert "NextMarker" not in rest


@pytest.mark.lab_only
def test_rules_come_in_pages(aws: Any) -> None:
    balancer = aws.balancer()
    for priority in range(1, 4):
        aws.elbv2.create_rule(
            ListenerArn=balancer.listener,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": ["/x"]}],
            Actions=[forward({balancer.groups[0]: 1})],
        )
    pages = aws.elbv2.get_paginator("describe_rules").paginate(
        ListenerArn=balancer.listener, PaginationConfig={"PageSize": 3}
    )
    assert [[rule["Priority"] for rule in answer["Rules"]] for answer in pages] == [["1", "2", "3"], ["default"]]


def test_an_unknown_marker_is_refused(aws: Any) -> None:
    balancer = aws.balancer()
    with pytest.raises(ClientError, match="ValidationError"):
        aws.elbv2.describe_listeners(LoadBalancerArn=balancer.arn, Marker="no such listener")


def test_tags_of_an_unknown_resource_are_refused(aws: Any) -> None:
    balancer = aws.balancer()
    with pytest.raises(ClientError, match="TargetGroupNotFound"):
        aws.elbv2.describe_tags(ResourceArns=[balancer.groups[0][:-4] + "0000"])


def test_a_page_that_ends_the_list_has_no_marker() -> None:
    entries = [SimpleNamespace(arn=str(number)) for number in range(4)]
    assert page(entries, "arn", 2, None) == (entries[:2], "1")
    assert page(entries, "arn", 2, "1") == (entries[2:], None)
    assert page([], "arn", 2, None) == ([], None)
