"""Laws that hold for every declaration and every action list."""

from __future__ import annotations

import copy

from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import plan, transformations
from hypothesis import given, settings
from hypothesis import strategies as st

GROUPS = [f"arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/g{n}/{n}" for n in range(4)]
OTHERS = [
    {"Type": "authenticate-cognito", "AuthenticateCognitoConfig": {"UserPoolArn": "p"}},
    {"Type": "authenticate-oidc", "AuthenticateOidcConfig": {"Issuer": "i", "UseExistingClientSecret": True}},
]
STICKINESS = st.one_of(
    st.just({"enabled": False, "duration": None}),
    st.integers(1, 604800).map(lambda seconds: {"enabled": True, "duration": seconds}),
)


@st.composite
def weight_sets(draw, groups=GROUPS):
    chosen = draw(st.lists(st.sampled_from(groups), min_size=1, unique=True))
    weights = {arn: draw(st.integers(0, 999)) for arn in chosen}
    weights[chosen[0]] = max(1, weights[chosen[0]])
    return weights


@st.composite
def encodings(draw, weights, stickiness):
    """One of the equal ways in which AWS, or somebody, may write a forward action, perhaps behind another action."""
    numbers = draw(st.sampled_from([int, str]))
    groups = [
        {"TargetGroupArn": arn, "Weight": numbers(weight)}
        for arn, weight in draw(st.permutations(sorted(weights.items())))
    ]
    config = {"TargetGroups": groups}
    if stickiness["enabled"]:
        config["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": stickiness["duration"]}
    else:
        absent = draw(
            st.sampled_from(
                [{}, {"TargetGroupStickinessConfig": {"Enabled": False}}, {"TargetGroupStickinessConfig": {}}]
            )
        )
        config.update(copy.deepcopy(absent))
    action = {"Type": "forward", "ForwardConfig": config}
    if len(groups) == 1 and draw(st.booleans()):
        action["TargetGroupArn"] = groups[0]["TargetGroupArn"]
    before = copy.deepcopy(draw(st.lists(st.sampled_from(OTHERS), max_size=1)))
    actions = [*before, action]
    if before or draw(st.booleans()):
        for order, item in enumerate(actions, 1):
            item["Order"] = order
    return actions


@st.composite
def cases(draw):
    live, stickiness = draw(weight_sets()), draw(STICKINESS)
    declared = draw(weight_sets())
    # What carries traffic has to be named, or the plan refuses.
    declared = {**{arn: 0 for arn, weight in live.items() if weight}, **declared}
    return draw(encodings(live, stickiness)), declared, draw(st.none() | STICKINESS)


@settings(max_examples=600, deadline=None)
@given(cases())
def test_the_plan_comes_true_and_then_nothing_is_left_to_do(case):
    actions, declared, stickiness = case
    planned = plan.plan_forward("arn", actions, declared, stickiness, None)
    written = actions if planned["actions"] is None else planned["actions"]
    assert transformations.forward_of(written) == planned["after"]
    assert {arn: planned["after"]["weights"][arn] for arn in declared} == declared
    assert plan.plan_forward("arn", written, declared, stickiness, None)["actions"] is None


@settings(max_examples=600, deadline=None)
@given(cases())
def test_nothing_but_weights_and_stickiness_is_touched(case):
    actions, declared, stickiness = case
    before = copy.deepcopy(actions)
    written = plan.plan_forward("arn", actions, declared, stickiness, None)["actions"]
    assert actions == before
    if written is not None:
        assert [item for item in written if item["Type"] != "forward"] == [
            item for item in before if item["Type"] != "forward"
        ]
        assert [item.get("Order") for item in written] == [item.get("Order") for item in before]


@settings(max_examples=600, deadline=None)
@given(st.data(), weight_sets(), STICKINESS)
def test_equal_declarations_are_equal(data, weights, stickiness):
    actions = data.draw(encodings(weights, stickiness))
    declared = {
        arn: data.draw(st.sampled_from([weight, str(weight)]))
        for arn, weight in data.draw(st.permutations(list(weights.items())))
    }
    parsed = plan.parse_weights(declared, "weights")
    for wanted in (None, stickiness):
        assert plan.plan_forward("arn", actions, parsed, wanted, weights)["actions"] is None


@settings(max_examples=600, deadline=None)
@given(st.data(), weight_sets(), STICKINESS)
def test_what_was_read_can_be_put_back(data, weights, stickiness):
    arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:listener/app/web/1/a"
    actions = data.draw(encodings(weights, stickiness))
    [item] = plan.plan_restore([{"arn": arn, "actions": actions}])
    assert (
        item["after"] == {"weights": weights, "stickiness": stickiness} == transformations.forward_of(item["actions"])
    )
    assert transformations.writable(item["actions"]) == item["actions"]
