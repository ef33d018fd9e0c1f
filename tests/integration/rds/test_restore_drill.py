"""Drills on instances that are real PostgreSQL clusters: proven, refused, caught, interrupted, always cleaned up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database import observe
from contract import tree

from lab.aws.control import Control
from tests.lab.account import REGION, until
from tests.lab.conftest import CHECKOUT, start_server
from tests.lab.rds_account import ELSEWHERE, PASSWORD, Databases

pytestmark = pytest.mark.lab
HOST = "drill-test"
TABLES = [{"name": "public.canary"}]


def lab(*arguments: str) -> str:
    command = [sys.executable, "-m", "lab", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """RDS whose instances are clusters on a host."""
    address = lab("rds", "up", "--name", HOST).split()[1]
    options = [f"--rds-host={address}", "--set=rds_seconds=0", "--set=rds_archive_seconds=0.5"]
    state = tmp_path_factory.mktemp("lab")
    server, endpoint = start_server(
        [sys.executable, "-m", "lab.aws", "--port=0", f"--state-dir={state}", "--data-plane=none", *options]
    )
    yield Databases(endpoint, Control(endpoint))
    server.terminate()
    server.wait(10)
    lab("host", "down", HOST)


def network(rds: Databases, region: str) -> tuple[str, list[str]]:
    """A VPC and its subnets."""
    ec2 = rds.client("ec2", region)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{region}{zone}")["Subnet"]
        for number, zone in enumerate("ab")
    ]
    return vpc, [subnet["SubnetId"] for subnet in subnets]


@pytest.fixture(scope="module")
def live(rds: Databases) -> SimpleNamespace:
    """An instance with rows, beats and a manifest, a snapshot of it, and a place for drills."""
    ec2 = rds.client("ec2")
    vpc, subnets = network(rds, REGION)
    own, drill = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("own", "drill")
    )
    rds.here.create_db_subnet_group(DBSubnetGroupName="drill", DBSubnetGroupDescription="drill", SubnetIds=subnets)
    rds.here.create_db_parameter_group(
        DBParameterGroupName="drill", DBParameterGroupFamily="postgres15", Description="drill"
    )
    about = rds.settled(rds.instance(wait=0, DBName="app", VpcSecurityGroupIds=[own]), seconds=60)
    made = SimpleNamespace(name=about["DBInstanceIdentifier"], endpoint=about["Endpoint"], own=own, drill=drill)
    with connected(made) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE canary AS SELECT n AS id, md5(n::text) AS value FROM generate_series(1, 20000) n")
        observe.install(connection, False)
        observe.one(connection, observe.BEAT)
        observe.record(connection, TABLES)
        observe.one(connection, observe.BEAT)
    made.snapshot = rds.snapshot(made.name, wait=0)
    rds.taken(made.snapshot, seconds=60)
    return made


class connected:
    """A connection to the live instance, closed at the end."""

    def __init__(self, live: SimpleNamespace) -> None:
        self._connection = psycopg2.connect(
            host=live.endpoint["Address"], port=live.endpoint["Port"], dbname="app", user="master", password=PASSWORD
        )
        self._connection.autocommit = True

    def __enter__(self) -> Any:
        return self._connection

    def __exit__(self, *_exception: Any) -> None:
        self._connection.close()


@pytest.fixture
def drill(rds: Databases, live: SimpleNamespace) -> Iterator[Any]:
    """`drill(check=…, **options)`: hold a drill with a fresh beat in the live database; nothing is left afterwards."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": rds.endpoint,
        "AWS_ACCESS_KEY_ID": "unit",
        "AWS_SECRET_ACCESS_KEY": "lab-secret-access-key",
        "AWS_REGION": REGION,
        "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
    }
    command = [sys.executable, "-m", "ansible_collections.techcorp.rag_admin.plugins.modules.rds_restore_drill"]
    given = {
        "db_instance_identifier": live.name,
        "vpc_security_group_ids": [live.drill],
        "db_subnet_group_name": "drill",
        "db_parameter_group_name": "drill",
        "login_user": "master",
        "login_password": PASSWORD,
        "login_db": "app",
        "ssl_mode": "require",
        "tables": TABLES,
    }

    def start(check: bool = False, **options: Any) -> subprocess.Popen:
        with connected(live) as connection:
            observe.one(connection, observe.BEAT)
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**given, **options, "_ansible_check_mode": check}}))
        process.stdin.close()
        return process

    def run(check: bool = False, **options: Any) -> dict[str, Any]:
        with start(check, **options) as process:
            out, err = process.stdout.read(), process.stderr.read()
        assert out.strip().startswith("{"), out + err
        assert PASSWORD not in out
        result = json.loads(out)
        undocumented = result.keys() - tree.documentation(tree.module("rds_restore_drill"))["RETURN"].keys()
        assert not undocumented - tree.COMMON_RETURN
        return result

    run.start = start
    rds.control.mark()
    yield run
    rds.control.clear_faults()
    for client in (rds.here, rds.there):
        names = [one["DBInstanceIdentifier"] for one in client.describe_db_instances()["DBInstances"]]
        assert [name for name in names if name != live.name] == []


