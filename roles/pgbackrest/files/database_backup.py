# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a PostgreSQL host, for systemd and for people: database-backup COMMAND, as the user postgres.

check CONFIG    whether a configuration of pgBackRest fits the repositories and this cluster
backup TYPE     full, diff or incr, into every repository
dump            every database and the globals
collect         metrics of what could be restored
"""

from __future__ import annotations

import calendar
import configparser
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import continuity

CONFIG = "/etc/pgbackrest.conf"
SETTINGS = Path("/etc/database-backup.json")
STATE = Path("/var/lib/database-backup/state.json")
POINTS = 20000  # a week of them when one is taken every half minute
QUIET = ["--log-level-console=off", "--log-level-stderr=error", "--log-level-file=off"]
# Short, because a person waits; the live configuration keeps pgBackRest's own patience.
PATIENCE = ["--io-timeout=15", "--protocol-timeout=30"]
UNCHANGED = "Nothing was changed."
PROBE = "database-backup-probe"
DUMP = "%Y-%m-%dT%H%M%SZ"
HEARTBEAT = "SELECT pg_logical_emit_message(true, 'database-backup', 'heartbeat')"
POSITION = "SELECT pg_current_wal_flush_lsn()"


class Refusal(Exception):
    """Why nothing was done; its text is for the person who reads the log."""


def refusal(expected, found, todo):
    return Refusal(f"Expected {expected}; found {found}. {todo}")


def output(*command):
    """Run a command without input; return what it prints, raise ValueError with its message."""
    # What a wrong passphrase makes of a file stands in pgBackRest's message.
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise ValueError((done.stderr or done.stdout).strip() or f"{command[0]} ended with status {done.returncode}")
    return done.stdout


def pgbackrest(arguments, *options):
    return output("pgbackrest", *QUIET, *options, *arguments)


def ask(settings, query, database="postgres"):
    return output("psql", "-XAtq", "-p", str(settings["port"]), "-d", database, "-c", query).strip()


def is_standby(settings):
    return ask(settings, "SELECT pg_is_in_recovery()") == "t"


# check


def read_config(config=CONFIG):
    """The stanza, the data directory and the repositories of a configuration of pgBackRest."""
    parser = configparser.RawConfigParser(delimiters="=")
    parser.read_string(Path(config).read_text(encoding="utf-8"))
    [stanza] = [name for name in parser.sections() if not name.startswith("global")]
    options = parser["global"]
    numbers = sorted(int(found[1]) for key in options if (found := re.match(r"repo(\d+)-path$", key)))
    repositories = []
    for number in numbers:
        path = options[f"repo{number}-path"]
        # Only a file system of this host can be looked at.
        posix = options.get(f"repo{number}-type", "posix") == "posix"
        name = path if posix else f"{options.get(f'repo{number}-s3-bucket', '')}{path}"
        repositories.append({"number": number, "directory": path if posix else "", "name": name})
    return {"stanza": stanza, "data_directory": parser[stanza]["pg1-path"], "repositories": repositories}


def check(config):
    """Raise Refusal when a candidate configuration cannot work, before it replaces the one that does.

    The messages of pgBackRest are kept: they tell a refused key from a bucket that is not there.
    """
    about = read_config(config)
    system = identifier(about["data_directory"])
    for repository in about["repositories"]:
        number, directory = repository["number"], repository["directory"]
        where = f"repository {number} ({repository['name']})"
        if directory and not os.access(directory, os.W_OK):
            raise refusal(f"{where} to be a directory that this user may write", "that it is not", UNCHANGED)
        check_repository(where, about["stanza"], system, [f"--config={config}", f"--repo={number}", *PATIENCE])


def check_repository(where, stanza, system, options):
    try:
        # Listing tells a missing bucket or right, reading the stanza a wrong passphrase.
        pgbackrest(["repo-ls", "--output=json"], *options)
        about = next(iter(json.loads(pgbackrest(["info", "--output=json"], f"--stanza={stanza}", *options))), {})
    except ValueError as error:
        raise refusal(f"{where} to be readable", error, UNCHANGED) from error
    [status] = [repo["status"] for repo in about.get("repo", [])] or [{"code": 1}]
    if status["code"] == 99:
        raise refusal(f"{where} to be readable", status["message"], f"{UNCHANGED} See whether the passphrase fits.")
    others = {str(one["system-id"]) for one in about.get("db", [])}
    if others and system and system not in others:
        raise refusal(
            f"stanza {stanza} in {where} to be of this cluster, whose system identifier is {system}",
            f"that of {', '.join(sorted(others))}",
            f"{UNCHANGED} Name another stanza or path.",
        )
    try:
        # Raw, because the passphrase is that of the stanza's files. Retention removes, so that right is needed too.
        for command in (["repo-put", "--raw", PROBE], ["repo-rm", PROBE]):
            pgbackrest(command, *options)
    except ValueError as error:
        raise refusal(f"{where} to be writable", error, UNCHANGED) from error


def identifier(data_directory):
    """The system identifier of the cluster, as PostgreSQL's own files have it; empty when there is no cluster."""
    version = Path(data_directory, "PG_VERSION")
    if not version.exists():
        return ""
    text = output(f"/usr/lib/postgresql/{version.read_text().strip()}/bin/pg_controldata", data_directory)
    return re.search(r"system identifier:\s+(\d+)", text)[1]


