# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the heartbeat and what a backup should hold, and reads them from a copy. Connections are psycopg2's."""

from __future__ import annotations

import json
import re

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database.proof import segment_start

SCHEMA = "restore_proof"
BEAT = "SELECT restore_proof.beat()"
# Beats and manifests that are kept: at one beat in 15 s three and a half days.
KEEP_BEATS = 20000
KEEP_MANIFESTS = 400

# A beat's checksum is over itself and the one before: a row that is lost or changed breaks the chain.
_LINK = "md5(concat_ws('|', {before}, {beat}, extract(epoch FROM {written_at}), {payload}))"
_INSTALL = """
CREATE SCHEMA IF NOT EXISTS restore_proof;
CREATE TABLE IF NOT EXISTS restore_proof.beats (
  beat bigint PRIMARY KEY, written_at timestamptz NOT NULL, lsn pg_lsn NOT NULL, payload text NOT NULL,
  chain text NOT NULL);
CREATE TABLE IF NOT EXISTS restore_proof.manifests (
  manifest bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, content jsonb NOT NULL);
CREATE OR REPLACE FUNCTION restore_proof.beat() RETURNS bigint LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  last restore_proof.beats;
  next restore_proof.beats;
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN NULL;
  END IF;
  LOCK TABLE restore_proof.beats IN EXCLUSIVE MODE;
  SELECT * INTO last FROM restore_proof.beats ORDER BY beat DESC LIMIT 1;
  next.beat := coalesce(last.beat, 0) + 1;
  next.written_at := clock_timestamp();
  next.lsn := pg_current_wal_insert_lsn();
  next.payload := md5(random()::text);
  next.chain := LINK;
  INSERT INTO restore_proof.beats SELECT (next).*;
  DELETE FROM restore_proof.beats WHERE beat <= next.beat - KEEP;
  RETURN next.beat;
END $function$;
""".replace(
    "LINK", _LINK.format(before="last.chain", beat="next.beat", written_at="next.written_at", payload="next.payload")
).replace("KEEP", str(KEEP_BEATS))
_INSTALLED = """
SELECT to_regclass('restore_proof.beats') IS NOT NULL AND to_regclass('restore_proof.manifests') IS NOT NULL
  AND EXISTS (SELECT FROM pg_proc WHERE pronamespace = to_regnamespace('restore_proof') AND proname = 'beat'
    AND md5(prosrc) = md5(%s))
"""
_NEWEST = """
SELECT beat, extract(epoch FROM written_at)::float8, lsn::text, chain FROM restore_proof.beats
ORDER BY beat DESC LIMIT 1
"""
_CHAIN = """
SELECT count(*), count(*) FILTER (WHERE broken), min(beat) FILTER (WHERE broken) FROM (
  SELECT beat, lag(beat) OVER w IS NOT NULL AND (lag(beat) OVER w <> beat - 1 OR chain <> LINK) AS broken
  FROM restore_proof.beats WINDOW w AS (ORDER BY beat)) AS links
""".replace("LINK", _LINK.format(before="lag(chain) OVER w", beat="beat", written_at="written_at", payload="payload"))
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"
_SIZE = "SELECT sum(pg_database_size(oid))::bigint FROM pg_database"
_ARCHIVED = """
SELECT last_archived_wal, extract(epoch FROM last_archived_time)::float8,
  pg_size_bytes(current_setting('wal_segment_size')) FROM pg_stat_archiver
"""
_READABLE = "SELECT has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'EXECUTE')"
# Of text that looks the same whoever asks.
_FORMATS = "SET TimeZone = 'UTC'; SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 1; "
_FORMATS += "SET bytea_output = hex"