def actions(result: dict[str, Any]) -> list[str]:
    return [call["action"] for call in result["calls"]]


def writes(rds: Databases) -> list[str]:
    return [call["action"] for call in rds.control.journal(service="rds", mutating=True) if call["applied"]]


def test_the_newest_snapshot_is_proven(rds, live, drill):
    dry = drill(check=True)
    assert writes(rds) == []
    real = drill()
    assert real.get("verdict") == "proven", real
    assert actions(dry) == actions(real) == ["RestoreDBInstanceFromDBSnapshot", "DeleteDBInstance"]
    assert real["source"].endswith(live.snapshot)
    assert real["rows"] > 20_000
    assert real["bytes"] > 1_000_000
    assert real["rto"] > 0
    assert 0 <= real["rpo"] < 600
    assert rds.gone(f"{live.name}-drill")


@pytest.mark.long
def test_the_latest_point_in_time_is_proven(rds, live, drill):
    with connected(live) as connection:
        observe.one(connection, observe.BEAT)
    beaten = time.time()
    until(lambda: rds.about(live.name)["LatestRestorableTime"].timestamp() > beaten + 1, 30)
    result = drill(restore_time="latest")
    assert result.get("verdict") == "proven", result
    assert actions(result) == ["RestoreDBInstanceToPointInTime", "DeleteDBInstance"]


@pytest.mark.long
def test_a_copy_is_proven_where_the_instance_is_not(rds, live, drill):
    vpc, subnets = network(rds, ELSEWHERE)
    group = rds.client("ec2", ELSEWHERE).create_security_group(GroupName="drill", Description="drill", VpcId=vpc)
    rds.there.create_db_subnet_group(DBSubnetGroupName="drill", DBSubnetGroupDescription="drill", SubnetIds=subnets)
    rds.there.create_db_parameter_group(
        DBParameterGroupName="drill", DBParameterGroupFamily="postgres15", Description="drill"
    )
    rds.taken(rds.copy(live.snapshot, wait=0), client=rds.there, seconds=60)
    options = {"region": ELSEWHERE, "vpc_security_group_ids": [group["GroupId"]]}
    assert "db_instance_class" in drill(**options)["msg"]
    result = drill(**options, db_instance_class="db.t3.micro")
    assert result.get("verdict") == "proven", result


# Caught.


def test_rows_that_are_missing_from_a_backup_are_caught(rds, live, drill):
    with connected(live) as connection:
        cursor = connection.cursor()
        cursor.execute("DELETE FROM canary WHERE id = 7")
        observe.one(connection, observe.BEAT)
        damaged = rds.snapshot(live.name, wait=0)
        rds.taken(damaged, seconds=60)
        cursor.execute("INSERT INTO canary VALUES (7, md5('7'))")
    result = drill(snapshot_identifier=damaged)
    rds.here.delete_db_snapshot(DBSnapshotIdentifier=damaged)
    assert (result["failed"], result["verdict"]) == (True, "failed")
    assert "tables" in {failure["check"] for failure in result["failures"]}


@pytest.mark.long
def test_a_broken_chain_of_beats_is_caught(rds, live, drill):
    with connected(live) as connection:
        cursor = connection.cursor()
        observe.one(connection, observe.BEAT)
        cursor.execute("UPDATE restore_proof.beats SET payload = payload || 'x' WHERE beat = 2")
        damaged = rds.snapshot(live.name, wait=0)
        rds.taken(damaged, seconds=60)
        cursor.execute("UPDATE restore_proof.beats SET payload = rtrim(payload, 'x') WHERE beat = 2")
    result = drill(snapshot_identifier=damaged)
    rds.here.delete_db_snapshot(DBSnapshotIdentifier=damaged)
    assert result["verdict"] == "failed"
    assert "canaries" in {failure["check"] for failure in result["failures"]}


def test_a_stale_backup_is_caught(rds, live, drill):
    result = drill(max_age="1s")
    assert result["verdict"] == "failed"
    assert "not older than 1 s" in result["msg"]
    assert writes(rds) == []


@pytest.mark.long
def test_a_wrong_password_is_told_and_nothing_is_left(rds, live, drill):
    result = drill(login_password="wrong-password", record=False, wait_timeout=60)
    assert "password authentication failed" in result["msg"]
    assert actions(result) == ["RestoreDBInstanceFromDBSnapshot", "DeleteDBInstance"]


