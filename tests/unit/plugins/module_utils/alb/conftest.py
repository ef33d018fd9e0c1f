"""An Elastic Load Balancing API in memory behind a real boto3 client: parameters are validated, nothing is sent."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Connector

REGION = "us-west-2"
PREFIX = f"arn:aws:elasticloadbalancing:{REGION}:123456789012"
LISTENER = f"{PREFIX}:listener/app/web/1/a"
RULES = [f"{PREFIX}:listener-rule/app/web/1/a/{n}" for n in range(3)]
BLUE, GREEN, OTHER = (f"{PREFIX}:targetgroup/web-{name}/{n}" for n, name in enumerate(("blue", "green", "other")))


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def jitter(self, seconds: float) -> float:
        return seconds


class Memory:
    """What AWS would hold, and a journal of what was called.

    `faults`: {operation: [error code or None for success, …]}, taken one a call.
    `targets`: per group, as AWS describes them.
    """

    def __init__(self) -> None:
        self.actions: dict[str, list[dict[str, Any]]] = {}
        self.targets: dict[str, list[dict[str, Any]]] = {}
        self.load_balancers: dict[str, list[str]] = {}
        self.default_rules: set[str] = set()
        self.faults: dict[str, list[str | None]] = {}
        self.calls: list[tuple[str, Any]] = []

    def answer(self, model: Any, params: dict[str, Any], **_other: Any) -> tuple[Any, dict[str, Any]]:
        body = params["body"]
        operation = model.name
        self.calls.append((operation, body))
        code = self.faults.get(operation, [])[:1]
        if code:
            self.faults[operation].pop(0)
            if code[0]:
                return SimpleNamespace(status_code=400), {
                    "Error": {"Code": code[0], "Message": "so it is"},
                    "ResponseMetadata": {"HTTPStatusCode": 400},
                }
        return SimpleNamespace(status_code=200), {**getattr(self, operation)(_parsed(body)), "ResponseMetadata": {}}

    def DescribeRules(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "Rules": [
                {"RuleArn": arn, "Actions": copy.deepcopy(self.actions[arn]), "IsDefault": arn in self.default_rules}
                for arn in body["RuleArns"]
                if arn in self.actions
            ]
        }

    def DescribeListeners(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "Listeners": [
                {"ListenerArn": arn, "DefaultActions": copy.deepcopy(self.actions[arn])} for arn in body["ListenerArns"]
            ]
        }

    def DescribeTargetHealth(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"TargetHealthDescriptions": self.targets.get(body["TargetGroupArn"], [])}

    def DescribeTargetGroups(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "TargetGroups": [
                {"TargetGroupArn": arn, "TargetGroupName": arn, "LoadBalancerArns": self.load_balancers.get(arn, [])}
                for arn in body["TargetGroupArns"]
            ]
        }

    def ModifyRule(self, body: dict[str, Any]) -> dict[str, Any]:
        self.actions[body["RuleArn"]] = body["Actions"]
        return {"Rules": []}

    def ModifyListener(self, body: dict[str, Any]) -> dict[str, Any]:
        self.actions[body["ListenerArn"]] = body["DefaultActions"]
        return {"Listeners": []}

    def called(self, operation: str) -> int:
        return sum(name == operation for name, _body in self.calls)

    def writes(self) -> int:
        return self.called("ModifyRule") + self.called("ModifyListener")


def _parsed(body: dict[str, Any]) -> Any:
    """Undo the query protocol's flattening: Actions.member.1.Type -> {"Actions": [{"Type": …}]}."""
    tree: dict[str, Any] = {}
    for name, value in body.items():
        *parts, last = name.split(".")
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    return _lists(tree)


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return {"true": True, "false": False}.get(node, node)
    if set(node) == {"member"}:
        return [_lists(node["member"][key]) for key in sorted(node["member"], key=int)]
    return {key: _lists(value) for key, value in node.items()}


class FakeModule:
    """What a Connector needs of a module."""

    def __init__(self, memory: Memory) -> None:
        self.params: dict[str, Any] = {}
        self.memory = memory

    def client(self, service: str, aws_config: dict[str, Any]) -> Any:
        from botocore.config import Config

        client = boto3.client(service, region_name=REGION, config=Config(**aws_config))
        client.meta.events.register("before-call", self.memory.answer)
        return client


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def connect(memory: Memory, clock: FakeClock) -> Connector:
    return Connector(FakeModule(memory), clock)


@pytest.fixture
def arns() -> SimpleNamespace:
    return SimpleNamespace(listener=LISTENER, rules=RULES, blue=BLUE, green=GREEN, other=OTHER)