def rows(connection, query, values=None) -> list:
    """What a query answers."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def one(connection, query, values=None):
    """The only value of the only row."""
    return rows(connection, query, values)[0][0]


def install(connection, check_mode: bool) -> bool:
    """Have the schema, its tables and the function that writes a beat; tell whether that changed anything.

    :param connection: in autocommit mode, as a user that may create a schema.
    """
    body = re.search(r"\$function\$(.*)\$function\$", _INSTALL, re.DOTALL)[1]
    # A standby has what its primary has.
    if one(connection, _INSTALLED, (body,)) or one(connection, "SELECT pg_is_in_recovery()"):
        return False
    if not check_mode:
        with connection.cursor() as cursor:
            cursor.execute(_INSTALL)
    return True


def newest(connection) -> dict | None:
    """The last beat: ``beat``, ``written_at`` (seconds since the epoch), ``lsn`` and ``chain``."""
    found = rows(connection, _NEWEST)
    return dict(zip(("beat", "written_at", "lsn", "chain"), found[0], strict=True)) if found else None


def record(connection, tables: list, check_mode: bool = False) -> dict:
    """Say what a copy of the database as it is now has to hold, and keep that in the database.

    :param connection: to the live database, in autocommit mode.
    :param tables: ``{"name": "schema.table", "key": column or None}``. Their rows never change; with a key new ones may
        come, with keys that only grow.
    :returns: what :class:`proof.Wanted` takes as ``live``.
    """
    if one(connection, "SELECT pg_is_in_recovery()"):
        raise Failure("the primary", "a standby", "Record and drill on the primary's host.")
    beaten = newest(connection)
    if not check_mode:
        one(connection, BEAT)
    with connection.cursor() as cursor:
        cursor.execute(_FORMATS)
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        last = newest(connection) or {"beat": 0, "written_at": 0.0, "chain": ""}
        recorded_at = one(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
        manifest = {
            "recorded_at": recorded_at,
            "beat": last["beat"],
            "chain": last["chain"],
            "alembic": alembic(connection),
            "tables": [{**table, **_table(connection, table)} for table in tables],
        }
        wal, archived_at, segment = rows(connection, _ARCHIVED)[0]
        live = {
            "system_identifier": _identifier(connection),
            "timeline": _timeline(connection),
            "databases": [name for (name,) in rows(connection, _DATABASES)],
            "recorded_at": recorded_at,
            # Of what writes the heartbeat, not the beat that this function wrote.
            "beaten_at": (beaten or last)["written_at"],
            "archived_wal": wal,
            "archived": segment_start(wal, segment) if wal else None,
            "archived_at": archived_at,
        }
    finally:
        with connection.cursor() as cursor:
            cursor.execute("COMMIT")
    if not check_mode:
        _keep(connection, manifest)
    live["manifests"] = _manifests(connection) + ([manifest] if check_mode else [])
    return live


def observe(connection, live: dict | None = None) -> dict:
    """What a copy holds, for :func:`proof.judge`.

    :param connection: to the copy, in autocommit mode.
    :param live: what :func:`record` returned of the live database; without it the copy's own manifests have to do.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FORMATS)
    seen = {
        "system_identifier": _identifier(connection),
        "in_recovery": one(connection, "SELECT pg_is_in_recovery()"),
        "databases": [name for (name,) in rows(connection, _DATABASES)],
        "bytes": one(connection, _SIZE),
        "alembic": alembic(connection),
        "recovery": _recovery(connection),
        "beats": {"newest": None, "count": 0, "broken": 0, "first_broken": None},
        "chains": {},
        "tables": [],
    }
    if one(connection, "SELECT to_regclass('restore_proof.beats') IS NULL"):
        return seen
    count, broken, first_broken = rows(connection, _CHAIN)[0]
    seen["beats"] = {"newest": newest(connection), "count": count, "broken": broken, "first_broken": first_broken}
    manifests = live["manifests"] if live else _manifests(connection)
    beats = [each["beat"] for each in manifests]
    found = rows(connection, "SELECT beat::text, chain FROM restore_proof.beats WHERE beat = ANY(%s)", (beats,))
    seen["chains"] = dict(found)
    last = (seen["beats"]["newest"] or {"beat": 0})["beat"]
    # A copy with a later beat has all that a manifest saw; one that ends with the manifest's own beat may lack some.
    for manifest in [each for each in manifests if each["beat"] < last][-1:]:
        seen["tables"] = [_compare(connection, table, manifest["recorded_at"]) for table in manifest["tables"]]
    return seen