# backup


def backup(settings, kind):
    """Take a backup into every repository; a repository that fails does not keep the others from theirs."""
    if is_standby(settings):
        print("This is a standby: the primary backs up.")
        return
    failed = []
    for repository in settings["repositories"]:
        # Only on file systems of this host is there something to look at.
        if problem := room(settings, repository, kind):
            failed.append(problem)
            continue
        command = ["pgbackrest", f"--stanza={settings['stanza']}", f"--repo={repository['number']}", f"--type={kind}"]
        done = subprocess.run([*command, "--log-level-console=info", "backup"], check=False)
        if done.returncode:
            failed.append(
                f"Expected a backup into repository {repository['number']}; found status {done.returncode} of "
                "pgBackRest, whose message is above. Older backups are as they were."
            )
    if failed:
        raise Refusal("\n".join(failed))


def room(settings, repository, kind):
    """Why there is too little room for a backup; empty when there is enough, or none to compare with."""
    if not repository["directory"]:
        return ""
    number, stanza = repository["number"], settings["stanza"]
    try:
        known = json.loads(pgbackrest([f"--repo={number}", f"--stanza={stanza}", "--output=json", "info"]))
        free = shutil.disk_usage(repository["directory"]).free
    except (OSError, ValueError) as error:
        return str(refusal(f"repository {number} to be readable", error, "Nothing was written or removed. See to it."))
    sizes = {one["type"]: one["info"]["repository"]["delta"] for stanza in known for one in stanza["backup"]}
    needed = sizes.get(kind, sizes.get("full", 0))
    if free > needed:
        return ""
    return str(
        refusal(
            f"room in {repository['directory']} for a backup like the last one, which took {needed} bytes",
            f"{free} bytes free",
            "Nothing was written or removed. Make room, or shorten the retention.",
        )
    )


# dump


