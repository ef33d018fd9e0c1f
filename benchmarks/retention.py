"""Does retention ever delete what must stay, in years in which everything fails that can?

    python -m benchmarks.retention [--years 5] [--seeds 20]

rds_backup runs once a day against an account in memory: snapshots and copies fail, days are skipped, the controller's
clock jumps, runs are killed before and after calls, permissions are missing for weeks, people hold, share, copy and add
snapshots, and the instance is made anew. Every deletion is judged by rules that are written here once more. Before each
run a dry run says what it will delete.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lab import settings

sys.path.append(str(settings.ROOT / ".ansible" / "collections"))  # where this checkout is a collection

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import CallLog
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure, Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import backup, snapshots
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.snapshots import HOLD_TAG, Snapshot

if TYPE_CHECKING:
    from benchmarks.support import Figure

HERE, THERE = "us-west-2", "us-east-1"
INSTANCE = "db"
DAYS = 30
KEY = f"arn:aws:kms:{THERE}:123456789012:key/1"
PARAMS = {
    "db_instance_identifier": INSTANCE,
    "stamp": "",
    "retention_days": DAYS,
    "copy": {"region": THERE, "kms_key_id": KEY, "retention_days": DAYS},
    "tags": {},
    "wait": True,
    "wait_timeout": 3 * 3600,
}


class Killed(BaseException):
    """The run ends here, as by kill -9."""


@dataclass
class Outcome:
    """What some years came to."""

    runs: int = 0
    complete: int = 0
    skipped: int = 0
    killed: int = 0
    failed_runs: int = 0
    failed_snapshots: int = 0
    failed_copies: int = 0
    held: int = 0
    shared: int = 0
    jumps: int = 0
    deleted: int = 0
    dry_runs: int = 0
    unlike_the_dry_run: int = 0
    most: int = 0
    broken: list = field(default_factory=list)
    uncovered: list = field(default_factory=list)


def broken(found: list, gone: list, days: int, needed: Collection = ()) -> list:
    """Invariants that deletions break, one after the other; the same rules as the module's, written independently."""
    left, told = list(found), []
    for one in gone:
        left.remove(one)
        told += [f"{one.identifier} of {one.created}: {why}" for why in _wrongs(one, left, days, needed)]
    return told


def _wrongs(one: Snapshot, left: list, days: int, needed: Collection) -> list:
    def ours(each: Snapshot) -> bool:
        tags = each.tags
        named = each.identifier == f"{INSTANCE}-backup-{tags.get('backup:stamp')}"
        return named and tags.get("backup:instance") == INSTANCE == each.instance and each.kind == "manual"

    held = one.tags.get("backup:hold")
    wrongs = {
        "not ours, final or automated": not ours(one),
        "held": held is not None and held.strip().lower() not in ("no", "false"),
        "shared": one.shared,
        "neither good nor failed": one.status not in ("available", "failed"),
        "the source of a copy": one.arn in needed,
    }
    if one.status == "available":
        good = [each for each in left if ours(each) and each.status == "available" and each.created]
        later = [each for each in good if each.created >= one.created]
        wrongs["the last good one"] = not any(each.resource_id == one.resource_id for each in later)
        far = [each for each in later if (each.created.date() - one.created.date()).days > days]
        wrongs[f"not older than {days} days"] = not far
    return [why for why, is_so in wrongs.items() if is_so]


