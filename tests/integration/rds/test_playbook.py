"""playbooks/database.yml on RDS: the definition that hosts take, in a parameter group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.account import REGION
from tests.lab.rds_account import Databases

CHECKOUT = Path(__file__).parents[3]
# What the inventory of production says, so that RDS is asked whether it takes it.
VALUES = yaml.safe_load((CHECKOUT / "inventories/production/group_vars/all/database.yml").read_text())
GROUP = VALUES["rds_parameter_group"]


@pytest.fixture
def play(aws: Any, tmp_path: Path) -> Any:
    """Run the playbook with values of the inventory; return its output and what changed."""
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"children": {"database": {}}, "vars": VALUES}}))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab-secret-access-key",
        "AWS_REGION": REGION,
    }

    def run(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/database.yml", "--tags=rds"]
        command += ["-i", str(tmp_path / "hosts.yml"), "-e", f"ansible_python_interpreter={sys.executable}"]
        done = subprocess.run(
            [*command, *arguments], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def set_by_users(aws: Any) -> dict[str, str]:
    pages = aws.rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=GROUP, Source="user")
    return {entry["ParameterName"]: entry["ParameterValue"] for page in pages for entry in page["Parameters"]}


def test_the_playbook_tunes_rds_shows_the_difference_and_names_who_waits(aws: Any, play: Any) -> None:
    predicted = play("--check", "--diff")
    assert aws.control.journal(service="rds", mutating=True) == []
    assert (
        "{DBInstanceClassMemory*3/32768}" in predicted and "shared_buffers" not in predicted
    )  # RDS has that by default
    assert "changed=1" in predicted
    assert "changed=1" in play()
    found = set_by_users(aws)
    assert found["effective_cache_size"] == "{DBInstanceClassMemory*3/32768}"
    assert found["log_min_duration_statement"] == "1000" and found["max_connections"] == "200"
    options = {"EngineVersion": "15.8", "DBInstanceClass": "db.m6g.4xlarge", "DBParameterGroupName": GROUP}
    Databases(aws.endpoint, aws.control).instance(wait=20, DBInstanceIdentifier=GROUP, **options)
    # Somebody's own change: it is shown, taken back, and the instance has to be restarted for it.
    aws.rds.modify_db_parameter_group(
        DBParameterGroupName=GROUP,
        Parameters=[
            {"ParameterName": "max_connections", "ParameterValue": "300", "ApplyMethod": "pending-reboot"},
            {"ParameterName": "work_mem", "ParameterValue": "4096", "ApplyMethod": "immediate"},
        ],
    )
    taken_back = play("--diff")
    assert "300" in taken_back and "4096" in taken_back and "checkpoint" not in taken_back
    assert f"{GROUP} waits for a restart" in taken_back and "max_connections" in taken_back
    again = play()
    assert "changed=0" in again and f"{GROUP} waits for a restart" in again
