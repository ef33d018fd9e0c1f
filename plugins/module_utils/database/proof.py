# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges whether a restored copy of a database is what was asked for. Pure: what was seen comes in as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

# What a beat may be late beside the interval: the writer's start, a checkpoint, a busy machine (seconds).
SLACK = 10.0

# Options of the modules that hold a copy against something, see plugins/doc_fragments/restore_proof.py.
OPTIONS = {
    "tables": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "key": {"type": "str", "no_log": False}},
    },
    "interval": {"type": "float", "default": 15},
    "alembic_head": {"type": "str"},
}


@dataclass(frozen=True)
class Wanted:
    """What the copy has to show.

    :ivar live: what :func:`observe.record` returned of the live database before the restore, None when it is gone.
    :ivar started: when the restore began (seconds since the epoch), None when the age of the data does not matter.
    :ivar target: the point in time that was asked for (seconds since the epoch), None for the latest.
    :ivar rpo: how old the newest data may be that a restore to the latest brings back (seconds).
    :ivar interval: seconds between two beats.
    :ivar alembic_head: revision that must be found; None takes the live database's word.
    """

    live: dict | None = None
    started: float | None = None
    target: float | None = None
    rpo: float = 300.0
    interval: float = 15.0
    alembic_head: str | None = None


def failure(check: str, expected: str, found: str, todo: str) -> dict:
    """One thing that a copy did not show."""
    return {"check": check, "expected": expected, "found": found, "todo": todo}


def judge(wanted: Wanted, seen: dict, damages: list | None = None) -> dict:
    """The verdict on a copy.

    :param seen: what :func:`observe.observe` returned of the copy.
    :param damages: what amcheck found, a list of sentences; None when it was not run, which proves nothing.
    :returns: ``verdict`` (proven or failed), ``failures``, ``reached`` (seconds since the epoch), ``rpo`` (seconds, of
        a restore to the latest), ``rows`` that checksums were taken of, and ``bytes``.
    """
    failures = [
        *_identity(wanted, seen),
        *_recovery(wanted, seen),
        *_heartbeat(wanted, seen),
        *_canaries(wanted, seen),
        *_tables(wanted, seen),
        *_schema(wanted, seen),
        *_damages(damages),
    ]
    newest = seen["beats"]["newest"]
    reached = newest["written_at"] if newest else None
    known = reached is not None and wanted.started is not None and wanted.target is None
    return {
        "verdict": "failed" if failures else "proven",
        "failures": failures,
        "reached": reached,
        "rpo": max(0.0, wanted.started - reached) if known else None,
        "rows": seen["beats"]["count"] + sum(table["rows"] or 0 for table in seen["tables"]),
        "bytes": seen["bytes"],
    }


def summary(verdict: dict) -> str:
    """The verdict in one line for a log or an error message."""
    if verdict["verdict"] == "proven":
        return f"proven: data up to {moment(verdict['reached'])}, {verdict['rows']} rows, {verdict['bytes']} bytes"
    told = "; ".join(
        f"{each['check']}: expected {each['expected']}, found {each['found']}. {each['todo']}"
        for each in verdict["failures"]
    )
    return f"failed: {told}"


def moment(epoch: float | None) -> str:
    """A time for people and for PostgreSQL: UTC with seconds."""
    if epoch is None:
        return "never"
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00")


