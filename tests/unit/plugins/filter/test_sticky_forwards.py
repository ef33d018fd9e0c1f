from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.filter.sticky_forwards import sticky_forwards


def forward(arn: str, config: dict | None) -> dict:
    action = {"Type": "forward", "ForwardConfig": {"TargetGroups": []}}
    if config is not None:
        action["ForwardConfig"]["TargetGroupStickinessConfig"] = config
    return {"arn": arn, "previous_actions": [{"Type": "authenticate-oidc"}, action]}


def test_names_each_sticky_forward_with_its_own_duration():
    forwards = [
        forward("a", {"Enabled": True, "DurationSeconds": 60}),
        forward("b", {"Enabled": False}),
        forward("c", None),
        forward("d", {"Enabled": True, "DurationSeconds": 3600}),
    ]
    assert sticky_forwards(forwards) == [{"arn": "a", "duration": 60}, {"arn": "d", "duration": 3600}]


def test_nothing_was_sticky():
    assert sticky_forwards([forward("a", {"Enabled": False})]) == []