def dump(settings, now=None):
    """Dump every database and the globals into a directory that appears when it is whole, then remove old ones."""
    if is_standby(settings):
        print("This is a standby: the primary is dumped.")
        return
    os.umask(0o077)
    directory = Path(settings["dump_path"])
    # Held to the end of this process: what is incomplete then is nobody's, and may be removed.
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise refusal("no other dump to be under way", "one", "Nothing was written. Wait for its end.") from error
    for left in directory.glob(".incomplete-*"):
        shutil.rmtree(left)
    whole = dumps(directory)
    if whole:
        require_room(directory, sum(file.stat().st_size for file in whole[-1].iterdir()))
    work = Path(tempfile.mkdtemp(prefix=".incomplete-", dir=directory))
    try:
        dump_into(settings, work)
        for path in [*work.iterdir(), work]:
            sync(path)
        target = directory / time.strftime(DUMP, time.gmtime(now))
        work.rename(target)
    except (ValueError, OSError) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise refusal("a dump of every database", error, "Older dumps are as they were.") from error
    sync(directory)
    print(f"{target}: {', '.join(sorted(path.name for path in target.iterdir()))}")
    for path in expired(dumps(directory), settings["dump_days"], now or time.time()):
        shutil.rmtree(path)
        print(f"{path}: removed after {settings['dump_days']} days")


def dump_into(settings, work):
    port = str(settings["port"])
    output("pg_dumpall", "-p", port, "--globals-only", "--file", str(work / "globals.sql"))
    query = "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template1' ORDER BY datname"
    for database in ask(settings, query).splitlines():
        # A name may hold what a file's name may not.
        file = work / f"{re.sub('[^A-Za-z0-9_.-]', '_', database)}.dump"
        if file.exists():
            raise ValueError(f"two databases whose dumps would both be {file.name}")
        # An archive of pg_dump ends without a mark, but its list is read only when it is one at all.
        output("pg_dump", "-p", port, "--format=custom", "--file", str(file), f"--dbname={connection(database)}")
        if not output("pg_restore", "--list", str(file)).strip():
            raise ValueError(f"{file.name} lists nothing")


