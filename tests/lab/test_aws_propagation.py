"""The data plane follows the API with a lag."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.aws.data_plane import Follower, group_id, with_health, without_keys
from tests.lab.account import forward, until


class Recorder:
    """A node that remembers what it was told."""

    def __init__(self) -> None:
        self.states: list[Any] = []
        self.closed = False
        self.failures = 0

    def apply(self, state: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not now")
        self.states.append(state)

    def close(self) -> None:
        self.closed = True


def weighted(weight: int, *targets: str) -> dict[str, Any]:
    """Return a state with one rule and one group."""
    found = [{"address": address, "port": 80, "registered": True} for address in targets]
    rule = {"arn": "r", "forward": [{"group": "g", "weight": weight}]}
    listener = {"arn": "l", "port": 80, "certificate_pem": "KEY", "rules": [rule]}
    return {"listeners": [listener], "groups": {"g": {"targets": found}}}


def weights(recorder: Recorder) -> list[int]:
    """Return the weights that a node was told, in order."""
    return [state["listeners"][0]["rules"][0]["forward"][0]["weight"] for state in recorder.states]


@pytest.fixture
def followed() -> Iterator[Any]:
    """A recorder, its follower, and the lag as a list of one number."""
    recorder, lag = Recorder(), [0.0]
    follower = Follower(lambda: recorder, lambda: lag[0])
    yield recorder, follower, lag
    follower.close()


def test_a_node_follows_after_its_lag(followed: Any) -> None:
    recorder, follower, lag = followed
    follower.offer(weighted(1), {})
    until(lambda: weights(recorder) == [1])
    lag[0] = 0.3
    started = time.monotonic()
    follower.offer(weighted(2), {})
    follower.offer(weighted(2), {})
    until(lambda: weights(recorder) == [1, 2])
    assert time.monotonic() - started >= 0.3


def test_a_shorter_lag_moves_what_is_pending(followed: Any) -> None:
    recorder, follower, lag = followed
    lag[0] = 60
    follower.offer(weighted(1), {})
    follower.offer(weighted(2), {})
    assert follower.report()["pending"] == 2
    lag[0] = 0
    until(lambda: weights(recorder) == [2])


def test_health_does_not_wait_for_the_lag(followed: Any) -> None:
    recorder, follower, lag = followed
    follower.offer(weighted(1, "10.0.0.1", "10.0.0.2"), {})
    until(lambda: recorder.states)
    lag[0] = 60
    follower.offer(weighted(2, "10.0.0.1"), {"g": {("10.0.0.1", 80): True, ("10.0.0.2", 80): False}})
    until(lambda: len(recorder.states) == 2)
    assert [target["traffic"] for target in recorder.states[-1]["groups"]["g"]["targets"]] == ["on", "drain"]
    assert weights(recorder) == [1, 1]


def test_a_node_that_fails_is_tried_again(followed: Any) -> None:
    recorder, follower, _lag = followed
    recorder.failures = 1
    follower.offer(weighted(1), {})
    until(lambda: "not now" in follower.report()["failure"])
    until(lambda: weights(recorder) == [1])
    assert follower.report()["failure"] == ""


def test_a_node_is_stopped_with_its_follower() -> None:
    recorder = Recorder()
    follower = Follower(lambda: recorder, lambda: 0)
    follower.offer(weighted(1), {})
    until(lambda: recorder.states)
    follower.close()
    assert recorder.closed


def test_a_deregistered_target_finishes_what_it_has() -> None:
    state = weighted(1, "10.0.0.1", "10.0.0.2")
    state["groups"]["g"]["targets"][1]["registered"] = False
    targets = with_health(state, {"g": {("10.0.0.1", 80): True}})["groups"]["g"]["targets"]
    assert [target["traffic"] for target in targets] == ["on", "drain"]


def test_keys_are_not_shown() -> None:
    assert "KEY" not in str(without_keys(weighted(1)))


def test_the_nodes_follow_the_api_each_with_its_lag(aws: Any, web: Any) -> None:
    balancer, server = aws.balancer(), web()
    blue, green = balancer.groups

    def forwards(node: str) -> Any:
        state = aws.control.nodes().get(balancer.arn, {}).get(node, {}).get("state")
        return state and state["listeners"][0]["rules"][0]["forward"]

    until(lambda: forwards("a") == forwards("b") == [{"group": group_id(blue), "weight": 1}])
    aws.control.settings(lag_a=0, lag_b=1.5)
    targets = [{"Id": "127.0.0.1", "Port": server.port}]
    aws.elbv2.register_targets(TargetGroupArn=green, Targets=targets)
    started = time.monotonic()
    aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({blue: 9, green: 1})])
    wanted = [{"group": group_id(blue), "weight": 9}, {"group": group_id(green), "weight": 1}]
    until(lambda: forwards("a") == wanted, 1.5)
    assert forwards("b") != wanted
    until(lambda: forwards("b") == wanted)
    assert time.monotonic() - started >= 1.5
    group = aws.control.nodes()[balancer.arn]["b"]["state"]["groups"][group_id(green)]
    assert group["targets"] == [{"address": "127.0.0.1", "port": server.port, "traffic": "on"}]


@pytest.mark.lab_only
def test_a_deleted_load_balancer_stops_its_nodes(aws: Any) -> None:
    balancer = aws.balancer()
    until(lambda: balancer.arn in aws.control.nodes())
    aws.elbv2.delete_load_balancer(LoadBalancerArn=balancer.arn)
    until(lambda: balancer.arn not in aws.control.nodes())
