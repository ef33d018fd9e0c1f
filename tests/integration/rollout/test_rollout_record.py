"""The record in the lab's S3: races, lost answers, refusals, and what the module says of them."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import (
    NORMAL,
    ROLLBACK,
    Profile,
)
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import fence, owner, session
from botocore.config import Config

from tests.lab.account import REGION, Account

BUCKET = "rollouts"
KEY = "app/demo.json"
BLUE, GREEN = "arn:blue", "arn:green"


def traffic(weights: dict[str, int]) -> dict[str, Any]:
    """What alb_traffic_info says of one rule."""
    shared = [arn for arn, weight in weights.items() if weight]
    color = {BLUE: "blue", GREEN: "green"}[shared[0]] if len(shared) == 1 else None
    return {
        "forwards": [{"arn": "rule", "kind": "rule", "actions": [{"Type": "forward"}], "weights": weights}],
        "target_groups": {"blue": {"arn": BLUE}, "green": {"arn": GREEN}},
        "live_color": color,
        "consistent": True,
        "empty": False,
    }


@dataclass
class Store:
    """The bucket, and the module's code as a run in this process uses it."""

    account: Account
    s3: Any
    connect: Callable[..., Aws]
    identity: threading.local

    def run(self, state: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """As the module rollout."""
        defaults = {
            "bucket": BUCKET,
            "key": None,
            "application": "app",
            "environment": "demo",
            "version": None,
            "steps": [{"weight": 10, "pause": "1m"}, {"weight": 100, "pause": "0"}],
            "bake": "0",
            "lease_ttl": None,
            "on_unfinished": "resume",
            "traffic": None,
            "force": False,
            "max_clock_skew": 60,
            "release": False,
            **dict.fromkeys(("token", "event", "position", "status", "weights", "detail", "outcome")),
        }
        return session.run(self.connect, {**defaults, "state": state, **options}, check)  # type: ignore[arg-type]

    def begin(self, **options: Any) -> dict[str, Any]:
        """Begin 1.1 while blue is live."""
        return self.run("begun", **{"version": "1.1", "traffic": traffic({BLUE: 1}), **options})

    def stored(self) -> dict[str, Any]:
        """The record as it is."""
        return json.loads(self.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read())

    def become(self, name: str, **changes: Any) -> None:
        """Be another controller, on another machine, in this thread."""
        host = {"host": f"{name}-host", "boot_id": name, "pid_namespace": "n", "pid": 1, "started": 1, "job": None}
        self.identity.value = {"name": name, **host, **changes}


@pytest.fixture
def store(aws: Account, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    identity = threading.local()
    monkeypatch.setattr(owner, "identify", lambda: getattr(identity, "value", None) or ALICE)

    @functools.cache
    def s3_client(retries: int) -> Any:
        config = Config(retries={"total_max_attempts": retries})
        return boto3.Session("lab", "lab", region_name=REGION).client("s3", endpoint_url=endpoint, config=config)

    s3 = s3_client(5)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    module = SimpleNamespace(params={}, client=lambda _service, **_options: s3_client(1))
    yield Store(aws, s3, lambda *a: Connector(module, Clock())(*a), identity)
    aws.control.clear_faults()
    for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    s3.delete_bucket(Bucket=BUCKET)


ALICE = {
    "name": "alice",
    "host": "alice-host",
    "boot_id": "a",
    "pid_namespace": "n",
    "pid": 1,
    "started": 1,
    "job": None,
}


def test_twenty_race_and_one_wins(store: Store) -> None:
    barrier = threading.Barrier(20)

    def race(number: int) -> str | Failure:
        store.become(f"racer{number}")
        barrier.wait()
        try:
            return store.begin()["rollout"]["lease"]["owner"]["name"]
        except Failure as failure:
            return failure

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(race, range(20)))
    winners = [result for result in results if isinstance(result, str)]
    losers = [result for result in results if isinstance(result, Failure)]
    assert len(winners) == 1 and len(losers) == 19
    assert store.stored()["lease"]["owner"]["name"] == winners[0] and store.stored()["token"] == 1
    for failure in losers:
        assert f"{winners[0]} on {winners[0]}-host" in str(failure) and "until" in str(failure)


def test_a_whole_rollout_and_what_is_kept_of_it(store: Store) -> None:
    begun = store.begin()
    assert begun["decision"] == "start" and begun["changed"] and begun["token"] == 1
    for step in begun["steps"]:
        for state in ("intended", "applied", "verified"):
            position = {"step": step["index"], "state": state}
            store.run("recorded", token=1, event=state, position=position, weights=step["weights"])
    assert store.run("finished", token=1, outcome="succeeded")["changed"]
    again = store.run("finished", token=1, outcome="succeeded")
    assert not again["changed"]
    nothing = store.begin(traffic=traffic({GREEN: 1}))
    assert nothing["decision"] == "nothing" and not nothing["changed"] and nothing["token"] is None
    store.account.control.mark()
    fresh = store.begin(version="1.2", traffic=traffic({GREEN: 1}))
    assert fresh["token"] == 2 and fresh["rollout"]["previous_version"] == "1.1"
    written = [entry["action"] for entry in store.account.control.journal(mutating=True)]
    assert written == ["PutObject", "PutObject"]
    kept = store.s3.get_object(Bucket=BUCKET, Key=f"app/demo.history/{begun['rollout']['rollout_id']}.json")
    assert json.loads(kept["Body"].read())["status"] == "succeeded"


def test_what_a_rollback_would_do_is_read_without_taking_the_lease(store: Store) -> None:
    assert store.run("read")["restore"] == []
    begun = store.begin()
    read = store.run("read")
    assert read["restore"] == begun["restore"] == [{"arn": "rule", "actions": [{"Type": "forward"}]}]
    assert not read["changed"] and read["rollout"]["live"]["color"] == "blue"


def test_an_answer_that_was_lost_is_recognised(store: Store) -> None:
    """The write happened, its answer did not arrive, and the repetition is refused: it is our own."""
    with store.account.control.faulty("lost_answer", service="s3", action="PutObject", count=1):
        begun = store.begin()
    assert begun["decision"] == "start" and begun["token"] == 1 and store.stored()["token"] == 1
    with store.account.control.faulty("lost_answer", service="s3", action="PutObject", count=1):
        store.run("recorded", token=1, event="once")
    assert [entry["event"] for entry in store.stored()["audit"]] == ["start", "once"]


def test_throttling_is_ridden_out(store: Store) -> None:
    with store.account.control.faulty("throttle", service="s3", probability=0.5, seed=3):
        assert store.begin()["token"] == 1


def test_expired_is_taken_over_and_the_late_owner_is_fenced_off(store: Store) -> None:
    store.begin(lease_ttl=60)
    store.become("bob")
    with pytest.raises(Failure, match="held by alice"):
        store.begin()
    store.account.control.settings(s3_date_skew=40)
    try:
        with pytest.raises(Failure, match="held by alice"):
            store.begin()
        store.account.control.settings(s3_date_skew=70)
        taken = store.begin(max_clock_skew=100)
    finally:
        store.account.control.settings(s3_date_skew=0)
    assert taken["token"] == 2 and taken["decision"] == "resume"
    store.become("alice")
    place = (store.connect("s3", NORMAL), BUCKET, KEY)
    for late in (
        lambda: store.run("recorded", token=1, event="late"),
        lambda: store.run("finished", token=1, outcome="aborted"),
        lambda: fence.check(*place, 1),
        lambda: fence.renew(*place, 1, 60),
        lambda: fence.mark(*place, 1, "rolling_back"),
    ):
        before = store.stored()
        with pytest.raises(fence.FenceLost, match="bob on bob-host"):
            late()
        assert store.stored() == before


def test_a_clock_that_is_off_is_refused_but_for_a_rollback(store: Store) -> None:
    store.account.control.settings(s3_date_skew=90)
    try:
        with pytest.raises(Failure, match=r"clock within 60 s.*-(89|90|91) s"):
            store.begin()
        store.account.control.settings(s3_date_skew=0)
        store.begin()
        store.account.control.settings(s3_date_skew=90)
        back = store.run("begun", force=True)
    finally:
        store.account.control.settings(s3_date_skew=0)
    assert back["decision"] == "rollback" and "clock within 60 s" in back["warnings"][0]


def test_only_a_rollback_gives_an_s3_that_throttles_up_after_seconds(store: Store) -> None:
    profiles = []

    def connect(service: str, profile: Profile) -> Aws:
        profiles.append(profile)
        return connected(service, profile)

    connected, store.connect = store.connect, connect
    store.begin()
    began = time.monotonic()
    with (
        store.account.control.faulty("throttle", service="s3", probability=1, seed=1),
        pytest.raises(Failure, match=r"SlowDown|[Tt]hrottl"),
    ):
        store.run("begun")
    assert time.monotonic() - began < 10
    assert profiles == [NORMAL, ROLLBACK]


class TestFence:
    def test_costs_one_read_while_the_lease_is_young(self, store: Store) -> None:
        store.begin()
        store.account.control.mark()
        fence.check(store.connect("s3", NORMAL), BUCKET, KEY, 1)
        assert [entry["action"] for entry in store.account.control.journal()] == ["GetObject"]

    def test_prolongs_the_lease_when_it_is_old(self, store: Store) -> None:
        # The service tells its time in whole seconds: four or five of six are over then, and two thirds are demanded.
        store.begin(lease_ttl=6)
        before = store.stored()["lease"]["expires_at"]
        threading.Event().wait(4.5)
        fence.check(store.connect("s3", NORMAL), BUCKET, KEY, 1)
        assert store.stored()["lease"]["expires_at"] > before

    def test_marks_the_way_back_once(self, store: Store) -> None:
        store.begin()
        store.account.control.mark()
        for _ in range(2):
            fence.mark(store.connect("s3", NORMAL), BUCKET, KEY, 1, "rolling_back")
        assert store.stored()["status"] == "rolling_back"
        assert len(store.account.control.journal(mutating=True)) == 1

    def test_without_a_record_is_lost(self, store: Store) -> None:
        with pytest.raises(fence.FenceLost, match="no record"):
            fence.check(store.connect("s3", NORMAL), BUCKET, KEY, 1)


class TestCheckMode:
    def test_nothing_is_written_and_the_prediction_comes_true(self, store: Store) -> None:
        store.account.control.mark()
        predicted = store.begin(check=True)
        recorded = store.run("recorded", check=True, token=predicted["token"], event="step")
        assert recorded["changed"]
        assert store.account.control.journal(mutating=True) == []
        real = store.begin()
        for result in (predicted, real):
            for side in result["diff"].values():
                side.pop("rollout_id", None)
        for key in ("decision", "steps", "token", "diff", "changed"):
            assert predicted[key] == real[key]

    def test_a_lost_lease_is_lost_in_check_mode_too(self, store: Store) -> None:
        store.begin()
        with pytest.raises(fence.FenceLost):
            store.run("recorded", check=True, token=9, event="step")


class TestRefusals:
    def test_no_bucket(self, store: Store) -> None:
        with pytest.raises(Failure, match=r"bucket nowhere.*Correct the name, or create it"):
            store.begin(bucket="nowhere")

    @pytest.mark.parametrize("action", ["GetObject", "PutObject"])
    def test_a_missing_permission_is_named(self, store: Store, action: str) -> None:
        with (
            store.account.control.faulty("deny", service="s3", action=action),
            pytest.raises(Failure, match=rf"Grant s3:{action} .*s3:ListBucket"),
        ):
            store.begin()

    def test_another_region_is_named(self, store: Store) -> None:
        fault = {"service": "s3", "action": "GetObject", "code": "AuthorizationHeaderMalformed", "status": 400}
        with (
            store.account.control.faulty("error", **fault),
            pytest.raises(Failure, match=rf"bucket {BUCKET} in {REGION}"),
        ):
            store.begin()

    @pytest.mark.parametrize("body", [b"{", b'{"schema": 99}'])
    def test_what_is_no_record_of_ours_is_left_as_it_is(self, store: Store, body: bytes) -> None:
        store.s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
        with pytest.raises(Failure, match="Nothing was overwritten"):
            store.begin()
        assert store.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == body


def test_the_module_itself(run_module: Callable[..., Any], run_ansible: Callable[..., Any], store: Store) -> None:
    """Through ansible: the process is known, and when it has ended the next run takes over at once."""
    place = {"bucket": BUCKET, "application": "app", "environment": "demo"}
    begin = {**place, "state": "begun", "version": "1.1", "traffic": traffic({BLUE: 1})}
    predicted = run_module("rollout", check=True, **begin)
    assert predicted.result["decision"] == "start" and predicted.result["calls"][0]["action"] == "PutObject"
    wrong = run_module("rollout", **{**begin, "steps": [{"weight": 50}]})
    assert wrong.failed and "a last step of weight 100" in wrong.result["msg"]
    first = run_ansible("rollout", **begin)
    assert first.result["decision"] == "start" and first.result["rollout"]["lease"]["owner"]["pid"]
    read = run_module("rollout", **place)
    assert read.result["unfinished"] and read.result["owner_alive"] is False and not read.result["changed"]
    second = run_ansible("rollout", **begin)
    assert second.result["decision"] == "resume" and second.result["token"] == 2
    assert second.result["rollout"]["audit"][-1]["detail"]["because"] == "owner died"