def alembic(connection) -> str | None:
    """The revision of the schema, None when Alembic does not keep it."""
    if one(connection, "SELECT to_regclass('alembic_version') IS NULL"):
        return None
    found = rows(connection, "SELECT version_num FROM alembic_version ORDER BY version_num")
    return ",".join(version for (version,) in found) or None


def _compare(connection, table: dict, recorded_at: float) -> dict:
    """A table of the copy beside what was recorded of it."""
    expected = {"rows": table["rows"], "checksum": table["checksum"]}
    seen = {"name": table["name"], "recorded_at": recorded_at, "expected": expected, "error": None}
    try:
        return {**seen, **_table(connection, table, until=table["until"])}
    except Exception as exception:  # psycopg2 is not imported here: the caller's connection may be another driver's
        return {**seen, "rows": None, "checksum": None, "error": str(exception).strip().splitlines()[0]}


def _table(connection, table: dict, until=None) -> dict:
    """Rows, checksum and highest key of a table; the checksum does not depend on the order of rows."""
    name, key = _quoted(table["name"]), table.get("key")
    if key is None:
        where, values = "", ()
    else:
        column = _quoted(key)
        if until is None:
            until = one(connection, f"SELECT max({column})::text FROM {name}")  # noqa: S608
        where, values = f" WHERE {column} <= %s", (until,)
    query = f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {name} AS t{where}"  # noqa: S608
    count, checksum = rows(connection, query, values or None)[0]
    return {"rows": count, "checksum": checksum, "until": until}


def _quoted(name: str) -> str:
    """A name as an identifier, whatever is in it.

    :raises Failure: when it has no or too many parts.
    """
    parts = name.split(".")
    if not all(parts) or len(parts) > 2:
        raise Failure("a table as schema.table", repr(name), "Correct the list of tables.")
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _keep(connection, manifest: dict) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO restore_proof.manifests (content) VALUES (%s)", (json.dumps(manifest),))
        cursor.execute(
            "DELETE FROM restore_proof.manifests WHERE manifest <= "
            "(SELECT max(manifest) FROM restore_proof.manifests) - %s",
            (KEEP_MANIFESTS,),
        )


def _manifests(connection) -> list:
    """All that was recorded, the oldest first."""
    if one(connection, "SELECT to_regclass('restore_proof.manifests') IS NULL"):
        return []
    found = rows(connection, "SELECT content::text FROM restore_proof.manifests ORDER BY manifest")
    return [json.loads(content) for (content,) in found]


def _identifier(connection) -> str:
    return one(connection, "SELECT system_identifier::text FROM pg_control_system()")


def _timeline(connection) -> int:
    return int(one(connection, "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"), 16)


def _recovery(connection) -> dict:
    """Where recovery ended and why: ``timeline`` (that it followed), ``lsn``, ``reason``, ``replayed``.

    What cannot be known is None: RDS does not let a history file be read.
    """
    end = {"timeline": None, "lsn": None, "reason": None}
    end["replayed"] = one(connection, "SELECT pg_last_wal_replay_lsn()::text")
    if one(connection, "SELECT pg_is_in_recovery()"):
        return end
    timeline = _timeline(connection)
    readable = one(connection, _READABLE)
    if timeline == 1 or not readable:
        return end
    history = one(connection, "SELECT pg_read_file(%s, 0, 1000000, true)", (f"pg_wal/{timeline:08X}.history",))
    lines = [line.split("\t", 2) for line in (history or "").splitlines() if line.strip()]
    if lines:
        parent, end["lsn"], end["reason"] = lines[-1]
        end["timeline"] = int(parent)
    return end
