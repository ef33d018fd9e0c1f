"""What check mode predicts is what then happens, on the lab's AWS, for many action lists and declarations."""

from __future__ import annotations

import boto3
import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import traffic, transformations
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from botocore.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab.account import REGION, forward

CASES = 500


class Module:
    """What a Connector needs of a module; its clients are made once, for speed."""

    def __init__(self, endpoint):
        self.params = {}
        session = boto3.Session(aws_access_key_id="lab", aws_secret_access_key="lab", region_name=REGION)
        self.made = session.client("elbv2", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}))

    def client(self, _service, aws_config):
        return self.made


@st.composite
def weights(draw, groups):
    chosen = draw(st.lists(st.sampled_from(groups), min_size=1, unique=True))
    drawn = {arn: draw(st.integers(0, 999)) for arn in chosen}
    drawn[chosen[0]] = max(1, drawn[chosen[0]])
    return drawn


STICKINESS = st.one_of(
    st.just({"enabled": False, "duration": None}),
    st.integers(1, 604800).map(lambda seconds: {"enabled": True, "duration": seconds}),
)


@pytest.mark.slow
def test_check_mode_predicts_the_diff_and_the_calls(endpoint, make_balancer, open_id):
    balancer = make_balancer(1)
    module = Module(endpoint)
    groups = [balancer.blue, balancer.green, balancer.other]
    totals = {"cases": 0, "changed": 0}

    def run(params, check_mode):
        connect = Connector(module, Clock())
        return traffic.run(connect, params, check_mode), connect.log.result()

    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def holds(data):
        before = {}
        for arn in balancer.arns:
            live, sticky = data.draw(weights(groups)), data.draw(STICKINESS)
            config = (
                {"Enabled": True, "DurationSeconds": sticky["duration"]} if sticky["enabled"] else {"Enabled": False}
            )
            action = forward(dict(data.draw(st.permutations(list(live.items())))), TargetGroupStickinessConfig=config)
            others = [open_id] if data.draw(st.booleans()) else []
            balancer.write(arn, *[{**item, "Order": n} for n, item in enumerate([*others, action], 1)])
            before.update(dict.fromkeys([group for group, weight in live.items() if weight], 0))
        declared = {**before, **data.draw(weights(groups))}
        declared = {arn: data.draw(st.sampled_from([weight, str(weight)])) for arn, weight in declared.items()}
        params = {
            "arns": data.draw(st.permutations(balancer.arns)),
            "weights": declared,
            "expected_weights": None,
            "stickiness": data.draw(st.none() | STICKINESS),
            "restore": None,
            "fence": None,
        }
        predicted, planned = run(params, True)
        real, made = run(params, False)
        assert (real["diff"], real["changed"]) == (predicted["diff"], predicted["changed"])
        assert made["calls"] == planned["calls"]
        for arn in balancer.arns:
            assert transformations.forward_of(balancer.read(arn)) == predicted["diff"]["after"][arn]
        again, nothing = run(params, False)
        assert not again["changed"] and nothing["calls"] == []
        totals["cases"] += 1
        totals["changed"] += real["changed"]

    holds()
    print(f"{totals['cases']} cases, {totals['changed']} of them with a change: prediction and run agree")
    assert totals["cases"] >= CASES and totals["changed"] > CASES / 4
