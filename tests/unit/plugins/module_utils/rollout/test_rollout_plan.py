from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import plan

from .conftest import BLUE, GREEN, NOW, STEPS, at, begun, make_owner, make_request, make_traffic

BOB = make_owner("bob")
LATER = NOW + timedelta(seconds=301)


class TestSteps:
    def test_pauses_become_seconds(self) -> None:
        steps = plan.validate_steps([{"weight": 10, "pause": "10m"}, {"weight": 100}])
        assert steps == [{"weight": 10, "pause": 600}, {"weight": 100, "pause": 0}]

    @pytest.mark.parametrize(
        ("weights", "said"),
        [
            ([], "at least one"),
            ([10, 50], "last step of weight 100"),
            ([50, 10, 100], "rise"),
            ([10, 10, 100], "rise"),
            ([0, 100], "from 1 to 100"),
            ([10, 101], "from 1 to 100"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, weights: list[int], said: str) -> None:
        with pytest.raises(Failure, match=said):
            plan.validate_steps([{"weight": weight} for weight in weights])


class TestStart:
    def test_attach_then_each_step_with_the_weights_before_it(self) -> None:
        decision = plan.begin(None, make_request(), make_traffic({BLUE: 1}), NOW)
        assert decision.kind == "start"
        assert [(step["index"], step["weights"], step["expected_weights"]) for step in decision.steps] == [
            (-1, {BLUE: 100, GREEN: 0}, {BLUE: 1}),
            (0, {BLUE: 90, GREEN: 10}, {BLUE: 100, GREEN: 0}),
            (1, {BLUE: 50, GREEN: 50}, {BLUE: 90, GREEN: 10}),
            (2, {BLUE: 0, GREEN: 100}, {BLUE: 50, GREEN: 50}),
        ]

    def test_the_record_says_how_to_go_back(self) -> None:
        record = plan.begin(None, make_request(), make_traffic({BLUE: 1}, {BLUE: 100, GREEN: 0}), NOW).record
        assert [forward["previous_actions"] for forward in record["forwards"]] == [
            [{"Type": "forward", "n": 0}],
            [{"Type": "forward", "n": 1}],
        ]
        assert record["live"]["color"] == "blue" and record["next"]["color"] == "green"
        assert record["status"] == "preparing" and record["position"] is None and record["token"] == 1

    def test_to_blue_when_green_is_live(self) -> None:
        record = plan.begin(None, make_request(), make_traffic({GREEN: 100, BLUE: 0}), NOW).record
        assert record["next"] == {"color": "blue", "target_group_arn": BLUE}

    def test_a_first_deployment_is_one_step(self) -> None:
        decision = plan.begin(None, make_request(), make_traffic(empty=True), NOW)
        assert decision.record["steps"] == [{"weight": 100, "pause": 0}] and decision.record["first"]

    def test_split_traffic_without_a_rollout_is_refused(self) -> None:
        with pytest.raises(Failure, match=r"blue.*90.*green.*10.*no unfinished rollout"):
            plan.begin(None, make_request(), make_traffic({BLUE: 90, GREEN: 10}), NOW)

    def test_rules_that_differ_are_refused_by_name(self) -> None:
        with pytest.raises(Failure, match=r"rule-0.*rule-1"):
            plan.begin(None, make_request(), make_traffic({BLUE: 1}, {GREEN: 1}), NOW)

    def test_another_applications_record_is_refused(self) -> None:
        with pytest.raises(Failure, match="app in demo"):
            plan.begin(begun(), make_request(application="other"), make_traffic(), NOW)

    def test_tokens_and_versions_live_on_over_rollouts(self) -> None:
        first = at(2, "verified")
        done = plan.finish(first, 1, "succeeded", NOW, "alice")
        traffic = make_traffic({BLUE: 0, GREEN: 100})
        record = plan.begin(done, make_request(version="1.2", rollout_id="r2"), traffic, NOW).record
        assert record["token"] == 2
        assert record["previous_version"] == "1.1"
        assert record["colors"] == {"blue": {"version": "1.2"}, "green": {"version": "1.1"}}


class TestNothing:
    done = plan.finish(at(2, "verified"), 1, "succeeded", NOW, "alice")

    def test_the_live_colour_carries_the_version(self) -> None:
        decision = plan.begin(self.done, make_request(), make_traffic({BLUE: 0, GREEN: 7}), NOW)
        assert (decision.kind, decision.record) == ("nothing", None)

    def test_not_when_somebody_went_back_by_hand(self) -> None:
        assert plan.begin(self.done, make_request(), make_traffic({BLUE: 1}), NOW).kind == "start"

    def test_not_when_the_live_group_is_empty(self) -> None:
        assert plan.begin(self.done, make_request(), make_traffic({GREEN: 1}, empty=True), NOW).kind == "start"

    def test_not_when_weights_are_split(self) -> None:
        with pytest.raises(Failure):
            plan.begin(self.done, make_request(), make_traffic({BLUE: 50, GREEN: 50}), NOW)

    def test_not_after_it_was_rolled_back(self) -> None:
        back = plan.finish(at(0, "applied"), 1, "rolled_back", NOW, "alice")
        assert plan.begin(back, make_request(), make_traffic({BLUE: 1}), NOW).kind == "start"


class TestLease:
    def test_a_living_owner_is_named(self) -> None:
        with pytest.raises(Failure) as caught:
            plan.begin(begun(), make_request(owner=BOB), make_traffic(), NOW)
        for said in ("alice on alice-host", "since 2026-01-31T08:00:00Z", "until 2026-01-31T08:05:00Z", "force"):
            assert said in str(caught.value)
        assert caught.value.details["owner"]["name"] == "alice"

    @pytest.mark.parametrize(
        ("request_changes", "now", "because"),
        [
            ({}, LATER, "expired"),
            ({"owner_is_dead": True}, NOW, "owner died"),
            ({"force": True}, NOW, "forced"),
        ],
    )
    def test_takeover_gives_a_new_token_and_is_audited(self, request_changes, now, because) -> None:  # type: ignore[no-untyped-def]
        decision = plan.begin(begun(), make_request(owner=BOB, **request_changes), make_traffic(), now)
        assert decision.kind == "resume"
        assert decision.record["lease"]["token"] == 2 and decision.record["lease"]["owner"] == BOB
        detail = decision.record["audit"][-1]["detail"]
        assert detail["because"] == because and "alice" in detail["taken_over_from"]

    def test_the_same_process_may_begin_again(self) -> None:
        assert plan.begin(begun(), make_request(), make_traffic(), NOW).record["token"] == 2

    def test_a_process_that_is_not_known_is_nobodys_twin(self) -> None:
        nobody = make_owner(pid=None, started=None)
        with pytest.raises(Failure):
            plan.begin(begun(owner=nobody), make_request(owner=nobody), make_traffic(), NOW)

    def test_the_late_owner_is_fenced_off(self) -> None:
        taken = plan.begin(begun(), make_request(owner=BOB), make_traffic(), LATER).record
        with pytest.raises(plan.FenceLost, match="bob on bob-host") as caught:
            plan.advance(taken, 1, LATER, "step", "alice")
        assert caught.value.details["owner"]["name"] == "bob"

    @pytest.mark.parametrize("stored", [None, plan.finish(at(0, "applied"), 1, "aborted", NOW, "alice")])
    def test_so_is_everybody_without_a_lease(self, stored: Any) -> None:
        with pytest.raises(plan.FenceLost):
            plan.check_token(stored, 1)

    def test_recording_renews(self) -> None:
        record = plan.advance(begun(), 1, LATER, "waited", "alice")
        assert record["lease"]["expires_at"] == "2026-01-31T08:10:01Z"

    def test_released_while_a_person_is_asked_anybody_may_go_on(self) -> None:
        asked = plan.advance(at(0, "applied"), 1, NOW, "ask", "alice", status="awaiting_approval", release=True)
        assert asked["lease"] is None and asked["status"] == "awaiting_approval"
        traffic = make_traffic({BLUE: 90, GREEN: 10})
        decision = plan.begin(asked, make_request(owner=BOB), traffic, NOW)
        assert (decision.kind, decision.steps[0]["index"], decision.record["token"]) == ("resume", 0, 2)
        with pytest.raises(plan.FenceLost, match="lease released"):
            plan.advance(asked, 1, NOW, "late", "alice")

    def test_renewal_is_needed_when_a_third_is_left(self) -> None:
        lease = begun()["lease"]
        assert not plan.needs_renewal(lease, NOW + timedelta(seconds=199))
        assert plan.needs_renewal(lease, NOW + timedelta(seconds=200))


class TestResume:
    @pytest.mark.parametrize(
        ("step", "state", "live", "first", "first_state"),
        [
            (-1, "intended", {BLUE: 1}, -1, "intended"),
            (-1, "intended", {BLUE: 100, GREEN: 0}, -1, "intended"),
            (-1, "verified", {BLUE: 100, GREEN: 0}, 0, "pending"),
            (0, "intended", {BLUE: 100, GREEN: 0}, 0, "intended"),
            (0, "intended", {BLUE: 90, GREEN: 10}, 0, "intended"),
            (0, "applied", {BLUE: 90, GREEN: 10}, 0, "applied"),
            (0, "verified", {BLUE: 90, GREEN: 10}, 1, "pending"),
            (2, "applied", {BLUE: 0, GREEN: 100}, 2, "applied"),
        ],
    )
    def test_from_where_it_was(self, step, state, live, first, first_state) -> None:  # type: ignore[no-untyped-def]
        decision = plan.begin(at(step, state), make_request(), make_traffic(live), NOW)
        assert decision.kind == "resume"
        assert (decision.steps[0]["index"], decision.steps[0]["state"]) == (first, first_state)
        assert decision.steps[-1]["index"] == 2

    def test_nothing_is_left_after_the_last_gate(self) -> None:
        decision = plan.begin(at(2, "verified"), make_request(), make_traffic({GREEN: 100}), NOW)
        assert (decision.kind, decision.steps) == ("resume", [])

    def test_rules_may_be_on_both_sides_of_one_intent(self) -> None:
        traffic = make_traffic({BLUE: 90, GREEN: 10}, {BLUE: 100, GREEN: 0})
        record = at(0, "intended")
        record["forwards"].append({**record["forwards"][0], "arn": "rule-1"})
        assert plan.begin(record, make_request(), traffic, NOW).kind == "resume"

    @pytest.mark.parametrize(
        ("step", "state", "live"),
        [
            (0, "intended", {BLUE: 50, GREEN: 50}),
            (0, "applied", {BLUE: 80, GREEN: 20}),
            (1, "verified", {BLUE: 90, GREEN: 10}),
            (-1, "applied", {GREEN: 1}),
        ],
    )
    def test_a_foreign_writer_is_refused_and_both_weights_named(self, step, state, live) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(Failure, match=r"(?s)Expected live weights.*found live weights.*Somebody else"):
            plan.begin(at(step, state), make_request(), make_traffic(live), NOW)

    def test_a_rule_that_was_not_read_is_named(self) -> None:
        traffic = make_traffic()
        traffic["forwards"][0]["arn"] = "rule-9"
        with pytest.raises(Failure, match=r"rule-0.*rule-9"):
            plan.begin(begun(), make_request(), traffic, NOW)

    @pytest.mark.parametrize(("step", "state"), [(0, "applied"), (0, "verified"), (2, "applied")])
    def test_weights_of_before_mean_that_a_rollback_was_cut_short(self, step: int, state: str) -> None:
        assert plan.begin(at(step, state), make_request(), make_traffic({BLUE: 1}), NOW).kind == "rollback"

    def test_a_rollback_is_never_resumed_forward(self) -> None:
        record = {**at(0, "applied"), "status": "rolling_back"}
        for policy in ("resume", "rollback", "fail"):
            decision = plan.begin(record, make_request(on_unfinished=policy), make_traffic({BLUE: 90, GREEN: 10}), NOW)
            assert (decision.kind, decision.steps) == ("rollback", [])

    def test_the_steps_it_began_with_are_kept(self) -> None:
        request = make_request(steps=[{"weight": 100, "pause": 0}])
        decision = plan.begin(at(0, "verified"), request, make_traffic({BLUE: 90, GREEN: 10}), NOW)
        assert decision.record["steps"] == STEPS and "goes on with the steps" in decision.warnings[0]

    def test_policy_fail(self) -> None:
        with pytest.raises(Failure, match=r"rollout r1 of 1.1.*step 1 of 3.*resume.*rollback"):
            traffic = make_traffic({BLUE: 90, GREEN: 10})
            plan.begin(at(0, "applied"), make_request(on_unfinished="fail"), traffic, NOW)

    def test_policy_rollback(self) -> None:
        decision = plan.begin(
            at(0, "applied"), make_request(on_unfinished="rollback"), make_traffic({BLUE: 90, GREEN: 10}), NOW
        )
        assert decision.kind == "rollback" and decision.record["status"] == "rolling_back"

    def test_another_version_does_not_overtake(self) -> None:
        with pytest.raises(Failure, match=r"1\.2.*rollout r1 of 1\.1.*running with version 1\.1"):
            plan.begin(at(0, "applied"), make_request(version="1.2"), make_traffic({BLUE: 90, GREEN: 10}), NOW)

    def test_unless_nothing_had_moved(self) -> None:
        request = make_request(version="1.2", rollout_id="r2")
        decision = plan.begin(begun(), request, make_traffic(), NOW)
        assert decision.kind == "start" and decision.record["version"] == "1.2" and decision.record["token"] == 2

    def test_a_bake_that_was_cut_short_begins_anew(self) -> None:
        """Nobody watched between the two runs."""
        record = plan.advance(at(2, "verified"), 1, NOW, "bake", "alice", status="baking")
        assert plan.bake_left(record) == 600
        again = plan.advance(record, 1, NOW + timedelta(seconds=90), "bake", "alice", status="baking")
        assert again["baking_since"] == "2026-01-31T08:01:30Z" and plan.bake_left(again) == 600
        assert plan.bake_left(plan.finish(again, 1, "succeeded", NOW, "alice")) == 0

    def test_a_rollback_is_finished_before_another_version_and_says_so(self) -> None:
        record = {**at(0, "applied"), "status": "rolling_back"}
        decision = plan.begin(record, make_request(version="1.2"), make_traffic({BLUE: 90, GREEN: 10}), NOW)
        assert decision.kind == "rollback" and decision.record["version"] == "1.1"
        assert "rollout r1 of 1.1" in decision.reason and "finished first" in decision.reason


@pytest.mark.parametrize(
    ("stored", "changes", "live", "kind", "said"),
    [
        (None, {}, {BLUE: 1}, "start", "live on blue"),
        (at(0, "applied"), {}, {BLUE: 90, GREEN: 10}, "resume", "rollout r1 of 1.1 .* left unfinished"),
        (at(0, "applied"), {}, {BLUE: 1}, "rollback", "cut short"),
        (at(0, "applied"), {"on_unfinished": "rollback"}, {BLUE: 1}, "rollback", "on_unfinished"),
        (at(0, "applied"), {"version": None}, {BLUE: 1}, "rollback", "to be taken back"),
        (TestNothing.done, {}, {GREEN: 1}, "nothing", "1.1 is live on green already"),
    ],
)
def test_each_decision_says_why(stored, changes, live, kind, said) -> None:  # type: ignore[no-untyped-def]
    decision = plan.begin(stored, make_request(**changes), make_traffic(live), NOW)
    assert decision.kind == kind and re.search(said, decision.reason)


class TestTakeBack:
    request = make_request(version=None)

    def test_an_unfinished_one_without_reading_traffic(self) -> None:
        decision = plan.begin(at(1, "applied"), self.request, None, NOW)
        assert decision.kind == "rollback" and decision.record["status"] == "rolling_back"

    def test_a_succeeded_one(self) -> None:
        done = plan.finish(at(2, "verified"), 1, "succeeded", NOW, "alice")
        decision = plan.begin(done, self.request, make_traffic({GREEN: 100}), NOW)
        assert decision.kind == "rollback" and decision.record["token"] == 2

    back = plan.finish(at(0, "applied"), 1, "rolled_back", NOW, "alice")

    def test_again_when_nobody_looked_whether_it_still_is_so(self) -> None:
        decision = plan.begin(self.back, self.request, None, NOW)
        assert decision.kind == "rollback" and decision.record["token"] == 2 and "again" in decision.reason

    def test_again_when_a_late_write_moved_traffic(self) -> None:
        traffic = make_traffic({BLUE: 90, GREEN: 10})
        assert plan.begin(self.back, self.request, traffic, NOW).kind == "rollback"

    def test_nothing_only_when_live_weights_are_those_of_before(self) -> None:
        assert plan.begin(self.back, self.request, make_traffic({BLUE: 100, GREEN: 0}), NOW).kind == "nothing"

    def test_an_aborted_one_moved_nothing_and_says_what_to_deploy(self) -> None:
        done = {**plan.finish(at(2, "verified"), 1, "succeeded", NOW, "alice"), "previous_version": "1.0"}
        green = make_traffic({GREEN: 100})
        for number in (2, 3):
            request = make_request(version="1.2", rollout_id=f"r{number}")
            record = plan.begin(done, request, green, NOW).record
            done = plan.finish(record, record["token"], "aborted", NOW, "alice")
        for traffic in (None, green):
            with pytest.raises(Failure, match=r"r3 of 1\.2.*1\.1 on green.*Deploy 1\.0 again.*before rollout r1"):
                plan.begin(done, self.request, traffic, NOW)

    def test_an_aborted_one_without_a_past(self) -> None:
        with pytest.raises(Failure, match=r"r1 of 1\.1.*the version that you want back"):
            plan.begin(plan.finish(begun(), 1, "aborted", NOW, "alice"), self.request, None, NOW)

    def test_an_aborted_one_that_had_moved(self) -> None:
        done = plan.finish(at(0, "applied"), 1, "aborted", NOW, "alice")
        assert plan.begin(done, self.request, None, NOW).kind == "rollback"

    def test_not_the_first(self) -> None:
        done = {**plan.finish(at(2, "verified"), 1, "succeeded", NOW, "alice"), "first": True}
        with pytest.raises(Failure, match="the first one"):
            plan.begin(done, self.request, None, NOW)

    def test_foreign_weights_stop_it_unless_forced(self) -> None:
        traffic = make_traffic({BLUE: 70, GREEN: 30})
        with pytest.raises(Failure, match="Somebody else"):
            plan.begin(at(0, "applied"), self.request, traffic, NOW)
        assert plan.begin(at(0, "applied"), make_request(version=None, force=True), traffic, NOW).kind == "rollback"

    def test_nothing_to_take_back(self) -> None:
        with pytest.raises(Failure, match="no record"):
            plan.begin(None, self.request, None, NOW)


class TestAdvance:
    def test_states_come_in_their_order(self) -> None:
        record = begun()
        for step in range(-1, 3):
            for state in ("intended", "applied", "verified"):
                record = plan.advance(record, 1, NOW, "go", "alice", position={"step": step, "state": state})
        assert [entry["event"] for entry in record["audit"]] == ["start"] + ["go"] * 12

    @pytest.mark.parametrize(
        ("step", "state", "to_step", "to_state"),
        [
            (0, "applied", 1, "intended"),
            (0, "intended", 1, "intended"),
            (-1, "applied", 0, "intended"),
            (1, "intended", 0, "applied"),
            (0, "verified", 2, "intended"),
            (0, "verified", 9, "intended"),
        ],
    )
    def test_no_gate_is_skipped(self, step, state, to_step, to_state) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(Failure):
            plan.advance(at(step, state), 1, NOW, "go", "alice", position={"step": to_step, "state": to_state})

    def test_a_gate_that_passed_says_more_than_applied(self) -> None:
        record = plan.advance(at(0, "intended"), 1, NOW, "go", "alice", position={"step": 0, "state": "verified"})
        assert record["position"] == {"step": 0, "state": "verified"}

    def test_the_same_position_twice_is_fine(self) -> None:
        record = at(0, "applied")
        again = plan.advance(record, 1, NOW, "gate", "alice", position=record["position"])
        assert again["position"] == record["position"]

    def test_there_is_no_way_forward_from_a_rollback(self) -> None:
        record = plan.advance(at(0, "applied"), 1, NOW, "back", "alice", status="rolling_back")
        with pytest.raises(Failure, match="rolled back"):
            plan.advance(record, 1, NOW, "go", "alice", status="shifting")
        with pytest.raises(Failure, match="rollback"):
            plan.advance(record, 1, NOW, "go", "alice", position={"step": 0, "state": "verified"})

    def test_the_stored_record_is_not_touched(self) -> None:
        record = begun()
        plan.advance(record, 1, NOW, "go", "alice", status="shifting", weights={BLUE: "90"})
        assert record == begun()


class TestFinish:
    def test_success_needs_the_last_gate(self) -> None:
        with pytest.raises(Failure, match="step 3 of 3"):
            plan.finish(at(2, "applied"), 1, "succeeded", NOW, "alice")

    def test_success_is_not_the_end_of_a_rollback(self) -> None:
        with pytest.raises(Failure, match="rolled_back"):
            plan.finish({**at(2, "verified"), "status": "rolling_back"}, 1, "succeeded", NOW, "alice")

    def test_twice_changes_nothing(self) -> None:
        done = plan.finish(at(2, "verified"), 1, "succeeded", NOW, "alice")
        assert done["lease"] is None and done["finished_at"] == "2026-01-31T08:00:00Z"
        assert plan.finish(done, 1, "succeeded", NOW, "alice") is None

    def test_an_earlier_owner_cannot_finish(self) -> None:
        taken = plan.begin(begun(), make_request(owner=BOB), make_traffic(), LATER).record
        with pytest.raises(plan.FenceLost):
            plan.finish(taken, 1, "aborted", LATER, "alice")
