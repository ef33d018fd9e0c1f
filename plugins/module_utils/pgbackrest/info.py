# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module pgbackrest_info does."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.pgbackrest import continuity

# Messages come by standard error alone, and nothing is written into logs that a person reads.
PGBACKREST = ["pgbackrest", "--log-level-console=off", "--log-level-stderr=error", "--log-level-file=off"]


def run(params: dict, execute, now: float) -> dict:
    """Judge the repositories.

    :param execute: runs a command; returns its output or raises ValueError with its message.
    """
    query = ["psql", "-XAt", "-p", str(params["port"]), "-d", "postgres", "-c", continuity.SERVER_QUERY]
    try:
        server = continuity.read_server(execute(query))
    except ValueError:
        server = {"claimed": None, "wal": continuity.Wal()}

    def ask(arguments: list) -> str:
        return execute([*PGBACKREST, *arguments])

    found = continuity.examine(ask, params["stanza"], server["claimed"], server["wal"], params["repositories"])
    problems = [problem for one in found for problem in one["problems"]]
    if params["verify"]:
        for number in (one["repository"] for one in found if one["reachable"]):
            options = [f"--stanza={params['stanza']}", f"--repo={number}", "--output=text", "--verbose"]
            lines = continuity.parse_verify(ask([*options, "verify"]))
            problems += [f"repository {number}: verify: {line}" for line in lines]
    newest = max((stopped for one in found for stopped in one["newest"].values()), default=None)
    age = None if newest is None else int(now - newest)
    return {"changed": False, "repositories": found, "problems": problems, "age": age}
