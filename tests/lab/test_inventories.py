"""The production inventory finds its hosts by their tags; asked of the lab's AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from lab import settings

APP = {"application": "rag-admin", "environment": "production", "role": "app"}
MACHINES = {
    "blue": [APP | {"color": "blue"}] * 2,
    "green": [APP | {"color": "green"}],
    "monitoring": [APP | {"role": "monitoring"}],
    "another environment": [APP | {"environment": "staging", "color": "blue"}],
    "another application": [APP | {"application": "other", "color": "blue"}],
}


def read_inventory(endpoint: str) -> subprocess.CompletedProcess[str]:
    """Let ansible-inventory read the production inventory with this AWS."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "ansible-inventory"), "-i", "inventories/production", "--list"],
        cwd=settings.ROOT,
        env={**os.environ, **settings.environment(), "AWS_ENDPOINT_URL": endpoint},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def text(value: Any) -> str:
    """Take a text out of the mark that `--list` puts on what came from outside."""
    return value["__ansible_unsafe"] if isinstance(value, dict) else value


@pytest.fixture
def launch(lab_endpoint: str) -> Any:
    """Start instances with tags; they are gone after the test."""
    ec2 = boto3.client(
        "ec2", "us-west-2", endpoint_url=lab_endpoint, aws_access_key_id="lab", aws_secret_access_key="lab"
    )
    started = []

    def launch(tags: dict[str, str]) -> dict[str, Any]:
        specification = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}
        answer = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=[specification])
        started.append(answer["Instances"][0]["InstanceId"])
        return answer["Instances"][0]

    yield launch
    ec2.terminate_instances(InstanceIds=started)


def test_groups_and_addresses_come_from_tags(lab_endpoint: str, launch: Any) -> None:
    machines = {name: [launch(tags) for tags in wanted] for name, wanted in MACHINES.items()}
    done = read_inventory(lab_endpoint)
    assert done.returncode == 0, done.stderr
    assert "reserved name" not in done.stderr
    found = json.loads(done.stdout)
    for group, name in (("app_blue", "blue"), ("app_green", "green"), ("monitoring", "monitoring")):
        assert sorted(found[group]["hosts"]) == sorted(machine["InstanceId"] for machine in machines[name])
        for machine in machines[name]:
            variables = found["_meta"]["hostvars"][machine["InstanceId"]]
            assert text(variables["ansible_host"]) == machine["PrivateIpAddress"]
            assert text(variables["instance_id"]) == machine["InstanceId"]
            assert variables["ansible_become"] is True
    assert found["_meta"]["hostvars"][machines["green"][0]["InstanceId"]]["app_color"] == "green"
    assert len(found["_meta"]["hostvars"]) == 4


def test_an_instance_without_a_role_is_an_error(lab_endpoint: str, launch: Any) -> None:
    launch({"application": "rag-admin", "environment": "production"})
    done = read_inventory(lab_endpoint)
    assert done.returncode != 0
    assert "role" in done.stderr
