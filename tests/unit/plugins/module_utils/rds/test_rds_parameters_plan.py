"""Settings of a definition as parameters of RDS, and the plan that follows from them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from ansible_collections.techcorp.rag_admin.plugins.filter import postgresql_tuning
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_plan as plan
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_values as values
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.aws import catalogue
from tests.rds_cases import SETTINGS, case, mismatch

PARAMETERS = {
    family: {name: values.from_boto(entry) for name, entry in catalogue.parameters(family).items()}
    for family in catalogue.FAMILIES
}
FIFTEEN = PARAMETERS["postgres15"]


def parameter(**given):
    described = {
        "ParameterName": "work_mem",
        "Description": "(kB) Memory.",
        "ApplyType": "dynamic",
        "DataType": "integer",
        "AllowedValues": "64-2147483647",
        "IsModifiable": True,
        "Source": "user",
    }
    return values.from_boto({**described, **given})


def test_host_and_rds_come_to_the_same_number():
    chance = random.Random(15)
    cases = [case(chance) for _number in range(10_000)]
    assert [found for found in (mismatch(*each) for each in cases) if found] == []
    met = {(family, name) for family, name, _value in cases}
    assert met == {(family, name) for family, known in SETTINGS.items() for name in known}


def test_a_wrong_unit_would_be_seen():
    family, setting, value = "postgres15", FIFTEEN["shared_buffers"], "16GB"
    assert mismatch(family, setting.name, value) is None
    assert mismatch(family, setting.name, value, lambda text: str(int(text) * 8)) is not None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("shared_buffers", "16GB", "2097152"),
        ("work_mem", "64MB", "65536"),
        ("max_wal_size", "16GB", "16384"),
        ("checkpoint_timeout", "15min", "900"),
        ("log_rotation_age", "1d", "1440"),
        ("temp_file_limit", "10GB", "10485760"),
        ("auto_explain.log_min_duration", "2s", "2000"),
        ("autovacuum_vacuum_cost_delay", "0.5ms", "0.5"),
        ("autovacuum_work_mem", -1, "-1"),
        ("random_page_cost", 1.1, "1.1"),
        ("jit", False, "0"),
        ("wal_compression", True, "on"),
        ("synchronous_commit", False, "off"),
        ("pg_stat_statements.track", "all", "ALL"),
        ("default_transaction_isolation", "Repeatable Read", "repeatable read"),
        ("log_destination", ["stderr", "csvlog"], "stderr,csvlog"),
        ("search_path", '"$user", app', '"$user", app'),
        ("rds.log_retention_period", 4320, "4320"),
        ("shared_buffers", "{ DBInstanceClassMemory / 32768 }", "{DBInstanceClassMemory/32768}"),
    ],
)
def test_values_are_written_as_rds_wants_them(name, value, text):
    assert values.wanted(FIFTEEN[name], value) == text
    assert values.same(FIFTEEN[name], text, text)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("work_mem", 65536, "no unit"),
        ("work_mem", "10M", "write 'MB'"),
        ("work_mem", "32kB", "32 is outside what RDS allows in units of kB: 64-2147483647"),
        ("max_connections", "200MB", "plain number"),
        ("jit", "maybe", "not a boolean"),
        ("fsync", "on", "not let it be modified"),
        ("log_destination", "stderr,syslog", "'syslog' is not one of those"),
        ("log_statement", "everything", "'everything' is not one of those"),
        ("effective_cache_size", "{DBInstanceClassMemory*3/4}", "614400 % of the instance's memory"),
        ("max_connections", "{DBInstanceClassMemory/1}", "outside 6-262143 whatever the instance class"),
        ("random_page_cost", "{DBInstanceClassMemory/32768}", "for integers only"),
        ("search_path", "", "no empty value"),
        ("work_mem", None, "no empty value"),
    ],
)
def test_what_is_wrong_is_refused_by_name(name, value, reason):
    with pytest.raises(Failure, match=f"{name}: .*{reason}") as refused:
        plan.translate({name: value}, FIFTEEN)
    assert [each["name"] for each in refused.value.details["refused"]] == [name]


@pytest.mark.parametrize(
    ("kind", "one", "other", "equal"),
    [
        ("float", "1", "1.0", True),
        ("float", "1e2", "100", True),
        ("float", "1.1", "1.10001", False),
        ("integer", "0100", "100", True),
        ("integer", "{DBInstanceClassMemory/32768}", "{DBInstanceClassMemory / 32768}", True),
        ("integer", "{DBInstanceClassMemory/32768}", "262144", False),
        ("integer", None, "100", False),
        ("boolean", "1", "on", True),
        ("boolean", "0", "1", False),
        ("list", "a,b", "b, a", True),
        ("list", "a,b", "a", False),
        ("string", "top", "TOP", True),
    ],
)
def test_equal_values_are_equal(kind, one, other, equal):
    assert values.same(parameter(DataType=kind), one, other) is equal


def test_texts_without_a_choice_are_compared_exactly():
    text = parameter(DataType="string", AllowedValues="")
    assert values.same(text, "App", "App") and not values.same(text, "App", "app")


def test_the_method_makes_no_difference():
    for method in ("immediate", "pending-reboot"):
        known = {"work_mem": parameter(ParameterValue="65536", ApplyMethod=method)}
        assert plan.plan({"work_mem": "65536"}, known, purge=True) == []


def test_an_equal_value_is_left_alone_whoever_has_set_it():
    for source in ("system", "engine-default"):
        known = {"work_mem": parameter(ParameterValue="65536", Source=source)}
        assert plan.plan({"work_mem": "65536"}, known, purge=True) == []
        assert plan.plan({}, known, purge=True) == []


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_plan_comes_true_in_as_few_calls_as_there_can_be(data):
    names = sorted(name for name, each in FIFTEEN.items() if each.modifiable and each.kind == "boolean")
    before = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from("01")))
    wanted = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from("01")))
    purge = data.draw(st.booleans())

    def group(mine):
        own = {name: replace(FIFTEEN[name], value=value, source="user") for name, value in mine.items()}
        return {**FIFTEEN, **own}

    mine = dict(before)
    changes = plan.plan(wanted, group(before), purge)
    calls = plan.batches(changes)
    for method, made in calls:
        assert 0 < len(made) <= 20
        for change in made:
            entry = change.to_boto()
            assert entry["ApplyMethod"] == ("pending-reboot" if change.parameter.static else "immediate")
            if method == "ResetDBParameterGroup":
                assert "ParameterValue" not in entry
                mine.pop(change.parameter.name)
            else:
                mine[change.parameter.name] = entry["ParameterValue"]
    after = group(mine)
    assert all(values.same(after[name], after[name].value, value) for name, value in wanted.items())
    assert not purge or set(mine) <= set(wanted)
    assert purge or set(before) <= set(mine)
    assert plan.plan(wanted, after, purge) == []
    reset = sum(each.after is None for each in changes)
    assert len(calls) == -(-(len(changes) - reset) // 20) + -(-reset // 20)


def test_static_changes_come_before_dynamic_ones():
    changes = plan.plan({"work_mem": "65536", "wal_buffers": "8192", "jit": "0", "shared_buffers": "1"}, FIFTEEN, False)
    assert [each.parameter.name for each in changes] == ["shared_buffers", "wal_buffers", "jit", "work_mem"]


@pytest.mark.parametrize("family", PARAMETERS)
@pytest.mark.parametrize("memory", ["instance", "2GB", "64GB"])
@pytest.mark.parametrize("profile", ["web", "mixed", "analytics"])
def test_rds_takes_every_definition_that_a_host_takes(profile, memory, family):
    tuning = postgresql_tuning.FilterModule().filters()["postgresql_tuning"]
    tuned = tuning({"profile": profile, "memory": memory, "cores": 16})
    assert set(plan.translate(tuned, PARAMETERS[family])) == set(tuned)


def test_tags_of_aws_are_left_alone():
    current = {"aws:cloudformation:stack-name": "web", "a": "1", "b": "2"}
    assert plan.plan_tags(current, {"b": 3, "c": "4"}, True) == ({"b": "3", "c": "4"}, ["a"])
    assert plan.plan_tags(current, {"b": "2"}, False) == ({}, [])
    assert plan.plan_tags(current, None, True) == ({}, [])
