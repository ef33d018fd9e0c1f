"""What the tests here do to the demonstration's deployment."""

from __future__ import annotations

import json
from dataclasses import dataclass

import boto3

from lab import demo, playbooks, settings
from lab.aws.control import Control

# What is not about gates goes to 100 % in one step; the probe still proves that every node follows.
QUICK = {"blue_green_steps": [{"weight": 100}], "blue_green_bake": "0", "blue_green_gate_checks": []}


@dataclass
class Deployment:
    """The demo's deployment: what an operator does to it, and what AWS saw of that."""

    aws: Control

    def run(self, name: str, version: str | None = None, *arguments: str, **options) -> playbooks.Result:
        """Run a playbook; ``variables`` go to it as extra variables."""
        variables = dict(options.pop("variables", {}))
        if version:
            variables["app_version"] = version
        return playbooks.run(name, variables, *arguments, **options)

    def start(self, name: str, version: str, **options) -> playbooks.Playbook:
        """Start a playbook without waiting for it."""
        return playbooks.Playbook(name, {"app_version": version, **options.pop("variables", {})}, **options)

    def ensure(self, version: str) -> None:
        """Have a version live, the quick way."""
        if self.live_version() != version:
            result = self.run("deploy", version, variables=QUICK)
            assert result.rc == 0, result.errors

    def record(self) -> dict:
        """The rollout's record as it is in S3."""
        s3 = boto3.client("s3", region_name=settings.REGION)
        return json.loads(s3.get_object(Bucket=settings.ROLLOUTS_BUCKET, Key=demo.RECORD)["Body"].read())

    def weights(self) -> dict[str, int]:
        """Weights by colour, as the load balancer has them."""
        elb = boto3.client("elbv2", region_name=settings.REGION)
        arn = elb.describe_load_balancers(Names=[settings.APPLICATION])["LoadBalancers"][0]["LoadBalancerArn"]
        (listener,) = elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        groups = listener["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
        return {group["TargetGroupArn"].split("/")[-2].rsplit("-", 1)[1]: group["Weight"] for group in groups}

    def live_version(self) -> str | None:
        """The version of the colour that gets all traffic; None when traffic is split."""
        live = [color for color, weight in self.weights().items() if weight]
        return self.record()["colors"][live[0]]["version"] if len(live) == 1 else None

    def calls(self, since: int, **filters: str) -> list[dict]:
        """Calls since a mark; a benchmark may be deploying something of its own beside."""
        return [entry for entry in self.aws.journal(since=since, **filters) if "bench" not in json.dumps(entry)]

    def writes(self, since: int) -> list[tuple[str, str]]:
        """Mutating calls of this deployment since a mark, as (action, resource)."""
        return [(entry["action"], entry["resource"]) for entry in self.calls(since) if entry["mutating"]]