def lsn(text: str) -> int:
    """A position in the WAL as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_start(name: str, segment_bytes: int) -> str | None:
    """Where a WAL segment begins, from its file name; None for history and partial files."""
    if len(name.split(".")[0]) != 24 or name.endswith(".partial"):
        return None
    position = (int(name[8:16], 16) << 32) + int(name[16:24], 16) * segment_bytes
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _identity(wanted: Wanted, seen: dict):
    """The copy is one of this cluster."""
    live = wanted.live
    if live and seen["system_identifier"] != live["system_identifier"]:
        yield failure(
            "cluster",
            f"a copy of the cluster {live['system_identifier']}",
            f"one of {seen['system_identifier']}",
            "The repository or stanza is another cluster's: correct which one is restored from.",
        )
    for name in sorted(set(live["databases"] if live else ()) - set(seen["databases"])):
        yield failure(
            "databases",
            f"the database {name}",
            f"only {', '.join(seen['databases'])}",
            "See whether the backup leaves databases out, or was taken before this one was made.",
        )


def _recovery(wanted: Wanted, seen: dict):
    """Recovery ended where it should, and not before."""
    if seen["in_recovery"]:
        yield failure(
            "recovery", "a copy that has ended its recovery", "it still recovers", "Wait, and prove it again."
        )
        return
    live, end = wanted.live, seen["recovery"]
    if wanted.target is not None and end["reason"] and "no recovery target" in end["reason"]:
        yield failure(
            "recovery",
            f"recovery to end at {moment(wanted.target)}",
            f"it ran to the end of what it found, without a target, at {end['lsn']}",
            "Hand the point in time to the restore.",
        )
    if live is None or wanted.target is not None:
        return
    if end["timeline"] is not None and end["timeline"] != live["timeline"]:
        yield failure(
            "timeline",
            f"data of timeline {live['timeline']}, the live cluster's",
            f"of timeline {end['timeline']}",
            "Restore with the latest timeline; if it is not in the archive, its history file was not archived.",
        )
    if end["replayed"] and live["archived"] and lsn(end["replayed"]) < lsn(live["archived"]):
        yield failure(
            "archive",
            f"all WAL up to {live['archived']}, as the live cluster says that {live['archived_wal']} is archived",
            f"recovery ended at {end['replayed']}",
            "WAL is missing from the archive or cannot be read there. Take a full backup now, then find out what "
            "removed it or reported it as archived.",
        )


def _heartbeat(wanted: Wanted, seen: dict):
    """The newest beat tells which point in time was reached."""
    newest = seen["beats"]["newest"]
    if newest is None:
        yield failure(
            "heartbeat",
            "beats in restore_proof.beats",
            "none",
            "Have the heartbeat written, take a backup, and restore that: older ones cannot be proven.",
        )
        return
    allowed = wanted.interval * 2 + SLACK
    live = wanted.live
    reached = newest["written_at"]
    if live and live["recorded_at"] - live["beaten_at"] > allowed:
        yield failure(
            "heartbeat",
            f"a beat of the live database every {wanted.interval:g} s",
            f"its last one at {moment(live['beaten_at'])}",
            "Start what writes the heartbeat; without it no restore shows which point in time it reached.",
        )
    elif wanted.target is not None and reached > wanted.target:
        yield failure(
            "target",
            f"nothing newer than {moment(wanted.target)}",
            f"a beat of {moment(reached)}",
            "The restore went past the point that was asked for: see which target it was given.",
        )
    elif wanted.target is not None and wanted.target - reached > allowed:
        yield failure(
            "target",
            f"data up to {moment(wanted.target)}, the point that was asked for",
            f"the newest beat is of {moment(reached)}, {wanted.target - reached:.0f} s before",
            "Recovery ended early: look for missing WAL, and for the target that it was given.",
        )
    elif wanted.target is None and wanted.started is not None and wanted.started - reached > wanted.rpo:
        yield failure(
            "rpo",
            f"data not older than {wanted.rpo:g} s when the restore began at {moment(wanted.started)}",
            f"the newest beat is of {moment(reached)}, {wanted.started - reached:.0f} s old",
            "See whether WAL is archived, whether a segment is missing, and when the last backup was taken.",
        )


def _canaries(wanted: Wanted, seen: dict):
    """Beats are a chain of checksums: none is missing, none was changed, and it is the live database's."""
    beats = seen["beats"]
    if beats["broken"]:
        yield failure(
            "canaries",
            f"{beats['count']} beats in an unbroken chain",
            f"{beats['broken']} that do not fit, the first is {beats['first_broken']}",
            "Rows were lost or changed: do not use this copy, restore an older backup.",
        )
    if wanted.live is None or beats["newest"] is None:
        return
    for manifest in wanted.live["manifests"]:
        if manifest["beat"] > beats["newest"]["beat"]:
            continue
        copied = seen["chains"].get(str(manifest["beat"]))
        if copied is not None and copied != manifest["chain"]:
            yield failure(
                "canaries",
                f"the checksum {manifest['chain']} at beat {manifest['beat']}",
                copied,
                "The copy has another history than the live database: see which cluster and timeline it is of.",
            )
            return


def _tables(wanted: Wanted, seen: dict):
    """What never changes has not changed."""
    declared = wanted.live["manifests"][-1]["tables"] if wanted.live and wanted.live["manifests"] else []
    if declared and not seen["tables"]:
        yield failure(
            "tables",
            f"checksums of {', '.join(table['name'] for table in declared)}, recorded before what was reached",
            "none that old",
            "Record them with each backup, and drill again after the next one.",
        )
    for table in seen["tables"]:
        expected = f"{table['expected']['rows']} rows with the checksum {table['expected']['checksum']}"
        if (table["rows"], table["checksum"]) != (table["expected"]["rows"], table["expected"]["checksum"]):
            yield failure(
                "tables",
                f"{expected} in {table['name']}, as recorded at {moment(table['recorded_at'])}",
                table["error"] or f"{table['rows']} rows with {table['checksum']}",
                "Rows were lost or changed: do not use this copy, restore an older backup. If the application changes "
                "rows of this table, take it out of the list.",
            )


def _schema(wanted: Wanted, seen: dict):
    """The application finds the schema that it knows."""
    heads = {wanted.alembic_head} if wanted.alembic_head else _heads(wanted.live, seen)
    if heads and seen["alembic"] not in heads:
        yield failure(
            "alembic",
            f"the revision {' or '.join(str(head) for head in sorted(heads, key=str))}",
            str(seen["alembic"]),
            "Deploy the version that belongs to the found revision, or migrate the copy before it serves.",
        )


def _heads(live: dict | None, seen: dict) -> set:
    """The revisions that the live database may have had at the point that was reached: before it and after it."""
    newest = seen["beats"]["newest"]
    if live is None or newest is None:
        return set()
    before = [each for each in live["manifests"] if each["beat"] <= newest["beat"]][-1:]
    after = [each for each in live["manifests"] if each["beat"] > newest["beat"]][:1]
    return {each["alembic"] for each in before + after}


def _damages(damages: list | None):
    """amcheck reads every table and index."""
    if damages is None:
        yield failure(
            "amcheck", "amcheck to have read everything", "it was not run", "Run it: what is not read is not proven."
        )
    elif damages:
        more = f" and {len(damages) - 3} more" if len(damages) > 3 else ""
        yield failure(
            "amcheck",
            "no damage in tables and indexes",
            "; ".join(damages[:3]) + more,
            "An index alone is rebuilt with REINDEX; for a table restore an older backup, and check the live cluster "
            "with pg_amcheck as well.",
        )
