"""Parameter groups of RDS for PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from lab.aws import catalogue
from lab.aws.overlay import rds_parameters
from tests.lab.account import until
from tests.lab.rds_account import Databases

NUMBERS = itertools.count(1)


def make_group(aws: Any, family: str = "postgres15") -> str:
    """Return the name of a new group."""
    name = f"group-{next(NUMBERS)}"
    aws.rds.create_db_parameter_group(DBParameterGroupName=name, DBParameterGroupFamily=family, Description="A group")
    return name


def make_instance(aws: Any, group: str) -> str:
    """Return the name of a new instance that uses a group."""
    options = {"EngineVersion": "15.8", "DBInstanceClass": "db.m6g.large", "DBParameterGroupName": group}
    return Databases(aws.endpoint, aws.control).instance(wait=20, **options)


def available(aws: Any, instance: str) -> bool:
    """Whether an instance does nothing that has to be waited for."""
    [found] = aws.rds.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"]
    return found["DBInstanceStatus"] == "available"


def change(name: str, value: str | None, method: str = "pending-reboot") -> dict[str, str]:
    """Return a parameter as ModifyDBParameterGroup takes it, or for None as ResetDBParameterGroup does."""
    return {"ParameterName": name, "ApplyMethod": method} | ({} if value is None else {"ParameterValue": value})


def modify(aws: Any, group: str, *changes: dict[str, str]) -> None:
    aws.rds.modify_db_parameter_group(DBParameterGroupName=group, Parameters=list(changes))


def described(aws: Any, group: str, **options: Any) -> dict[str, Any]:
    """Return all parameters of a group by name."""
    pages = aws.rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group, **options)
    return {entry["ParameterName"]: entry for answer in pages for entry in answer["Parameters"]}


def status(aws: Any, instance: str) -> str:
    [group] = aws.rds.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"][0]["DBParameterGroups"]
    return group["ParameterApplyStatus"]


@pytest.mark.parametrize("family", catalogue.FAMILIES)
def test_a_new_group_has_the_whole_catalogue(aws: Any, family: str) -> None:
    parameters = described(aws, make_group(aws, family))
    assert len(parameters) > 250
    assert parameters["shared_buffers"] == {
        "ParameterName": "shared_buffers",
        "ParameterValue": "{DBInstanceClassMemory/32768}",
        "Description": "(8kB) Sets the number of shared memory buffers used by the server.",
        "Source": "system",
        "ApplyType": "static",
        "DataType": "integer",
        "AllowedValues": "16-1073741823",
        "IsModifiable": True,
        "ApplyMethod": "pending-reboot",
    }
    # Nobody has set it, so there is no value; and it is dynamic whatever the method says.
    assert "ParameterValue" not in parameters["work_mem"]
    assert (parameters["work_mem"]["ApplyType"], parameters["work_mem"]["ApplyMethod"]) == ("dynamic", "pending-reboot")
    assert not parameters["logging_collector"]["IsModifiable"]
    assert "jsonlog" not in parameters["log_destination"]["AllowedValues"]


def test_the_catalogues_of_two_families_differ(aws: Any) -> None:
    fifteen, seventeen = (described(aws, make_group(aws, family)) for family in catalogue.FAMILIES)
    assert "old_snapshot_threshold" in fifteen and "old_snapshot_threshold" not in seventeen
    assert "transaction_timeout" in seventeen and "transaction_timeout" not in fifteen


def test_parameters_come_in_pages_of_at_most_100(aws: Any) -> None:
    group = make_group(aws)
    first = aws.rds.describe_db_parameters(DBParameterGroupName=group)
    assert len(first["Parameters"]) == 100 and first["Marker"]
    second = aws.rds.describe_db_parameters(DBParameterGroupName=group, Marker=first["Marker"], MaxRecords=20)
    assert len(second["Parameters"]) == 20
    for options in ({"MaxRecords": 101}, {"MaxRecords": 19}, {"Marker": "nowhere"}):
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            aws.rds.describe_db_parameters(DBParameterGroupName=group, **options)


def test_defaults_of_a_family_come_in_pages(aws: Any) -> None:
    try:
        answer = aws.rds.describe_engine_default_parameters(DBParameterGroupFamily="postgres17")["EngineDefaults"]
    except (ClientError, ResponseParserError) as error:
        pytest.fail(str(error))
    assert answer["DBParameterGroupFamily"] == "postgres17" and len(answer["Parameters"]) == 100 and answer["Marker"]


def test_parameters_are_told_by_source(aws: Any) -> None:
    group = make_group(aws)
    modify(aws, group, change("work_mem", "8192", "immediate"))
    mine = described(aws, group, Source="user")
    assert {name: entry["ParameterValue"] for name, entry in mine.items()} == {"work_mem": "8192"}
    assert "work_mem" not in described(aws, group, Source="engine-default")
    assert described(aws, group, Source="system")["shared_buffers"]["Source"] == "system"


def test_a_group_of_an_unknown_family_is_refused(aws: Any) -> None:
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        make_group(aws, "postgres99")


def test_a_group_with_a_bad_name_is_refused(aws: Any) -> None:
    for name in ("1group", "a--b", "a-", "a_b"):
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            aws.rds.create_db_parameter_group(
                DBParameterGroupName=name, DBParameterGroupFamily="postgres15", Description="A group"
            )


def test_an_unknown_group_is_not_found(aws: Any) -> None:
    with pytest.raises(ClientError, match="DBParameterGroupNotFound"):
        aws.rds.describe_db_parameter_groups(DBParameterGroupName="nobody")


def test_an_instance_of_another_version_cannot_use_a_group(aws: Any) -> None:
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        make_instance(aws, make_group(aws, "postgres17"))


def test_at_most_20_parameters_are_changed_in_a_call(aws: Any) -> None:
    group = make_group(aws)
    names = [name for name in catalogue.parameters("postgres15") if name.startswith("enable_")] + ["jit", "geqo"]
    assert len(names) > 20
    for call, value in ((aws.rds.modify_db_parameter_group, "0"), (aws.rds.reset_db_parameter_group, None)):
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            call(DBParameterGroupName=group, Parameters=[change(name, value) for name in names[:21]])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (change("shared_bufers", "16384"), "InvalidParameterValue"),
        (change("logging_collector", "0"), "InvalidParameterValue"),
        (change("shared_buffers", "16384", "immediate"), "InvalidParameterCombination"),
        (change("shared_buffers", "4GB"), "InvalidParameterValue"),
        (change("shared_buffers", "8"), "InvalidParameterValue"),
        (change("shared_buffers", "{Memory/4}"), "InvalidParameterValue"),
        (change("random_page_cost", "cheap"), "InvalidParameterValue"),
        (change("jit", "on"), "InvalidParameterValue"),
        (change("log_destination", "stderr,jsonlog"), "InvalidParameterValue"),
        (change("log_filename", "postgresql-%a.log"), "InvalidParameterValue"),
        (change("pg_stat_statements.track", "all"), "InvalidParameterValue"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_of_the_call_is_done(aws: Any, wrong: dict[str, str], code: str) -> None:
    group = make_group(aws)
    with pytest.raises(ClientError, match=code):
        modify(aws, group, change("work_mem", "8192"), wrong)
    assert described(aws, group, Source="user") == {}


@pytest.mark.lab_only
def test_what_is_right_is_taken(aws: Any) -> None:
    group = make_group(aws)
    modify(
        aws,
        group,
        change("shared_buffers", "{DBInstanceClassMemory/32768}"),
        change("max_connections", "LEAST({DBInstanceClassMemory/9531392},5000)"),
        change("maintenance_work_mem", "GREATEST({DBInstanceClassMemory*1024/63963136},65536)"),
        change("autovacuum_vacuum_cost_limit", "GREATEST({log(DBInstanceClassMemory/21474836480)*600},200)"),
        change("effective_cache_size", "SUM({DBInstanceClassMemory/12038},-50003)"),
        change("max_worker_processes", "GREATEST(${DBInstanceVCPU*2},8)"),
        change("random_page_cost", "1.1", "immediate"),
        change("log_destination", "stderr,csvlog", "immediate"),
        change("work_mem", "64", "immediate"),
        change("autovacuum_work_mem", "-1", "immediate"),
        change("default_transaction_isolation", "repeatable read", "immediate"),
    )
    assert len(described(aws, group, Source="user")) == 11


def test_a_reset_parameter_has_its_default_again(aws: Any) -> None:
    group = make_group(aws)
    modify(aws, group, change("work_mem", "8192"), change("shared_buffers", "16384"), change("jit", "0"))
    try:
        aws.rds.reset_db_parameter_group(DBParameterGroupName=group, Parameters=[change("shared_buffers", None)])
        assert set(described(aws, group, Source="user")) == {"work_mem", "jit"}
        assert described(aws, group)["shared_buffers"]["ParameterValue"] == "{DBInstanceClassMemory/32768}"
        aws.rds.reset_db_parameter_group(DBParameterGroupName=group, ResetAllParameters=True)
    except (ClientError, ResponseParserError) as error:
        pytest.fail(str(error))
    assert described(aws, group, Source="user") == {}
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        aws.rds.reset_db_parameter_group(DBParameterGroupName=group, Parameters=[change("shared_bufers", None)])


def test_another_apply_method_alone_is_not_kept(aws: Any) -> None:
    group = make_group(aws)
    modify(aws, group, change("work_mem", "8192", "immediate"))
    modify(aws, group, change("work_mem", "8192", "pending-reboot"))
    assert described(aws, group, Source="user")["work_mem"]["ApplyMethod"] == "immediate"


def test_a_default_group_is_there_and_cannot_be_changed(aws: Any) -> None:
    try:
        [group] = aws.rds.describe_db_parameter_groups(DBParameterGroupName="default.postgres15")["DBParameterGroups"]
    except ClientError as error:
        pytest.fail(str(error))
    except ValueError:
        pytest.fail("no such group")
    assert group["DBParameterGroupFamily"] == "postgres15"
    for call, options in (
        (aws.rds.modify_db_parameter_group, {"Parameters": [change("work_mem", "8192")]}),
        (aws.rds.delete_db_parameter_group, {}),
    ):
        with pytest.raises(ClientError, match="InvalidDBParameterGroupState"):
            call(DBParameterGroupName="default.postgres15", **options)


def test_a_group_in_use_is_not_deleted(aws: Any) -> None:
    group = make_group(aws)
    make_instance(aws, group)
    try:
        with pytest.raises(ClientError, match="InvalidDBParameterGroupState"):
            aws.rds.delete_db_parameter_group(DBParameterGroupName=group)
    finally:
        # Stock moto deletes it, and from then on cannot tell of any instance.
        with contextlib.suppress(ClientError):
            aws.rds.create_db_parameter_group(
                DBParameterGroupName=group, DBParameterGroupFamily="postgres15", Description="A group"
            )


def test_an_instance_waits_for_a_reboot_after_a_static_change(aws: Any) -> None:
    group = make_group(aws)
    instance, other = make_instance(aws, group), make_instance(aws, group)
    modify(aws, group, change("work_mem", "8192", "immediate"))
    assert status(aws, instance) == "in-sync"
    modify(aws, group, change("shared_buffers", "16384"))
    aws.rds.reboot_db_instance(DBInstanceIdentifier=instance)
    until(lambda: available(aws, instance), 20)
    assert (status(aws, instance), status(aws, other)) == ("in-sync", "pending-reboot")


def test_an_instance_waits_for_a_reboot_after_it_was_given_another_group(aws: Any) -> None:
    instance = make_instance(aws, make_group(aws))
    aws.rds.modify_db_instance(DBInstanceIdentifier=instance, DBParameterGroupName=make_group(aws))
    until(lambda: available(aws, instance), 20)
    assert status(aws, instance) == "pending-reboot"
    aws.rds.reboot_db_instance(DBInstanceIdentifier=instance)
    until(lambda: available(aws, instance), 20)
    assert status(aws, instance) == "in-sync"


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("{DBInstanceClassMemory/32768}", 262144),
        ("{DBInstanceClassMemory*3/32768}", 786432),
        ("LEAST({DBInstanceClassMemory/9531392},5000)", 901),
        ("GREATEST({DBInstanceClassMemory*1024/63963136},65536)", 137518),
        ("GREATEST({DBInstanceClassMemory/63963136*1024},65536)", 137216),
        ("GREATEST({log(DBInstanceClassMemory/2147483648)*600},200)", 1200),
        ("SUM({DBInstanceClassMemory/12038},-50003)", 663565),
        ("GREATEST(${DBInstanceVCPU*2},3)", 4),
    ],
)
def test_formulas_are_worked_out_step_by_step(formula: str, value: int) -> None:
    assert rds_parameters.evaluate(formula, {"DBInstanceClassMemory": 8 << 30, "DBInstanceVCPU": 2}) == value


@pytest.mark.parametrize("formula", ["{Memory/4}", "{DBInstanceClassMemory/0}", "{}", "MEDIAN({AllocatedStorage},1)"])
def test_what_is_no_formula_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match=r"formula|variable"):
        rds_parameters.evaluate(formula, {"DBInstanceClassMemory": 8 << 30})
