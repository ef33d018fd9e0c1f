"""An AWS account to test against, and words that such tests share."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.config import Config

from lab.aws.control import Control

REGION = "us-west-2"
NUMBERS = itertools.count(1)
SESSION = boto3.Session(aws_access_key_id="lab", aws_secret_access_key="lab", region_name=REGION)


class Account:
    """An AWS account: a client per service as an attribute, and makers of what load balancing needs."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.control = Control(endpoint)

    def __getattr__(self, service: str) -> Any:
        return _client(self, service)

    def client(self, service: str, **config: Any) -> Any:
        """Return a client that does not retry unless asked to."""
        return SESSION.client(
            service,
            endpoint_url=self.endpoint,
            config=Config(**{"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, **config}),
        )

    def vpc(self) -> SimpleNamespace:
        """Return a VPC with two subnets."""
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = []
        for number, zone in enumerate("ab"):
            block = {"CidrBlock": f"10.0.{number}.0/24", "AvailabilityZone": f"{REGION}{zone}"}
            subnets.append(self.ec2.create_subnet(VpcId=vpc, **block)["Subnet"]["SubnetId"])
        return SimpleNamespace(id=vpc, subnets=subnets)

    def balancer(self, groups: int = 2, vpc: SimpleNamespace | None = None, **group: Any) -> SimpleNamespace:
        """Return a load balancer with a listener that forwards to the first of some target groups."""
        vpc = vpc or self.vpc()
        name = f"lb-{next(NUMBERS)}"
        arn = self.elbv2.create_load_balancer(Name=name, Subnets=vpc.subnets)["LoadBalancers"][0]["LoadBalancerArn"]
        arns = [self.group(vpc, **group) for _ in range(groups)]
        listener = self.elbv2.create_listener(
            LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[forward({arns[0]: None})]
        )["Listeners"][0]["ListenerArn"]
        return SimpleNamespace(arn=arn, vpc=vpc, groups=arns, listener=listener)

    def group(self, vpc: SimpleNamespace, **options: Any) -> str:
        """Return the ARN of a target group of addresses, checked as often as AWS allows."""
        defaults = {
            "Protocol": "HTTP",
            "Port": 8000,
            "TargetType": "ip",
            "HealthCheckPath": "/ready",
            "HealthCheckIntervalSeconds": 5,
            "HealthCheckTimeoutSeconds": 2,
            "HealthyThresholdCount": 2,
            "UnhealthyThresholdCount": 2,
        }
        group = self.elbv2.create_target_group(Name=f"tg-{next(NUMBERS)}", VpcId=vpc.id, **defaults | options)
        return group["TargetGroups"][0]["TargetGroupArn"]

    def health(self, group: str, *targets: dict[str, Any]) -> list[tuple[str, str | None]]:
        """Return state and reason of each target."""
        answer = self.elbv2.describe_target_health(TargetGroupArn=group, Targets=list(targets))
        found = [entry["TargetHealth"] for entry in answer["TargetHealthDescriptions"]]
        return [(health["State"], health.get("Reason")) for health in found]


@functools.cache
def _client(account: Account, service: str) -> Any:
    return account.client(service)


def forward(weights: dict[str, int | None], **options: Any) -> dict[str, Any]:
    """Return a forward action with weights by target group; None leaves the weight out."""
    groups: list[dict[str, Any]] = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    for group in groups:
        if group["Weight"] is None:
            del group["Weight"]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups, **options}}


def until(condition: Callable[[], Any], seconds: float = 4) -> Any:
    """Return what the condition returns once that is true; raise AssertionError when it stays false."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.03)
    return found
