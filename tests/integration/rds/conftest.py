"""An instance with a key in another region, and modules that are killed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.account import REGION, Account, until
from tests.lab.rds_account import ELSEWHERE, Databases

NUMBERS = itertools.count(1)
STAMPED = itertools.count(1)
DAY = 86400


class Place:
    """One instance, what rds_backup is told of it, and what there is of it in both regions."""

    def __init__(self, databases: Databases, key: str, name: str) -> None:
        self.databases, self.control = databases, databases.control
        self.here, self.there = databases.here, databases.there
        self.key, self.name = key, name

    def options(self, **more: Any) -> dict[str, Any]:
        """The module's options."""
        return {"db_instance_identifier": self.name, "copy": {"region": ELSEWHERE, "kms_key_id": self.key}, **more}

    def snapshots(self, client: Any = None) -> dict[str, dict[str, Any]]:
        """Manual snapshots by name."""
        found = (client or self.here).describe_db_snapshots(DBInstanceIdentifier=self.name, SnapshotType="manual")
        return {each["DBSnapshotIdentifier"]: each for each in found["DBSnapshots"]}

    def copies(self) -> dict[str, dict[str, Any]]:
        """Copies by name."""
        return self.snapshots(self.there)

    def old(self, days: int, **tags: str) -> str:
        """The name of a backup with its copy that is so many days old; tags of both."""
        stamp = f"old-{next(STAMPED)}"
        ours = {
            "backup:instance": self.name,
            "backup:stamp": stamp,
            **{k.replace("_", ":"): v for k, v in tags.items()},
        }
        listed = [{"Key": key, "Value": value} for key, value in ours.items()]
        name = f"{self.name}-backup-{stamp}"
        self.databases.settled(self.name)
        self.here.create_db_snapshot(DBInstanceIdentifier=self.name, DBSnapshotIdentifier=name, Tags=listed)
        arn = self.databases.taken(name)["DBSnapshotArn"]
        self.control.arrange_snapshot(arn, age=days * DAY)
        self.there.copy_db_snapshot(
            SourceDBSnapshotIdentifier=arn,
            TargetDBSnapshotIdentifier=name,
            SourceRegion=REGION,
            KmsKeyId=self.key,
            Tags=listed,
        )
        self.databases.taken(name, client=self.there)
        return name

    def writes(self) -> list[tuple[str, str]]:
        """Mutating calls since the mark that were carried out; the journal tells the instance of a new snapshot."""
        calls = [call for call in self.control.journal(service="rds", mutating=True) if call["applied"]]
        return [
            (call["action"], call["resource"] + ("-backup" if call["action"] == "CreateDBSnapshot" else ""))
            for call in calls
            if call["status"] < 400
        ]


@pytest.fixture
def databases(aws: Account) -> Iterator[Databases]:
    """RDS in two regions, where nothing takes longer than it must."""
    found = Databases(aws.endpoint, aws.control)
    found.pace(0)
    yield found
    aws.control.clear_faults()
    found.pace(0)
    found.clear()


@pytest.fixture
def place(databases: Databases) -> Place:
    """An encrypted instance."""
    name = databases.instance(
        StorageEncrypted=True, KmsKeyId=databases.key(REGION), Tags=[{"Key": "team", "Value": "web"}]
    )
    made = Place(databases, databases.key(ELSEWHERE), name)
    databases.control.mark()
    return made


@pytest.fixture
def kill_module(aws: Account) -> Callable[..., None]:
    """`kill_module(name, fault, options)`: run a module and kill it when the fault befalls a call of it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "unit",
        "AWS_SECRET_ACCESS_KEY": "lab-secret-access-key",
        "AWS_REGION": REGION,
        "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
    }

    def kill(name: str, fault: dict[str, Any], options: dict[str, Any]) -> None:
        number = aws.control.fault(seconds=60, count=1, service="rds", **fault)
        command = [sys.executable, "-m", f"ansible_collections.techcorp.rag_admin.plugins.modules.{name}"]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode())
            process.stdin.close()
            until(lambda: next(f for f in aws.control.faults() if f["id"] == number)["befallen"], 20)
            time.sleep(0.3)  # for the call to be carried out, where it is
            process.kill()
        aws.control.clear_faults(number)

    return kill
