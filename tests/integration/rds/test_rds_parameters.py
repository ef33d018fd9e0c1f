"""rds_parameters against the lab's RDS."""

from __future__ import annotations

import itertools
from typing import Any

import boto3
import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_values as values_of
from botocore.config import Config
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lab.aws import catalogue
from tests.integration.rds.definitions import SIXTY
from tests.lab.account import REGION, until
from tests.lab.rds_account import Databases

NUMBERS = itertools.count(1)
CASES = 20
PARAMETERS = {
    "family": "postgres15",
    "description": "Managed by Ansible",
    "settings": {},
    "purge": False,
    "state": "present",
    "tags": None,
    "purge_tags": True,
}


class Module:
    """What a Connector needs of a module; its client is made once, for speed."""

    def __init__(self, endpoint: str) -> None:
        self.params: dict[str, Any] = {}
        session = boto3.Session(aws_access_key_id="lab", aws_secret_access_key="lab", region_name=REGION)
        self.made = session.client("rds", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}))

    def client(self, _service: str, aws_config: dict[str, Any]) -> Any:
        return self.made


@pytest.fixture(scope="session")
def run(endpoint: str) -> Any:
    """Do what the module does, in this process; return its result with its calls."""
    module = Module(endpoint)

    def run(name: str, check: bool = False, **options: Any) -> dict[str, Any]:
        connect = Connector(module, Clock())
        try:
            result = parameters.run(connect, {**PARAMETERS, "name": name, **options}, check)
        except Failure as failure:
            result = {"failed": True, "msg": str(failure), **failure.details}
        return {**result, **connect.log.result()}

    return run


@pytest.fixture
def name() -> str:
    """The name of a group that does not exist yet."""
    return f"tuned-{next(NUMBERS)}"


def user(aws: Any, name: str) -> dict[str, str]:
    """What somebody has set in a group."""
    pages = aws.rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=name, Source="user")
    return {entry["ParameterName"]: entry["ParameterValue"] for page in pages for entry in page["Parameters"]}


def writes(aws: Any) -> list[str]:
    """The calls that changed something since the mark."""
    return [entry["action"] for entry in aws.control.journal(service="rds", mutating=True)]


def make_instance(aws: Any, name: str, group: str) -> None:
    options = {"EngineVersion": "15.8", "DBInstanceClass": "db.m6g.large", "DBParameterGroupName": group}
    Databases(aws.endpoint, aws.control).instance(wait=20, DBInstanceIdentifier=name, **options)


def state(aws: Any, name: str) -> str | None:
    found = [one for one in aws.rds.describe_db_instances()["DBInstances"] if one["DBInstanceIdentifier"] == name]
    return found[0]["DBInstanceStatus"] if found else None


def test_sixty_settings_are_three_calls_and_then_none(aws: Any, run_module: Any, name: str) -> None:
    options = {"name": name, "family": "postgres15", "settings": SIXTY, "tags": {"environment": "production"}}
    predicted = run_module("rds_parameters", check=True, **options)
    assert writes(aws) == []
    made = run_module("rds_parameters", **options)
    assert made.result["diff"] == predicted.result["diff"]
    assert made.result["calls"] == predicted.result["calls"]
    assert writes(aws) == ["CreateDBParameterGroup"] + ["ModifyDBParameterGroup"] * 3
    found = user(aws, name)
    assert set(found) == set(SIXTY)
    assert {
        key: found[key] for key in ("shared_buffers", "work_mem", "checkpoint_timeout", "jit", "wal_compression")
    } == {
        "shared_buffers": "2097152",
        "work_mem": "65536",
        "checkpoint_timeout": "900",
        "jit": "0",
        "wal_compression": "on",
    }
    aws.control.mark()
    again = run_module("rds_parameters", **options)
    assert not again.result["changed"] and again.result["calls"] == []
    assert writes(aws) == []


