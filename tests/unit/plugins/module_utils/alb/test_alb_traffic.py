"""Moving traffic and putting it back, against an API in memory that fails on demand."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.alb import guard, traffic
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure, Failure

FENCE = {"bucket": "b", "key": "k", "token": 7}


def forward(weights):
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


def params(**given):
    names = ("arns", "weights", "expected_weights", "stickiness", "restore", "fence")
    return {**dict.fromkeys(names), **given}


@pytest.fixture
def blue(memory, arns):
    """All on blue; the parameters that move a part to green."""
    everything = [*arns.rules, arns.listener]
    memory.actions = {arn: forward({arns.blue: 100}) for arn in everything}
    return {"arns": everything, "weights": {arns.blue: 90, arns.green: 10}}


@pytest.fixture
def fence(monkeypatch):
    """A fence that answers what `fence.answers` says, call by call; None is yes."""

    class Fence:
        FenceLost = guard.fence.FenceLost
        answers: list = []
        asked: list = []

        def check(self, _s3, bucket, key, token):
            self.asked.append((bucket, key, token))
            answer = self.answers.pop(0) if self.answers else None
            if answer:
                raise answer

        def mark(self, s3, bucket, key, token, status):
            self.asked.append(status)
            self.check(s3, bucket, key, token)

    fence = Fence()
    monkeypatch.setattr(guard, "fence", fence)
    return fence


def lost():
    return guard.fence.FenceLost("our token", "another", "Stop.", owner="them")


def unreadable():
    return AwsFailure("s3", "ConnectTimeout", "Wait.", code="ConnectTimeoutError", transient=True, refused=False)


def weights_of(memory, arn):
    groups = memory.actions[arn][0]["ForwardConfig"]["TargetGroups"]
    return {item["TargetGroupArn"]: int(item["Weight"]) for item in groups}


def test_all_move_with_one_call_each_and_are_read_back(memory, connect, blue, arns):
    result = traffic.run(connect, params(**blue), False)
    assert result["changed"]
    assert all(weights_of(memory, arn) == blue["weights"] for arn in blue["arns"])
    assert (memory.writes(), connect.log.reads) == (4, 4)
    assert [call["resource"] for call in connect.log.calls] == blue["arns"]


def test_a_second_run_makes_no_mutating_call(memory, connect, blue):
    traffic.run(connect, params(**blue), False)
    calls = memory.writes()
    assert not traffic.run(connect, params(**blue), False)["changed"]
    assert memory.writes() == calls


def test_only_what_differs_is_written(memory, connect, blue, arns):
    memory.actions[arns.rules[0]] = forward(blue["weights"])
    traffic.run(connect, params(**blue), False)
    assert memory.writes() == 3


def test_check_mode_says_what_the_real_run_does(memory, connect, blue):
    predicted = traffic.run(connect, params(**blue), True)
    planned = connect.log.result()["calls"]
    assert memory.writes() == 0
    connect.log.planned.clear()
    real = traffic.run(connect, params(**blue), False)
    assert (real["diff"], real["changed"]) == (predicted["diff"], predicted["changed"])
    assert connect.log.calls == planned


def test_the_fence_is_asked_before_each_mutating_call(memory, connect, blue, fence):
    traffic.run(connect, params(fence=FENCE, **blue), False)
    assert fence.asked == [("b", "k", 7)] * 4


@pytest.mark.parametrize(("code", "put_back"), [("Throttling", False), ("InternalFailure", True)])
def test_the_fence_is_asked_before_each_attempt(memory, connect, blue, fence, arns, code, put_back):
    # The first attempt fails; by the second, somebody has rolled back by force.
    memory.faults["ModifyRule"] = [code]
    fence.answers[:] = [None, lost()]
    with pytest.raises(guard.fence.FenceLost) as caught:
        traffic.run(connect, params(fence=FENCE, **blue), False)
    assert memory.writes() == 1
    assert caught.value.details["not_put_back"] == ([arns.rules[0]] if put_back else [])
    assert len(connect.log.calls) == put_back


def test_putting_back_asks_the_fence_before_each_attempt(memory, connect, blue, fence, arns):
    memory.faults["ModifyRule"] = [None, "TargetGroupNotFound", "Throttling"]
    fence.answers[:] = [None, None, None, lost()]
    with pytest.raises(AwsFailure) as caught:
        traffic.run(connect, params(fence=FENCE, **blue), False)
    assert memory.writes() == 3
    assert caught.value.details["not_put_back"] == [arns.rules[0]]


def test_an_attempt_without_an_answer_is_remembered_after_one_that_was_refused(memory, connect, blue, arns):
    memory.faults["ModifyRule"] = ["InternalFailure", "TargetGroupNotFound"]
    with pytest.raises(AwsFailure) as caught:
        traffic.run(connect, params(**blue), False)
    assert caught.value.details["put_back"] == [arns.rules[0]]


GONE = {"pid": 2**22 + 1, "started": 1}


def test_nothing_is_tried_again_when_the_controller_has_ended(memory, connect, blue, monkeypatch):
    controller = {}
    monkeypatch.setattr(guard.owner, "find_controller", lambda: controller)
    memory.faults["ModifyRule"] = ["Throttling"] * 5
    throttle = memory.answer

    def die(model, **other):
        if model.name == "ModifyRule":
            controller.update(GONE)
        return throttle(model, **other)

    memory.answer = die
    with pytest.raises(Failure, match="that it ended"):
        traffic.run(connect, params(**blue), False)
    assert memory.writes() == 1


def test_a_rollback_goes_on_when_the_controller_has_ended(connect, green, monkeypatch):
    monkeypatch.setattr(guard.owner, "find_controller", lambda: GONE)
    assert traffic.run(connect, params(restore=green), False)["verified"]


def test_check_mode_and_runs_without_a_change_do_not_ask_the_fence(connect, blue, fence):
    fence.asked.clear()
    traffic.run(connect, params(fence=FENCE, **blue), True)
    assert fence.asked == []


def test_a_lost_fence_stops_before_the_next_write_and_puts_nothing_back(memory, connect, blue, fence, arns):
    fence.answers[:] = [None, lost()]
    with pytest.raises(guard.fence.FenceLost, match="Still moved, and not put back: ") as caught:
        traffic.run(connect, params(fence=FENCE, **blue), False)
    assert memory.writes() == 1
    assert caught.value.details["not_put_back"] == [arns.rules[0]]
    assert caught.value.details["owner"] == "them"


def test_a_fence_that_cannot_be_read_stops_the_way_forward(memory, connect, blue, fence):
    fence.answers[:] = [unreadable()]
    with pytest.raises(AwsFailure):
        traffic.run(connect, params(fence=FENCE, **blue), False)
    assert memory.writes() == 0


def test_when_the_second_of_three_fails_the_first_is_put_back(memory, connect, blue, arns):
    memory.faults["ModifyRule"] = [None, "TargetGroupNotFound"]
    with pytest.raises(AwsFailure, match=f"Put back as before: {arns.rules[0]}.") as caught:
        traffic.run(connect, params(**blue), False)
    assert caught.value.details == {"put_back": [arns.rules[0]], "not_put_back": []}
    assert all(weights_of(memory, arn) == {arns.blue: 100} for arn in blue["arns"])
    assert memory.writes() == 3


def test_what_cannot_be_put_back_is_named(memory, connect, blue, arns):
    memory.faults["ModifyRule"] = [None, None, "TargetGroupNotFound", None, "AccessDenied"]
    with pytest.raises(AwsFailure) as caught:
        traffic.run(connect, params(**blue), False)
    assert caught.value.details == {"put_back": [arns.rules[1]], "not_put_back": [arns.rules[0]]}


def test_after_an_answer_that_never_came_that_one_is_put_back_too(memory, connect, blue, arns):
    memory.faults["ModifyRule"] = [None] + ["InternalFailure"] * 13
    with pytest.raises(AwsFailure) as caught:
        traffic.run(connect, params(**blue), False)
    assert caught.value.details["put_back"] == [arns.rules[1], arns.rules[0]]


def test_a_foreign_writer_is_found_before_the_first_write(memory, connect, blue, arns):
    memory.actions[arns.rules[2]] = forward({arns.blue: 50, arns.green: 50})
    with pytest.raises(Failure, match="somebody else"):
        traffic.run(connect, params(expected_weights={arns.blue: 1}, **blue), False)
    assert memory.writes() == 0


def test_a_foreign_writer_after_the_write_is_found_by_reading_back(memory, connect, blue, clock, arns):
    def overwrite(body):
        memory.actions[body["RuleArn"]] = forward({arns.blue: 50, arns.green: 50})
        return {"Rules": []}

    memory.ModifyRule = overwrite
    memory.ModifyListener = lambda body: {"Listeners": []}
    with pytest.raises(Failure, match="Somebody else") as caught:
        traffic.run(connect, params(**blue), False)
    assert list(caught.value.details["foreign_writer"]) == arns.rules
    assert sum(clock.slept) <= traffic.READ_BACK


def test_what_does_not_show_yet_is_no_foreign_writer(memory, connect, blue, clock):
    memory.ModifyRule = lambda body: {"Rules": []}
    with pytest.raises(Failure, match="when read back 10 s later") as caught:
        traffic.run(connect, params(**blue), False)
    assert "foreign_writer" not in caught.value.details
    assert sum(clock.slept) <= traffic.READ_BACK


def test_another_region_is_refused_before_any_call(memory, connect, blue):
    blue["weights"] = {arn.replace("us-west-2", "eu-west-1"): weight for arn, weight in blue["weights"].items()}
    with pytest.raises(Failure, match="Set region to eu-west-1"):
        traffic.run(connect, params(**blue), False)
    assert memory.calls == []


@pytest.fixture
def green(memory, arns):
    """All on green; the entries that put it back to blue."""
    everything = [arns.listener, *arns.rules]
    memory.actions = {arn: forward({arns.blue: 0, arns.green: 100}) for arn in everything}
    return [{"arn": arn, "actions": forward({arns.blue: 100})} for arn in everything]


def test_restore_is_one_call_each_and_no_read_before(memory, connect, green, arns, clock):
    result = traffic.run(connect, params(restore=green), False)
    assert (result["changed"], result["verified"]) == (True, True)
    names = [name for name, _body in memory.calls]
    assert names == ["ModifyListener", *["ModifyRule"] * 3, "DescribeRules", "DescribeListeners"]
    assert clock.slept == []


def test_restore_predicts_in_check_mode_what_it_does(memory, connect, green):
    predicted = traffic.run(connect, params(restore=green), True)
    planned = connect.log.result()["calls"]
    assert memory.calls == []
    connect.log.planned.clear()
    real = traffic.run(connect, params(restore=green), False)
    assert (real["diff"], real["changed"], connect.log.calls) == (predicted["diff"], True, planned)


def test_restore_tries_all_and_says_which_remain(memory, connect, green, arns):
    memory.faults["ModifyListener"] = ["TargetGroupNotFound"]
    with pytest.raises(Failure, match="TargetGroupNotFound") as caught:
        traffic.run(connect, params(restore=green), False)
    assert caught.value.details["remaining"] == [arns.listener]
    assert caught.value.details["restored"] == arns.rules
    assert all(weights_of(memory, arn) == {arns.blue: 100} for arn in arns.rules)


def test_throttled_entries_do_not_hold_up_the_others(memory, connect, green, arns, clock):
    memory.faults["ModifyListener"] = ["Throttling"] * 4
    assert traffic.run(connect, params(restore=green), False)["verified"]
    assert [name for name, _body in memory.calls][:5] == ["ModifyListener", *["ModifyRule"] * 3, "ModifyListener"]
    assert connect.log.result()["api_calls"] == {"read": 2, "write": 4, "retried": 4}
    assert sum(clock.slept) < 1


@pytest.mark.parametrize("code", ["Throttling", "ServiceUnavailable"])
def test_restore_gives_up_within_ten_seconds_of_sleep(memory, connect, green, clock, code):
    memory.faults = {name: [code] * 1000 for name in ("ModifyListener", "ModifyRule", "DescribeRules")}
    with pytest.raises(Failure, match="roll back again at once") as caught:
        traffic.run(connect, params(restore=green), False)
    assert len(caught.value.details["remaining"]) == 4
    unanswered = 4 if code == "ServiceUnavailable" else 0
    assert len(caught.value.details["unanswered"]) == unanswered
    assert ("may have been put back" in str(caught.value)) is bool(unanswered)
    assert ("is as it was" in str(caught.value)) is (not unanswered)
    assert sum(clock.slept) <= 10


def test_restore_remembers_an_attempt_without_an_answer(memory, connect, green, arns):
    memory.faults["ModifyListener"] = ["ServiceUnavailable", "TargetGroupNotFound"]
    with pytest.raises(Failure, match=f"may have been put back or not on {arns.listener}") as caught:
        traffic.run(connect, params(restore=green), False)
    assert caught.value.details["unanswered"] == [arns.listener]


def test_a_rollback_that_cannot_be_read_back_is_still_one(memory, connect, green, clock):
    memory.faults["DescribeRules"] = ["Throttling"] * 1000
    result = traffic.run(connect, params(restore=green), False)
    assert (result["verified"], len(result["warnings"])) == (False, 1)
    assert sum(clock.slept) <= 10


def test_restore_goes_on_with_a_warning_when_the_fence_cannot_be_read(memory, connect, green, fence):
    fence.asked.clear()
    fence.answers[:] = [unreadable()]
    result = traffic.run(connect, params(restore=green, fence=FENCE), False)
    assert result["verified"] and "without the fence" in result["warnings"][0]
    assert len(fence.asked) == 1  # and does not wait for it again


def test_restore_refuses_when_somebody_else_owns_the_fence(memory, connect, green, fence):
    fence.answers[:] = [lost()]
    with pytest.raises(guard.fence.FenceLost):
        traffic.run(connect, params(restore=green, fence=FENCE), False)
    assert memory.writes() == 0


def test_the_status_is_recorded_once_before_the_first_write(connect, green, fence):
    fence.asked.clear()
    traffic.run(connect, params(restore=green, fence={**FENCE, "status": "rolling_back"}), False)
    assert fence.asked == ["rolling_back", *[("b", "k", 7)] * 4]


def test_a_rollback_that_reads_otherwise_is_still_one(memory, connect, green, clock):
    memory.ModifyRule = lambda body: {"Rules": []}
    result = traffic.run(connect, params(restore=green), False)
    assert (result["changed"], result["verified"]) == (True, False)
    assert "2 s later it showed" in result["warnings"][0]
    assert sum(clock.slept) <= traffic.READ_BACK_ROLLBACK