class Cloud:
    """Snapshots of two regions, as AWS describes them, and what happens to them."""

    def __init__(self, seed: int, outcome: Outcome) -> None:
        self.random = random.Random(seed)
        self.outcome = outcome
        self.now = datetime(2026, 1, 1, 2, tzinfo=UTC)
        self.items: dict[str, dict[str, dict[str, Any]]] = {HERE: {}, THERE: {}}
        self.shared: set[str] = set()
        self.ready: dict[str, tuple[datetime, str]] = {}
        self.resource = 1
        self.denied = False
        self.deadly = False
        self.dry = False
        self.deletions: list[tuple[str, str]] = []

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is being made become good or fail."""
        self.now += timedelta(seconds=seconds)
        for arn, (at, status) in list(self.ready.items()):
            if at <= self.now:
                del self.ready[arn]
                region = arn.split(":")[3]
                item = self.items[region].get(arn.split(":", 6)[6])
                if item:
                    item["Status"] = status
                    kind = "failed_copies" if region == THERE else "failed_snapshots"
                    setattr(self.outcome, kind, getattr(self.outcome, kind) + (status == "failed"))

    def make(self, region: str, identifier: str, failing: float, minutes: float, **values: Any) -> dict[str, Any]:
        """Begin a snapshot or copy that fails with a probability."""
        arn = f"arn:aws:rds:{region}:123456789012:snapshot:{identifier}"
        item = {
            "DBSnapshotIdentifier": identifier,
            "DBSnapshotArn": arn,
            "DBInstanceIdentifier": INSTANCE,
            "DbiResourceId": f"db-{self.resource}",
            "SnapshotType": "manual",
            "Status": "creating",
            "SnapshotCreateTime": self.now,
            "OriginalSnapshotCreateTime": self.now,
            "Encrypted": True,
            "KmsKeyId": KEY,
            "AllocatedStorage": 20,
            "Engine": "postgres",
            "EngineVersion": "15.7",
            "TagList": [],
            **values,
        }
        fails = self.random.random() < failing
        self.ready[arn] = (self.now + timedelta(minutes=minutes), "failed" if fails else "available")
        self.items[region][identifier] = item
        return item

    def all(self, region: str) -> list[Snapshot]:
        """A region's snapshots, with what is shared."""
        found = [snapshots.from_boto(item) for item in self.items[region].values()]
        return [Snapshot(**{**vars(one), "shared": one.arn in self.shared}) for one in found]

    def sources(self) -> set[str]:
        """ARNs of what is being copied."""
        items = [item for region in self.items.values() for item in region.values()]
        return {item.get("SourceDBSnapshotIdentifier", "") for item in items if item["Status"] == "creating"} - {""}


class Client:
    """What rds_backup needs of a client, of one region."""

    def __init__(self, cloud: Cloud, region: str, log: CallLog) -> None:
        self.cloud, self.region, self.log = cloud, region, log
        self.retry = SimpleNamespace(clock=SimpleNamespace(time=lambda: cloud.now.timestamp()))

    def afresh(self) -> Client:
        """Itself: nothing is retried here."""
        return self

    def read(self, method: str, _resource: str, **params: Any) -> dict[str, Any]:
        """Answer a call that changes nothing."""
        cloud = self.cloud
        if method == "describe_db_instances":
            database = {"DBInstanceIdentifier": INSTANCE, "Engine": "postgres", "StorageEncrypted": True}
            return {"DBInstances": [database]}
        if method == "describe_key":
            return {"KeyMetadata": {"Arn": KEY, "Enabled": True}}
        if method == "describe_db_snapshots":
            return {"DBSnapshots": list(cloud.items[self.region].values())}
        arn = f"arn:aws:rds:{self.region}:123456789012:snapshot:{params['DBSnapshotIdentifier']}"
        values = ["210987654321"] if arn in cloud.shared else []
        attributes = [{"AttributeName": "restore", "AttributeValues": values}]
        return {"DBSnapshotAttributesResult": {"DBSnapshotAttributes": attributes}}

    def write(self, method: str, resource: str, **params: Any) -> dict[str, Any]:
        """Carry a call out, unless the run dies or is refused."""
        cloud = self.cloud
        if cloud.dry:
            cloud.outcome.broken.append(f"{method} in a dry run")
        if cloud.denied:
            raise AwsFailure("permission", "none", "", code="AccessDenied", transient=False, refused=True)
        deadly = cloud.deadly and cloud.random.random() < 0.5
        if deadly and cloud.random.random() < 0.5:
            raise Killed
        getattr(self, f"_{method}")(**params)
        self.log.calls.append({"action": method, "resource": resource})
        if deadly:
            raise Killed
        return {}

    def _create_db_snapshot(self, DBSnapshotIdentifier: str, Tags: list, **_other: Any) -> None:
        if DBSnapshotIdentifier in self.cloud.items[HERE]:
            raise AwsFailure("", "", "", code="DBSnapshotAlreadyExists", transient=False, refused=True)
        self.cloud.make(HERE, DBSnapshotIdentifier, 0.08, 5, TagList=Tags)

    def _copy_db_snapshot(self, **params: Any) -> None:
        source = params["SourceDBSnapshotIdentifier"].rsplit(":", 1)[1]
        item = self.cloud.items[HERE][source]
        kept = ("OriginalSnapshotCreateTime", "DbiResourceId", "EngineVersion")
        values = {key: item[key] for key in kept} | {"SourceDBSnapshotIdentifier": item["DBSnapshotArn"]}
        name = params["TargetDBSnapshotIdentifier"]
        self.cloud.make(THERE, name, 0.15, self.cloud.random.uniform(10, 90), TagList=params["Tags"], **values)

    def _delete_db_snapshot(self, DBSnapshotIdentifier: str) -> None:
        cloud = self.cloud
        found = cloud.all(self.region)
        one = next(each for each in found if each.identifier == DBSnapshotIdentifier)
        cloud.outcome.broken += broken(found, [one], DAYS, cloud.sources())
        cloud.outcome.deleted += 1
        cloud.deletions.append((self.region, DBSnapshotIdentifier))
        cloud.shared.discard(one.arn)
        del cloud.items[self.region][DBSnapshotIdentifier]