def test_static_settings_come_first_and_dynamic_ones_take_effect_at_once(aws: Any, run: Any, name: str) -> None:
    changes = run(name, settings=SIXTY)["changes"]
    kinds = [(change["apply_type"], change["apply_method"]) for change in changes]
    assert kinds == [("static", "pending-reboot")] * 8 + [("dynamic", "immediate")] * 52


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("work_mem", 65536, "no unit"),
        ("work_mem", "64mb", "write 'MB'"),
        ("shared_bufers", "16GB", "no such parameter"),
        ("fsync", "off", "not let it be modified"),
        ("max_connections", 300000, "outside what RDS allows"),
        ("log_destination", "jsonlog", "not one of those"),
        ("log_filename", "postgresql-%a.log", "not one of those"),
        ("shared_buffers", "{DBInstanceClassMemory/4}", "204800 % of the instance's memory"),
        ("shared_buffers", "{DBInstanceMemory/32768}", "no variable of RDS"),
        ("shared_preload_libraries", "", "no empty value"),
        ("WORK_MEM", "64MB", "given twice"),
    ],
)
def test_one_bad_setting_among_sixty_changes_nothing(
    aws: Any, run: Any, name: str, setting: str, value: Any, reason: str
) -> None:
    run(name)
    aws.control.mark()
    for check in (True, False):
        refused = run(name, check=check, settings={**SIXTY, setting: value})
        assert refused["failed"] and refused["calls"] == []
        [bad] = refused["refused"]
        assert bad["name"] == setting and reason in bad["reason"]
    assert writes(aws) == [] and user(aws, name) == {}


def test_everything_that_is_wrong_is_named_at_once(aws: Any, run: Any, name: str) -> None:
    refused = run(name, settings={"work_mem": 4096, "nonsense": 1, "fsync": "off", "jit": "off"})
    assert [each["name"] for each in refused["refused"]] == ["work_mem", "nonsense", "fsync"]
    assert all(each["name"] in refused["msg"] for each in refused["refused"])
    # Nor was the group made.
    assert writes(aws) == []


def test_another_family_is_refused(aws: Any, run: Any, name: str) -> None:
    run(name)
    refused = run(name, family="postgres17")
    assert "family postgres17" in refused["msg"] and "family postgres15" in refused["msg"]
    assert "a parameter group family that RDS has" in run(f"{name}-x", family="postgres99")["msg"]
    assert "family" in run(f"{name}-x", family=None)["msg"]
    assert "default groups" in run("default.postgres15")["msg"]
    assert run(name, family=None)["changed"] is False


def test_what_is_no_longer_declared_is_reset_when_asked(aws: Any, run: Any, name: str) -> None:
    run(name, settings=SIXTY)
    few = {"work_mem": "64MB", "jit": False}
    assert run(name, settings=few)["changed"] is False
    aws.control.mark()
    predicted, made = run(name, check=True, settings=few, purge=True), run(name, settings=few, purge=True)
    assert predicted["diff"] == made["diff"] and predicted["calls"] == made["calls"]
    assert writes(aws) == ["ResetDBParameterGroup"] * 3
    assert set(user(aws, name)) == set(few)
    assert run(name, settings=few, purge=True)["changed"] is False


def test_equal_values_are_equal(aws: Any, run: Any, name: str) -> None:
    run(name, settings={**SIXTY, "effective_cache_size": "{DBInstanceClassMemory*3/32768}", "random_page_cost": 1})
    other = {
        "shared_buffers": "16384MB",
        "checkpoint_timeout": "900s",
        "random_page_cost": "1.0",
        "log_destination": ["stderr", "csvlog"],
        "shared_preload_libraries": "auto_explain,pg_stat_statements",
        "effective_cache_size": "{ DBInstanceClassMemory * 3 / 32768 }",
        "TimeZone": "UTC",
        "track_functions": "ALL",
        "jit": 0,
        "max_replication_slots": 20,
    }
    assert run(name, settings=other)["changed"] is False


def test_it_says_which_instances_wait_for_a_reboot(aws: Any, run: Any, name: str) -> None:
    aws.control.settings(rds_seconds=0)
    run(name)
    make_instance(aws, f"{name}-b", name)
    make_instance(aws, f"{name}-a", name)
    assert run(name, settings={"work_mem": "64MB"})["pending_reboot"] == []
    some = {"work_mem": "64MB", "shared_buffers": "16GB"}
    predicted, made = run(name, check=True, settings=some), run(name, settings=some)
    assert predicted["pending_reboot"] == made["pending_reboot"]
    assert [each["instance"] for each in made["pending_reboot"]] == [f"{name}-a", f"{name}-b"]
    assert made["pending_reboot"][0]["settings"] == ["shared_buffers"]
    assert "static parameters changed" in made["pending_reboot"][0]["reason"]
    aws.rds.reboot_db_instance(DBInstanceIdentifier=f"{name}-a")
    until(lambda: state(aws, f"{name}-a") == "available", 20)
    again = run(name, settings=some)
    assert not again["changed"]
    assert [(each["instance"], each["settings"]) for each in again["pending_reboot"]] == [
        (f"{name}-b", ["shared_buffers"])
    ]


