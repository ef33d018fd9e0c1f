"""A load balancer with a listener and rules that send everything to blue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.lab.account import Account, forward

OPEN_ID = {
    "Type": "authenticate-oidc",
    "AuthenticateOidcConfig": {
        "Issuer": "https://id.example",
        "AuthorizationEndpoint": "https://id.example/a",
        "TokenEndpoint": "https://id.example/t",
        "UserInfoEndpoint": "https://id.example/u",
        "ClientId": "me",
        "ClientSecret": "secret",
    },
}


class Balancer:
    """One load balancer; `arns` are its listener and rules."""

    def __init__(self, account: Account, rules: int) -> None:
        made = account.balancer(groups=3)
        self.account, self.arn, self.listener, self.vpc = account, made.arn, made.listener, made.vpc
        self.blue, self.green, self.other = made.groups
        self.rules = [
            account.elbv2.create_rule(
                ListenerArn=made.listener,
                Priority=10 * (n + 1),
                Conditions=[{"Field": "path-pattern", "Values": [f"/{n}"]}],
                Actions=[forward({self.blue: None})],
            )["Rules"][0]["RuleArn"]
            for n in range(rules)
        ]
        self.arns = [self.listener, *self.rules]

    def write(self, arn: str, *actions: dict[str, Any]) -> None:
        """Set the actions as somebody else would."""
        if arn == self.listener:
            self.account.elbv2.modify_listener(ListenerArn=arn, DefaultActions=list(actions))
        else:
            self.account.elbv2.modify_rule(RuleArn=arn, Actions=list(actions))

    def read(self, arn: str) -> list[dict[str, Any]]:
        """Return the actions."""
        if arn == self.listener:
            return self.account.elbv2.describe_listeners(ListenerArns=[arn])["Listeners"][0]["DefaultActions"]
        return self.account.elbv2.describe_rules(RuleArns=[arn])["Rules"][0]["Actions"]

    def weights(self, arn: str) -> dict[str, int]:
        """Return the weights by target group."""
        return {g["TargetGroupArn"]: g["Weight"] for g in self.read(arn)[-1]["ForwardConfig"]["TargetGroups"]}

    def name(self) -> str:
        """Return the load balancer's name."""
        return self.arn.split("/")[-2]

    def group_names(self) -> dict[str, str]:
        """Return the two target groups' names by colour."""
        return {"blue": self.blue.split("/")[-2], "green": self.green.split("/")[-2]}

    def writes(self) -> list[dict[str, Any]]:
        """Return the mutating calls to load balancing since the journal's mark."""
        return self.account.control.journal(service="elbv2", mutating=True)


@pytest.fixture
def balancer(aws: Account) -> Balancer:
    """With two rules."""
    made = Balancer(aws, 2)
    aws.control.mark()
    return made


@pytest.fixture
def make_balancer(aws: Account) -> Any:
    """`make_balancer(rules)`"""
    return lambda rules: Balancer(aws, rules)


@pytest.fixture
def open_id() -> dict[str, Any]:
    return OPEN_ID


@pytest.fixture
def record(aws: Account, balancer: Balancer, run_module: Any) -> SimpleNamespace:
    """A rollout that we began: `fence`, and `begin(**options)` to begin it once more."""
    aws.s3.create_bucket(Bucket=balancer.name(), CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    traffic = run_module(
        "alb_traffic_info",
        load_balancer=balancer.name(),
        listeners=[{"port": 80}],
        target_groups=balancer.group_names(),
    ).result

    def begin(**options: Any) -> dict[str, Any]:
        common = {"bucket": balancer.name(), "application": "web", "environment": "test", "version": "1.1.0"}
        steps = [{"weight": 50, "pause": 0}, {"weight": 100}]
        ran = run_module("rollout", state="begun", steps=steps, bake=0, traffic=traffic, **common, **options)
        assert not ran.failed, ran.result
        return ran.result

    begun = begin()
    aws.control.mark()
    fence = {"bucket": balancer.name(), "key": "web/test.json", "token": begun["token"]}
    return SimpleNamespace(fence=fence, begin=begin)
