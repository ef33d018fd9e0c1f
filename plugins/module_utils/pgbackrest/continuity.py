# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pgBackRest repository can really restore, judged from its own listing.

pgBackRest's `info` names the newest WAL segment whether or not those before it are there, and `verify` was seen to pass
over a gap. PostgreSQL ends recovery at a gap without an error, so a gap is data lost.

This file is also installed on database hosts, beside the collector of metrics: it imports nothing of the collection.
"""

from __future__ import annotations

import json
import re

SEGMENT_SIZE = 16 * 1024 * 1024
_SEGMENT = re.compile(r"(?:.*/)?([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?$")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history$")
_TYPES = ("full", "diff", "incr")


class Wal:
    """WAL segments as pairs of timeline and number, for one segment size in bytes."""

    def __init__(self, size: int = SEGMENT_SIZE):
        self.size = size
        self._per_log = 0x100000000 // size

    def parse(self, name: str) -> tuple:
        """The timeline and number of a segment's name.

        :raises ValueError: when it is not 24 hexadecimal digits.
        """
        if not re.fullmatch(r"[0-9A-F]{24}", name):
            raise ValueError(f"{name!r} is no WAL segment")
        return int(name[:8], 16), int(name[8:16], 16) * self._per_log + int(name[16:], 16)

    def name(self, timeline: int, number: int) -> str:
        """The name of a segment."""
        log, offset = divmod(number, self._per_log)
        return f"{timeline:08X}{log:08X}{offset:08X}"

    def number(self, lsn: int) -> int:
        """The number of the segment that a position lies in."""
        return lsn // self.size


def parse_lsn(text: str) -> int:
    """A position in the WAL, from PostgreSQL's notation such as ``16/B374D848``."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def format_lsn(lsn: int) -> str:
    """A position in PostgreSQL's notation."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_history(text: str) -> list:
    """The ancestors in a timeline's history file: pairs of timeline and the position where it was left."""
    rows = (line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return [(int(row[0]), parse_lsn(row[1])) for row in rows]


def chain(timeline: int, ancestors: list, wal: Wal) -> list:
    """The timelines that lead to one, as pairs of timeline and number of its first segment, oldest first."""
    first, found = 0, []
    for parent, left_at in ancestors:
        found.append((parent, first))
        # The new timeline begins with a copy of the segment in which the old one was left.
        first = wal.number(left_at)
    return [*found, (timeline, first)]


def timeline_at(number: int, timelines: list) -> int:
    """The timeline whose segment recovery reads at a number."""
    return next(timeline for timeline, first in reversed(timelines) if first <= number)


def follow(number: int, present: set, timelines: list, known: dict | None = None) -> int:
    """The number of the last segment that is there without a gap, from a number on; number - 1 when not even that.

    :param known: what this returned for other numbers of the same timelines; from there on it need not be walked again.
    """
    while (timeline_at(number, timelines), number) in present:
        if number in (known or {}):
            return known[number]
        number += 1
    return number - 1


def gaps(first: int, last: int, present: set, timelines: list, wal: Wal) -> list:
    """Runs of missing segments from one number to another: ``{"first", "last", "segments"}``."""
    found, run = [], []
    for number in range(first, last + 2):
        missing = number <= last and (timeline_at(number, timelines), number) not in present
        if missing:
            run.append(wal.name(timeline_at(number, timelines), number))
        elif run:
            found.append({"first": run[0], "last": run[-1], "segments": len(run)})
            run = []
    return found


def read_listing(listing: dict, wal: Wal) -> dict:
    """What the recursive listing of an archive has.

    :param listing: of ``repo-ls --recurse --output=json archive/<stanza>/<archive id>``.
    :returns: ``segments`` ((timeline, number): seconds since the epoch), ``duplicates`` (names that are there with two
        contents, which pgBackRest refuses to restore) and ``histories`` (timelines that have a history file).
    """
    segments, duplicates, histories = {}, set(), []
    for path, about in listing.items():
        if match := _SEGMENT.match(path):
            key = wal.parse(match[1])
            if key in segments:
                duplicates.add(match[1])
            segments[key] = about.get("time", 0)
        elif match := _HISTORY.match(path):
            histories.append(int(match[1], 16))
    return {"segments": segments, "duplicates": sorted(duplicates), "histories": sorted(histories)}


def judge(listing: dict, timelines: list, backups: list, claimed: str | None, wal: Wal) -> dict:
    """What can be restored.

    :param listing: from `read_listing`.
    :param timelines: the `chain` to the newest timeline.
    :param backups: of one repository, as ``info`` has them, oldest first.
    :param claimed: the newest segment that the server takes for archived, None when that is not known.
    :returns: ``backups``, ``restorable`` (None when nothing is) and ``gaps``.
    """
    present = set(listing["segments"])
    ours = dict(timelines)
    judged, newest, known = [], None, {}
    # The newest first, so that the archive is walked once and not for every backup.
    for backup in reversed(backups):
        about = _backup(backup)
        judged.insert(0, about)
        if not about["wal_start"]:
            # Taken of a stopped server: whole without WAL, but WAL does not lead on from it.
            about["usable"] = not about["error"]
            continue
        start, stop = wal.parse(about["wal_start"]), wal.parse(about["wal_stop"])
        # A backup of a timeline that was left behind leads to the newest one only when it ended before the fork.
        reachable = start[0] in ours and timeline_at(start[1], timelines) == start[0]
        line = timelines if reachable else [(start[0], 0)]
        end = follow(start[1], present, line, known if reachable else None)
        if reachable:
            known[start[1]] = end
        about["usable"] = not about["error"] and end >= stop[1]
        if about["usable"] and reachable and newest is None:
            newest = _restorable(about, end, line, listing["segments"], wal)
    return {"backups": judged, "restorable": newest, "gaps": _all_gaps(judged, present, timelines, claimed, wal)}


def _backup(backup: dict) -> dict:
    return {
        "label": backup["label"],
        "type": backup["type"],
        "started_at": backup["timestamp"]["start"],
        "stopped_at": backup["timestamp"]["stop"],
        "size": backup["info"]["size"],
        "wal_start": backup["archive"]["start"],
        "wal_stop": backup["archive"]["stop"],
        "error": bool(backup.get("error")),
    }


def _restorable(backup: dict, end: int, timelines: list, segments: dict, wal: Wal) -> dict:
    timeline = timeline_at(end, timelines)
    return {
        "backup": backup["label"],
        "backup_stopped_at": backup["stopped_at"],
        "segment": wal.name(timeline, end),
        "timeline": timeline,
        "lsn": format_lsn((end + 1) * wal.size),
        "archived_at": segments[(timeline, end)],
    }


def _all_gaps(backups: list, present: set, timelines: list, claimed: str | None, wal: Wal) -> list:
    ours = dict(timelines)
    starts = [wal.parse(backup["wal_start"]) for backup in backups if backup["wal_start"]]
    numbers = [number for timeline, number in present if timeline in ours]
    if claimed:
        timeline, number = wal.parse(claimed)
        numbers += [number] if timeline in ours else []
    starts = [number for timeline, number in starts if timeline in ours]
    first = min(starts or numbers, default=0)
    return gaps(first, max(numbers, default=-1), present, timelines, wal) if numbers else []


def parse_verify(text: str) -> list:
    """What ``verify --output=text`` found wrong, line by line; its exit status is 0 even then."""
    found, about = [], ""
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith(("stanza:", "archiveId:", "backup:")):
            about = line
        counts = re.findall(r"(missing|checksum invalid|size invalid|other): (\d+)", line)
        failed = line.startswith("status:") and line != "status: ok"
        if failed or any(int(number) for _name, number in counts):
            found.append(f"{about}: {line}")
        elif line.startswith("backup:") and not re.search(r"status: (valid|in-progress)", line):
            found.append(line)
    return found


def examine(
    ask, stanza: str, claimed: str | None = None, wal: Wal | None = None, repositories: list | None = None
) -> list:
    """Read and judge the repositories of a stanza.

    :param ask: runs pgBackRest with a list of arguments; returns its output or raises ValueError with its message.
    :param claimed: the newest segment that the server takes for archived, read before this.
    :param repositories: numbers of those to read; all when None.
    :returns: for each repository ``repository``, ``reachable``, ``message``, ``system_id``, what `judge` says,
        ``duplicates``, ``newest`` (seconds since the epoch at which the newest usable backup of each type ended) and
        ``problems``.
    """
    wal = wal or Wal()
    known = json.loads(ask([f"--stanza={stanza}", "--output=json", "info"]))
    about = next((one for one in known if one["name"] == stanza), {})
    if not about.get("repo"):
        message = about.get("status", {}).get("message", "no such stanza")
        return [_unreadable(number, f"stanza {stanza}: {message}") for number in repositories or [1]]
    numbers = [repo["key"] for repo in about["repo"]]
    return [_examine_one(ask, about, number, claimed, wal) for number in repositories or numbers if number in numbers]


def _examine_one(ask, about: dict, number: int, claimed: str | None, wal: Wal) -> dict:
    stanza = about["name"]
    status = next(repo["status"] for repo in about["repo"] if repo["key"] == number)
    databases = [one["id"] for one in about.get("db", []) if one["repo-key"] == number]
    archives = [
        one["id"]
        for one in about.get("archive", [])
        if one["database"]["repo-key"] == number and databases and one["database"]["id"] == databases[-1]
    ]
    if not archives:
        return _unreadable(number, status["message"] if status["code"] else "nothing was ever archived")
    path = f"archive/{stanza}/{archives[-1]}"
    where = [f"--stanza={stanza}", f"--repo={number}"]
    try:
        listing = read_listing(json.loads(ask([*where, "--recurse", "--output=json", "repo-ls", path])), wal)
        newest = max([1, *listing["histories"], *(timeline for timeline, _number in listing["segments"])])
        history = ask([*where, "repo-get", f"{path}/{newest:08X}.history"]) if newest in listing["histories"] else ""
    except ValueError as error:
        return _unreadable(number, str(error))
    backups = [
        backup
        for backup in about.get("backup", [])
        if backup["database"]["repo-key"] == number and backup["database"]["id"] == databases[-1]
    ]
    verdict = judge(listing, chain(newest, parse_history(history), wal), backups, claimed, wal)
    found = {"repository": number, "reachable": True, "message": status["message"], **verdict}
    found["system_id"] = next(str(one["system-id"]) for one in reversed(about["db"]) if one["repo-key"] == number)
    found["duplicates"] = listing["duplicates"]
    found["newest"] = newest_backups(found["backups"])
    return found | {"problems": problems(found)}


def _unreadable(number: int, message: str) -> dict:
    empty = {"backups": [], "system_id": None, "restorable": None, "gaps": [], "duplicates": [], "newest": {}}
    found = {"repository": number, "reachable": False, "message": message, **empty}
    return found | {"problems": [f"repository {number}: {message}"]}


def newest_backups(backups: list) -> dict:
    """When the newest usable backup of each type ended. A full backup counts as a differential one, and so on."""
    found = {}
    for backup in backups:
        if backup["usable"]:
            for kind in _TYPES[_TYPES.index(backup["type"]) :]:
                found[kind] = max(found.get(kind, 0), backup["stopped_at"])
    return found


def problems(found: dict) -> list:
    """Sentences on what is wrong with a repository."""
    number = found["repository"]
    told = [
        f"repository {number}: {gap['segments']} WAL segments are missing, from {gap['first']} to {gap['last']}"
        for gap in found["gaps"]
    ]
    told += [f"repository {number}: WAL segment {name} is there with two contents" for name in found["duplicates"]]
    told += [
        f"repository {number}: backup {backup['label']} cannot be restored, "
        + ("it has page checksum errors" if backup["error"] else "its own WAL is incomplete")
        for backup in found["backups"]
        if not backup["usable"]
    ]
    if not found["restorable"]:
        told.append(f"repository {number}: no backup can be restored")
    return told


SERVER_QUERY = (
    "SELECT pg_is_in_recovery(), setting, coalesce(last_archived_wal, '') FROM pg_settings, pg_stat_archiver"
    " WHERE name = 'wal_segment_size'"
)


def read_server(row: str) -> dict:
    """What the server says to SERVER_QUERY, of ``psql -XAt``: ``standby``, ``wal`` and ``claimed``.

    After a history or a label file, which is no segment, ``claimed`` is None.
    """
    standby, size, archived = row.strip().split("|")
    claimed = archived if re.fullmatch(r"[0-9A-F]{24}", archived) else None
    return {"standby": standby == "t", "wal": Wal(int(size)), "claimed": claimed}