def test_a_group_in_use_is_not_deleted(aws: Any, run: Any, name: str) -> None:
    run(name)
    make_instance(aws, f"{name}-a", name)
    assert f"{name}-a" in run(name, state="absent")["msg"]
    aws.rds.delete_db_instance(DBInstanceIdentifier=f"{name}-a", SkipFinalSnapshot=True)
    until(lambda: state(aws, f"{name}-a") is None, 20)
    predicted, made = run(name, check=True, state="absent"), run(name, state="absent")
    assert predicted["calls"] == made["calls"] == [{"action": "DeleteDBParameterGroup", "resource": name}]
    assert run(name, state="absent")["changed"] is False


def test_tags_are_as_declared(aws: Any, run: Any, name: str) -> None:
    arn = run(name, tags={"a": "1", "b": "2"})["arn"]
    wanted = {"b": "3", "c": "4"}
    predicted, made = run(name, check=True, tags=wanted), run(name, tags=wanted)
    assert predicted["diff"] == made["diff"] and predicted["calls"] == made["calls"]
    assert {tag["Key"]: tag["Value"] for tag in aws.rds.list_tags_for_resource(ResourceName=arn)["TagList"]} == wanted
    assert not run(name, tags=wanted)["changed"] and not run(name)["changed"]


def test_a_failure_after_the_first_call_says_what_was_done_and_the_next_run_does_the_rest(
    aws: Any, run: Any, name: str
) -> None:
    run(name)
    with aws.control.faulty("deny", service="rds", action="ModifyDBParameterGroup", skip=1):
        failed = run(name, settings=SIXTY)
    assert failed["failed"] and len(failed["applied"]) == 20 and len(failed["not_applied"]) == 40
    assert "20 changes were made before, 40 were not." in failed["msg"]
    assert set(user(aws, name)) == set(failed["applied"])
    rest = run(name, settings=SIXTY)
    assert {change["name"] for change in rest["changes"]} == set(failed["not_applied"])
    assert len(rest["calls"]) == 2
    assert run(name, settings=SIXTY)["changed"] is False


def test_throttling_and_lost_answers_are_ridden_out(aws: Any, run: Any, name: str) -> None:
    with (
        aws.control.faulty("throttle", service="rds", probability=0.4, seed=7),
        aws.control.faulty("lost_answer", service="rds", action=["Create*", "Modify*"], count=2),
    ):
        made = run(name, settings=SIXTY)
    assert "failed" not in made and made["api_calls"]["retried"] > 2
    assert set(user(aws, name)) == set(SIXTY)


# One group for all cases: what is in it when a case begins is what the case before left.
@pytest.mark.slow
def test_check_mode_predicts_the_diff_and_the_calls(aws: Any, run: Any) -> None:
    known = {
        name: entry
        for name, entry in catalogue.parameters("postgres15").items()
        if entry["IsModifiable"] and entry["DataType"] in ("boolean", "integer", "float") and "." not in name
    }
    totals = {"cases": 0, "changed": 0}

    def values(entry: dict[str, Any]) -> st.SearchStrategy[Any]:
        if entry["DataType"] == "boolean":
            return st.sampled_from([True, False, "on", "off", 0, 1])
        low, high = (float(limit) for limit in _range(entry["AllowedValues"]))
        unit = values_of.from_boto(entry).unit or ""
        if entry["DataType"] == "float":
            numbers = st.floats(max(low, 0), min(high, 100.0)).map(lambda number: round(number, 3))
            return numbers.filter(low.__le__).map(lambda number: f"{number}{unit}")
        size, unit = (8, "kB") if unit == "8kB" else (1, unit)
        return st.integers(int(max(low, 1)), int(min(high, 2**20))).map(lambda number: f"{number * size}{unit}")

    definitions = st.dictionaries(st.sampled_from(sorted(known)), st.none(), max_size=45).flatmap(
        lambda chosen: st.fixed_dictionaries({name: values(known[name]) for name in chosen})
    )

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(definitions, st.booleans())
    def holds(definition: dict[str, Any], purge: bool) -> None:
        options = {"settings": definition, "purge": purge}
        predicted, made = run("generated", check=True, **options), run("generated", **options)
        assert "failed" not in made, made["msg"]
        for key in ("diff", "calls", "changed", "changes", "pending_reboot"):
            assert predicted[key] == made[key], key
        again = run("generated", **options)
        assert not again["changed"] and again["calls"] == []
        totals["cases"] += 1
        totals["changed"] += made["changed"]

    holds()
    print(f"{totals['cases']} cases, {totals['changed']} of them with a change: prediction and run agree")
    assert totals["cases"] >= CASES and totals["changed"] > CASES / 3


def _range(allowed: str) -> tuple[str, str]:
    low, _dash, high = allowed[1:].partition("-")
    return allowed[0] + low, high
