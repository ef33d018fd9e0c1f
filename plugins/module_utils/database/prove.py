# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares a database for proofs, records what a backup holds, and proves a copy on a host."""

from __future__ import annotations

import re

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database import amcheck, observe, proof

# PostgreSQL takes a time without a zone for one of the server's own, which nobody should have to know.
_ZONED = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$")


def run(params: dict, check_mode: bool, connect, execute) -> dict:
    """Return the module's result.

    :param connect: returns a connection in autocommit mode.
    :param execute: called with an argument list; returns status, output and errors.
    :raises Failure: when something has to be mended by the operator.
    """
    if params["target_time"] and not _ZONED.match(params["target_time"]):
        raise Failure(
            "target_time with a time zone", repr(params["target_time"]), "Write it as 2026-11-27 06:30:00+00."
        )
    connection = connect()
    try:
        if params["state"] == "verified":
            return _verify(params, check_mode, connection, execute)
        changed = observe.install(connection, check_mode)
        if params["state"] == "present":
            return {"changed": changed}
        if changed and check_mode:
            return {"changed": True, "live": None}
        return {"changed": True, "live": observe.record(connection, params["tables"], check_mode)}
    finally:
        connection.close()


def _verify(params: dict, check_mode: bool, connection, execute) -> dict:
    target = None
    if params["target_time"]:
        target = observe.one(connection, "SELECT extract(epoch FROM %s::timestamptz)::float8", (params["target_time"],))
    wanted = proof.Wanted(
        live=params["live"],
        started=params["started"],
        target=target,
        rpo=params["rpo"],
        interval=params["interval"],
        alembic_head=params["alembic_head"],
    )
    seen = observe.observe(connection, params["live"])
    # In check mode the extension is not installed.
    damages = None if check_mode else amcheck.by_command(execute, *_amcheck(connection))
    verdict = proof.judge(wanted, seen, damages)
    return {"changed": False, **verdict, "summary": proof.summary(verdict)}


def _amcheck(connection) -> tuple:
    """The command of the server's own version, and where its socket is."""
    port, directories, version = observe.rows(
        connection,
        "SELECT current_setting('port')::int, current_setting('unix_socket_directories'), "
        "current_setting('server_version_num')::int / 10000",
    )[0]
    return f"/usr/lib/postgresql/{version}/bin/pg_amcheck", directories.split(",")[0].strip(), port