class Connect:
    """What rds_backup takes for a connector: clients of the account in memory, and its time."""

    def __init__(self, cloud: Cloud) -> None:
        self.log = CallLog()
        self._cloud = cloud
        began = cloud.now
        self.clock = SimpleNamespace(
            monotonic=lambda: (cloud.now - began).total_seconds(),
            # Polls are far apart, as nothing happens in between.
            sleep=lambda _seconds: cloud.advance(900),
        )

    def __call__(self, _service: str, _profile: Any, region: str = HERE) -> Client:
        return Client(self._cloud, region, self.log)


def simulate(seed: int, years: int = 5, stop: bool = False) -> Outcome:
    """Some years of an instance.

    stop: end with the first thing that is wrong.
    """
    outcome = Outcome()
    cloud = Cloud(seed, outcome)
    covered: dict[date, None] = {}
    begin = cloud.now
    denied_until = begin
    for day in range(365 * years):
        # The timer goes by the controller's clock, which jumps; AWS's does not.
        jump = cloud.random.uniform(-10, 10) if cloud.random.random() < 0.05 else 0.0
        outcome.jumps += bool(jump)
        at = begin + timedelta(days=day, hours=jump)
        cloud.advance(max(0.0, (at - cloud.now).total_seconds()))
        _people(cloud, outcome)
        if cloud.random.random() < 0.003:
            denied_until = cloud.now + timedelta(days=cloud.random.uniform(1, 60))
        cloud.denied = cloud.now < denied_until
        if cloud.random.random() < 0.04:
            outcome.skipped += 1
            continue
        for _attempt in range(cloud.random.choice((1, 1, 2))):
            if _run(cloud, outcome):
                covered[cloud.now.date()] = None
        outcome.most = max(outcome.most, *map(len, cloud.items.values()))
        outcome.uncovered += _uncovered(cloud, covered)
        if stop and (outcome.broken or outcome.uncovered):
            break
    return outcome


def _run(cloud: Cloud, outcome: Outcome) -> bool:
    """One dry run and one real one; tell whether the backup is complete."""
    outcome.runs += 1
    cloud.deadly = cloud.dry = False
    cloud.dry = True
    predicted = backup.run(Connect(cloud), PARAMS, True)["deleted"]
    cloud.dry = False
    cloud.deadly = cloud.random.random() < 0.08
    cloud.deletions = []
    failures = outcome.failed_snapshots + outcome.failed_copies
    complete = False
    today = cloud.now.date()
    try:
        complete = not backup.run(Connect(cloud), PARAMS, False)["pending"]
    except Failure:
        outcome.failed_runs += 1
    except Killed:
        outcome.killed += 1
    if complete and failures == outcome.failed_snapshots + outcome.failed_copies:
        outcome.dry_runs += 1
        said = [(one["region"], one["identifier"]) for one in predicted]
        outcome.unlike_the_dry_run += said != cloud.deletions
    outcome.complete += complete
    return complete and cloud.now.date() == today


def _uncovered(cloud: Cloud, covered: dict[date, None]) -> list:
    """Days of the last :data:`DAYS` whose backup succeeded and is not there any more."""
    missing = []
    for region, items in cloud.items.items():
        days = {one["OriginalSnapshotCreateTime"].date() for one in items.values() if one["Status"] == "available"}
        recent = [day for day in covered if 0 <= (cloud.now.date() - day).days <= DAYS]
        missing += [f"{day} in {region} on {cloud.now.date()}" for day in recent if day not in days]
    return missing


