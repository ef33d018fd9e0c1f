"""Rules: answered by priority, conditions in both notations, the default rule changed through its listener only."""

from __future__ import annotations

from typing import Any

from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend, FakeListener, FakeListenerRule

from lab.aws.core import Lab

CONFIGS = {"path-pattern": "PathPatternConfig", "host-header": "HostHeaderConfig"}


def install(_lab: Lab) -> None:
    """Replace what moto does with rules."""
    rules = FakeListener.rules.fget
    modify, begin = ELBv2Backend.modify_rule, FakeListenerRule.__init__

    def ordered(listener: Any) -> dict[str, Any]:
        return dict(sorted(rules(listener).items(), key=lambda item: _position(item[1])))

    def modify_rule(self: Any, rule_arn: str, conditions: Any, actions: Any) -> Any:
        if any(rule.is_default for rule in _found(self, rule_arn)):
            message = f"The default rule '{rule_arn}' can only be modified through its listener"
            raise ELBClientError("OperationNotPermitted", message)
        rule = modify(self, rule_arn=rule_arn, conditions=conditions, actions=actions)
        rule.conditions = [both_notations(condition) for condition in rule.conditions]
        return rule

    def init(self: Any, *positional: Any, **named: Any) -> None:
        begin(self, *positional, **named)
        self.conditions = [both_notations(condition) for condition in self.conditions]

    FakeListener.rules = property(ordered)
    ELBv2Backend.modify_rule = modify_rule
    FakeListenerRule.__init__ = init


def both_notations(condition: dict[str, Any]) -> dict[str, Any]:
    """Return a path or host condition with its values both as `Values` and in its own config, as AWS answers."""
    if not (config := CONFIGS.get(condition.get("Field", ""))):
        return condition
    values = (condition.get(config) or {}).get("Values") or condition.get("Values") or []
    return {"Field": condition["Field"], "Values": list(values), config: {"Values": list(values)}}


def _position(rule: Any) -> int:
    return 1 << 30 if rule.is_default else int(rule.priority)


def _found(backend: Any, arn: str) -> list[Any]:
    return [
        rule
        for balancer in backend.load_balancers.values()
        for listener in balancer.listeners.values()
        for rule in listener.rules.values()
        if rule.arn == arn
    ]