@pytest.mark.long
def test_an_instance_that_does_not_come_up_in_time_is_deleted(rds, live, drill):
    rds.pace(3)
    result = drill(wait_timeout=1, record=False)
    rds.pace(0)
    assert "to be available within 1 s" in result["msg"]
    assert actions(result)[-1] == "DeleteDBInstance"


# Refused before anything changes.


BAD = [
    ({"drill_identifier": "LIVE"}, "another name than the instance's"),
    ({"vpc_security_group_ids": []}, "security groups of the drill's own"),
    ({"vpc_security_group_ids": ["OWN"]}, "security groups of the drill's own"),
    ({"vpc_security_group_ids": ["sg-0123456789abcdef0"]}, "sg-0123456789abcdef0 to exist"),
    ({"db_subnet_group_name": "none"}, "none to exist"),
    ({"db_parameter_group_name": "none"}, "none to exist"),
    ({"snapshot_identifier": "none"}, "the snapshot none of"),
    ({"restore_time": "yesterday"}, "a time with its zone"),
    ({"restore_time": "2999-01-01T00:00:00Z"}, "a time up to"),
    ({"ttl": "soon"}, "ttl"),
]


@pytest.mark.parametrize(
    ("options", "said"), [*BAD[:4], *(pytest.param(*each, marks=pytest.mark.long) for each in BAD[4:])]
)
def test_bad_input_is_refused_before_anything_changes(rds, live, drill, options, said):
    known = {"LIVE": live.name, "OWN": live.own}
    filled = {
        key: [known.get(each, each) for each in value] if isinstance(value, list) else known.get(value, value)
        for key, value in options.items()
    }
    result = drill(check=True, **filled)
    assert result["failed"]
    assert said in result["msg"]
    assert writes(rds) == []


@pytest.mark.long
def test_an_instance_of_that_name_is_left_alone_unless_a_drill_made_it(rds, live, drill):
    other = rds.instance()
    result = drill(drill_identifier=other)
    alone = not rds.gone(other)
    rds.here.delete_db_instance(DBInstanceIdentifier=other, SkipFinalSnapshot=True)
    until(lambda: rds.gone(other), 20)
    assert "without the tags drill:instance and drill:expires" in result["msg"]
    assert alone


@pytest.mark.parametrize("action", ["RestoreDBInstanceFromDBSnapshot", "DescribeDBSnapshots"])
def test_a_missing_permission_is_named(rds, drill, action):
    with rds.control.faulty("deny", service="rds", action=action):
        result = drill()
    assert f"the permission rds:{action}" in result["msg"]


# Interrupted.


def leftover(rds: Databases, live: SimpleNamespace, name: str, expires: str) -> None:
    """An instance as a drill of another name leaves it."""
    tags = [{"Key": "drill:instance", "Value": live.name}, {"Key": "drill:expires", "Value": expires}]
    rds.here.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier=name, DBSnapshotIdentifier=live.snapshot, Tags=tags, BackupRetentionPeriod=0
    )
    rds.settled(name, seconds=60)


@pytest.mark.long
def test_what_other_drills_left_is_swept_when_its_time_is_over(rds, live, drill):
    leftover(rds, live, "over", "2026-01-01T00:00:00Z")
    leftover(rds, live, "running", "2999-01-01T00:00:00Z")
    result = drill()
    stays = not rds.gone("running")
    rds.here.delete_db_instance(DBInstanceIdentifier="running", SkipFinalSnapshot=True)
    until(lambda: rds.gone("running"), 20)
    assert (result["verdict"], result["swept"], stays) == ("proven", ["over"], True)


@pytest.mark.parametrize(
    "action", ["RestoreDBInstanceFromDBSnapshot", pytest.param("DeleteDBInstance", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("kind", [pytest.param("lost_call", marks=pytest.mark.long), "slow_answer"])
def test_a_killed_drill_is_cleaned_up_by_the_next(rds, live, drill, action, kind):
    number = rds.control.fault(kind, seconds=60, count=1, service="rds", action=action)
    with drill.start() as process:
        until(lambda: next(one for one in rds.control.faults() if one["id"] == number)["befallen"], 60)
        time.sleep(0.3)
        process.kill()
    rds.control.clear_faults()
    result = drill()
    assert result.get("verdict") == "proven", result


@pytest.mark.long
def test_a_drill_that_is_ended_cleans_up_itself(rds, live, drill):
    rds.pace(3)
    with drill.start() as process:
        until(lambda: not rds.gone(f"{live.name}-drill"), 30)
        process.terminate()
    rds.pace(0)
    assert rds.gone(f"{live.name}-drill")