def _people(cloud: Cloud, outcome: Outcome) -> None:
    """What others do to the snapshots on a day."""

    def happens(probability: float) -> bool:
        return cloud.random.random() < probability

    good = [item for region in cloud.items.values() for item in region.values() if item["Status"] == "available"]
    stamp = cloud.now.strftime("%Y-%m-%d-%H")
    if good and happens(0.03):
        cloud.random.choice(good)["TagList"].append({"Key": HOLD_TAG, "Value": "audit"})
        outcome.held += 1
    if good and happens(0.02):
        item = cloud.random.choice(good)
        item["TagList"] = [tag for tag in item["TagList"] if tag["Key"] != HOLD_TAG]
    if good and happens(0.02):
        cloud.shared.add(cloud.random.choice(good)["DBSnapshotArn"])
        outcome.shared += 1
    if cloud.shared and happens(0.02):
        cloud.shared.discard(cloud.random.choice(sorted(cloud.shared)))
    if happens(0.02):
        cloud.make(HERE, f"mine-{stamp}", 0.1, 5)
    if good and happens(0.01):  # a final snapshot that inherited tags
        cloud.make(HERE, f"{INSTANCE}-final-{stamp}", 0, 5, TagList=list(cloud.random.choice(good)["TagList"]))
    if happens(0.01):  # one that never ends
        tags = {snapshots.INSTANCE_TAG: INSTANCE, snapshots.STAMP_TAG: f"stuck-{stamp}"}
        cloud.make(HERE, f"{INSTANCE}-backup-stuck-{stamp}", 0, 1e6, TagList=snapshots.tags_to_boto(tags))
    oldest = sorted((one for one in good if ":us-west-2:" in one["DBSnapshotArn"]), key=_created)
    if oldest and happens(0.05):  # somebody copies an old one, for days
        source = {"SourceDBSnapshotIdentifier": cloud.random.choice(oldest[:3])["DBSnapshotArn"]}
        cloud.make(THERE, f"theirs-{stamp}", 0, cloud.random.uniform(60, 20000), **source)
    if happens(0.003):
        cloud.resource += 1
    automated = [name for name, item in cloud.items[HERE].items() if item["SnapshotType"] == "automated"]
    for name in automated[:-7]:
        del cloud.items[HERE][name]
    cloud.make(HERE, f"rds:{INSTANCE}-{stamp}", 0, 5, SnapshotType="automated")


def _created(item: dict[str, Any]) -> datetime:
    return item["OriginalSnapshotCreateTime"]


def without(rule: str, protection: Callable) -> Callable:
    """The retention's protection with one rule taken out, to see that the simulation notices."""
    told = {
        "last": "the last good one",
        "held": "held by its tag",
        "shared": "shared with another account",
        "unmanaged": "not made by rds_backup",
        "copied": "being copied",
        "running": "creating",
    }[rule]

    def weaker(*arguments: Any) -> str | None:
        reason = protection(*arguments)
        return None if reason == told else reason

    return weaker


def figures(outcomes: list[Outcome], years: int) -> list[Figure]:
    """As a table."""
    from benchmarks.support import Figure

    def total(name: str) -> int:
        return sum(getattr(outcome, name) for outcome in outcomes)

    counts = ("runs", "complete", "skipped", "killed", "failed_runs", "failed_snapshots", "failed_copies", "held")
    return [
        Figure("simulated years", years * len(outcomes)),
        *(Figure(name.replace("_", " "), total(name)) for name in (*counts, "shared", "jumps", "deleted")),
        Figure("most snapshots in a region", max(outcome.most for outcome in outcomes)),
        Figure.equal("invariants broken", sum(len(outcome.broken) for outcome in outcomes), 0),
        Figure.equal("days uncovered", sum(len(outcome.uncovered) for outcome in outcomes), 0),
        Figure("dry runs compared", total("dry_runs")),
        Figure.equal("dry runs that said otherwise", total("unlike_the_dry_run"), 0),
    ]


def main() -> int:
    """Run the command line."""
    # The lab's own needs are not there where the simulation is run as a unit test.
    from benchmarks.support import say, show

    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, default=5, help="years of each life")
    parser.add_argument("--seeds", type=int, default=20, help="how many lives")
    options = parser.parse_args()
    outcomes = []
    for seed in range(options.seeds):
        outcomes.append(simulate(seed, options.years))
        say(f"life {seed + 1} of {options.seeds}: {outcomes[-1].deleted} deletions")
        for line in [*outcomes[-1].broken, *outcomes[-1].uncovered][:5]:
            say(line)
    return show("retention", figures(outcomes, options.years))


if __name__ == "__main__":
    sys.exit(main())
