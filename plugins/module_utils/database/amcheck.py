# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads every table and index of a copy with amcheck: by PostgreSQL's command on a host, by SQL where there is none."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.database.observe import rows

_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relkind IN ('r', 't', 'm') AND relpersistence = 'p' AND relam = (SELECT oid FROM pg_am WHERE amname = 'heap')
ORDER BY oid
"""
_INDEXES = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indisvalid AND indisready AND relkind = 'i' AND relpersistence = 'p'
  AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
ORDER BY indexrelid
"""


def by_command(execute, program: str, directory: str, port: int) -> list:
    """What ``pg_amcheck`` says of all databases of the cluster at a socket.

    :param execute: called with an argument list; returns status, output and errors.
    :returns: sentences, none when all is well.
    """
    # Without the extension a database would be passed over with a warning.
    command = [program, "--all", "--install-missing", "--heapallindexed", "--no-password"]
    status, out, err = execute([*command, f"--host={directory}", f"--port={port}"])
    said = [line.strip() for line in (out + err).splitlines() if line.strip() and not line.startswith("NOTICE:")]
    if status:
        return said or [f"pg_amcheck ended with status {status}"]
    return [line for line in said if "skipping" in line]


def by_sql(connect, databases: list) -> list:
    """The same through connections, as on RDS.

    :param connect: called with the name of a database; returns a connection in autocommit mode.
    :returns: sentences, none when all is well.
    """
    found = []
    for name in databases:
        try:
            connection = connect(name)
        except Exception as exception:  # the driver is the caller's
            found.append(f"{name}: {_first_line(exception)}")
            continue
        try:
            found += [f"{name}: {damage}" for damage in _database(connection)]
        finally:
            connection.close()
    return found


def _database(connection) -> list:
    found = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        tables, indexes = rows(connection, _TABLES), rows(connection, _INDEXES)
    except Exception as exception:
        return [_first_line(exception)]
    checks = [(name, "SELECT blkno, offnum, msg FROM verify_heapam(%s::regclass)") for (name,) in tables]
    checks += [(name, "SELECT bt_index_check(%s::regclass, true)") for (name,) in indexes]
    for name, query in checks:
        try:
            found += [f"{name}: {damage[-1]}" for damage in rows(connection, query, (name,)) if damage[-1]]
        except Exception as exception:
            found.append(f"{name}: {_first_line(exception)}")
    return found


def _first_line(exception: Exception) -> str:
    return (str(exception).strip() or type(exception).__name__).splitlines()[0]