def connection(database):
    """A connection string that takes any name literally."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def require_room(directory, needed):
    free = shutil.disk_usage(directory).free
    if free <= needed:
        raise refusal(
            f"room in {directory} for a dump like the last one, which took {needed} bytes",
            f"{free} bytes free",
            "Nothing was written or removed. Make room, or keep dumps for fewer days.",
        )


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def taken(path):
    """When a dump was taken, in seconds since the epoch; None when the path is none."""
    try:
        return calendar.timegm(time.strptime(path.name, DUMP))
    except ValueError:
        return None


def dumps(directory):
    """The whole dumps, oldest first."""
    return sorted(path for path in Path(directory).glob("*Z") if taken(path) is not None)


def expired(found, days, now):
    """Dumps that are older than the retention; the newest never is."""
    return [path for path in found[:-1] if taken(path) < now - days * 86400]


# collect


def collect(settings):
    """Write what could be restored now as metrics, to standard output."""
    state = json.loads(STATE.read_text()) if STATE.exists() else {}
    server = observe(settings, state)
    try:
        found = continuity.examine(pgbackrest, settings["stanza"], server["claimed"], server["wal"])
    except ValueError as error:
        print(error, file=sys.stderr)
        found = []
    state["restorable"] = restorable(found, state)
    state["points"] = pruned(state["points"], found)
    temporary = STATE.with_suffix(".new")
    temporary.write_text(json.dumps(state))
    temporary.replace(STATE)
    for problem in (problem for one in found for problem in one["problems"]):
        print(problem, file=sys.stderr)
    sys.stdout.write(metrics(settings, found, state, server, time.time()))


def observe(settings, state):
    """What the server says; remembers when its WAL was where.

    A heartbeat makes an idle server archive too: otherwise an archive that stopped would look like nothing to archive.
    """
    points = state.setdefault("points", [])
    try:
        server = continuity.read_server(ask(settings, continuity.SERVER_QUERY))
        server["waiting"] = int(
            ask(settings, "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name ~ '^[0-9A-F]{24}\\.ready$'")
        )
        if not server["standby"]:
            now = time.time()
            ask(settings, HEARTBEAT)
            position = continuity.parse_lsn(ask(settings, POSITION))
            # After a restore in place the WAL begins further back: what was remembered beyond it never happened.
            points[:] = [*(point for point in points if point[0] < position), [position, now]][-POINTS:]
    except ValueError as error:
        print(error, file=sys.stderr)
        server = {"claimed": None, "wal": continuity.Wal(), "waiting": None, "standby": None}
    return server


def restorable(found, state):
    """The time up to which each repository can restore: the newest moment at which the WAL was within what it has."""
    known = dict(state.get("restorable", {}))
    for one in found:
        if not one["reachable"]:
            continue
        known.pop(str(one["repository"]), None)
        if point := one["restorable"]:
            end = continuity.parse_lsn(point["lsn"])
            times = [moment for position, moment in state["points"] if position <= end]
            known[str(one["repository"])] = max([point["backup_stopped_at"], *times])
    return known


def pruned(points, found):
    """The points without those that no repository needs any more."""
    ends = [continuity.parse_lsn(one["restorable"]["lsn"]) for one in found if one["restorable"]]
    if not ends:
        return points
    kept = [number for number, (position, _moment) in enumerate(points) if position <= min(ends)]
    return points[max(kept, default=0) :]


def metrics(settings, found, state, server, now):
    """Lines of Prometheus's text format."""
    stanza = settings["stanza"]
    rows = {
        "collected_timestamp_seconds": ("When these metrics were collected", [({}, now)]),
        "repository_up": ("Whether a repository could be read", []),
        "restorable_timestamp_seconds": ("Time up to which a repository can restore", []),
        "completed_timestamp_seconds": ("When the newest usable backup of a type ended", []),
        "missing_wal_segments": ("WAL segments since the oldest backup that are not there", []),
        "unusable_backups": ("Backups that cannot be restored", []),
        "waiting_wal_segments": ("Full WAL segments that wait to be archived", []),
        "dump_timestamp_seconds": ("When the newest dump of a database was taken", []),
    }
    add = {name: samples.append for name, (_help, samples) in rows.items()}
    reachable = {one["repository"] for one in found if one["reachable"]}
    for number in (repository["number"] for repository in settings["repositories"]):
        add["repository_up"](({"repository": number}, int(number in reachable)))
        if str(number) in state["restorable"]:
            add["restorable_timestamp_seconds"](({"repository": number}, state["restorable"][str(number)]))
    for one in (one for one in found if one["reachable"]):
        labels = {"repository": one["repository"]}
        for kind, stopped in sorted(one["newest"].items()):
            add["completed_timestamp_seconds"]((labels | {"type": kind}, stopped))
        add["missing_wal_segments"]((labels, sum(gap["segments"] for gap in one["gaps"])))
        add["unusable_backups"]((labels, sum(not backup["usable"] for backup in one["backups"])))
    if server["waiting"] is not None:
        add["waiting_wal_segments"](({}, server["waiting"]))
    for file in (file for path in dumps(settings["dump_path"])[-1:] for file in sorted(path.glob("*.dump"))):
        add["dump_timestamp_seconds"](({"database": file.stem}, taken(file.parent)))
    lines = []
    for name, (text, samples) in rows.items():
        if samples:
            lines += [f"# HELP database_backup_{name} {text}.", f"# TYPE database_backup_{name} gauge"]
        for labels, value in samples:
            pairs = ",".join(f'{key}="{label}"' for key, label in ({"stanza": stanza} | labels).items())
            lines.append(f"database_backup_{name}{{{pairs}}} {value}")
    return "\n".join(lines) + "\n"


COMMANDS = {"check": (check, 1), "backup": (backup, 1), "dump": (dump, 0), "collect": (collect, 0)}


def main(arguments):
    """Run a command; return the exit status."""
    function, count = COMMANDS.get(arguments[0] if arguments else "", (None, 0))
    if function is None or len(arguments) != count + 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        given = [] if function is check else [json.loads(SETTINGS.read_text()) | read_config()]
        function(*given, *arguments[1:])
    except (Refusal, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
