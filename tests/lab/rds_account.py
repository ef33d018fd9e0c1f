"""What tests of the lab's RDS share: instances, snapshots and keys in an account."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from tests.lab.account import REGION, SESSION, until

NUMBERS = itertools.count(1)
ELSEWHERE = "us-east-1"
PASSWORD = "correct-horse-battery"


class Databases:
    """RDS of one server, in two regions."""

    def __init__(self, endpoint: str, control: Any) -> None:
        self.endpoint = endpoint
        self.control = control

    @functools.cached_property
    def here(self) -> Any:
        """RDS of the region that everything is in."""
        return self.client("rds")

    @functools.cached_property
    def there(self) -> Any:
        """RDS of the region that copies go to."""
        return self.client("rds", ELSEWHERE)

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a client of a region; it does not retry."""
        options = Config(retries={"total_max_attempts": 1})
        return SESSION.client(service, region_name=region, endpoint_url=self.endpoint, config=options)

    def pace(self, seconds: float) -> None:
        """Have each step take so long; nothing on stock moto, where nothing takes time."""
        with contextlib.suppress(ValueError):
            self.control.settings(rds_seconds=seconds)

    @contextlib.contextmanager
    def archiving(self, seconds: float) -> Iterator[None]:
        """Have the log archived so often while the block runs."""
        with contextlib.suppress(ValueError):
            self.control.settings(rds_archive_seconds=seconds)
        yield
        with contextlib.suppress(ValueError):
            self.control.settings(rds_archive_seconds=5)

    def key(self, region: str) -> str:
        """Return the ARN of a new key."""
        return self.client("kms", region).create_key()["KeyMetadata"]["Arn"]

    def instance(self, wait: float = 5, **options: Any) -> str:
        """Return the name of an instance that is available, if it is to be waited for, within so many seconds."""
        defaults = {
            "DBInstanceIdentifier": f"db-{next(NUMBERS)}",
            "DBInstanceClass": "db.t3.micro",
            "Engine": "postgres",
            "AllocatedStorage": 20,
            "MasterUsername": "master",
            "MasterUserPassword": PASSWORD,
        }
        name = self.here.create_db_instance(**defaults | options)["DBInstance"]["DBInstanceIdentifier"]
        if wait:
            self.settled(name, seconds=wait)
        return name

    def settled(self, name: str, status: str = "available", seconds: float = 5) -> dict[str, Any]:
        """Wait until an instance has a status and return its description."""
        return until(lambda: (found := self.about(name))["DBInstanceStatus"] == status and found, seconds)

    def about(self, name: str) -> dict[str, Any]:
        """Return an instance's description."""
        return self.here.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]

    def gone(self, name: str) -> bool:
        """Tell whether an instance is not there."""
        try:
            self.about(name)
        except ClientError as error:
            assert "DBInstanceNotFound" in str(error)
            return True
        return False

    def snapshot(self, instance: str, wait: bool = True, **options: Any) -> str:
        """Return the name of a snapshot, available unless not waited for."""
        name = f"snapshot-{next(NUMBERS)}"
        self.here.create_db_snapshot(DBInstanceIdentifier=instance, DBSnapshotIdentifier=name, **options)
        if wait:
            self.taken(name)
        return name

    def taken(self, name: str, status: str = "available", client: Any = None, seconds: float = 5) -> dict[str, Any]:
        """Wait until a snapshot has a status and return its description."""
        return until(lambda: (found := self.snapshot_about(name, client))["Status"] == status and found, seconds)

    def snapshot_about(self, name: str, client: Any = None) -> dict[str, Any]:
        """Return a snapshot's description."""
        return (client or self.here).describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0]

    def copy(self, source: str, wait: bool = True, **options: Any) -> str:
        """Return the name of a copy in the other region."""
        name = f"copy-{next(NUMBERS)}"
        arn = self.snapshot_about(source)["DBSnapshotArn"]
        self.there.copy_db_snapshot(
            SourceDBSnapshotIdentifier=arn, TargetDBSnapshotIdentifier=name, SourceRegion=REGION, **options
        )
        if wait:
            self.taken(name, client=self.there)
        return name

    def clear(self) -> None:
        """Delete all there is, in both regions."""
        for client in (self.here, self.there):
            for instance in client.describe_db_instances()["DBInstances"]:
                name = instance["DBInstanceIdentifier"]
                if instance["DeletionProtection"]:
                    client.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False)
                if instance["DBInstanceStatus"] != "deleting":
                    client.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
            # All pages before the first deletion, which would shift them.
            for snapshot in list(client.get_paginator("describe_db_snapshots").paginate().search("DBSnapshots[]")):
                if snapshot["SnapshotType"] == "manual":
                    client.delete_db_snapshot(DBSnapshotIdentifier=snapshot["DBSnapshotIdentifier"])
