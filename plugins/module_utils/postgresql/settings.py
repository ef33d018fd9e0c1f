# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a cluster's settings to what a definition says: read, decide, try, write, reload."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import api, files, plan

RELOAD_SECONDS = 30
# Without a server there is nothing to compare with.
SILENT = {"settings": [], "entries": [], "loaded": 0.0}


def run(params: dict, check_mode: bool, execute, clock) -> dict:
    """Do what the module documents.

    :param execute: runs a command; returns status, output and errors.
    :raises Failure: before anything is changed, unless it says otherwise.
    """
    path = Path(params["path"])
    cluster = api.find(path.parent.parent / "postgresql.conf")
    with contextlib.ExitStack() as stack:
        stack.enter_context(files.locked(path.parent, clock))
        server = stack.enter_context(api.Server(cluster)) if cluster.address else None
        found = server.read() if server else SILENT
        if server:
            _require_cluster(found, cluster)
        decided, before = _decide(params["settings"], path, cluster, found)
        if decided.write:
            text = files.render(decided.settings)
            with tempfile.TemporaryDirectory() as scratch:
                candidate = files.candidate(Path(scratch), path, cluster.main, text)
                api.judge(execute, cluster, candidate, path)
            if not check_mode:
                files.write(path, text)
        if decided.reload and not check_mode:
            _reload(server, path, found["loaded"], clock)
    return {
        "changed": decided.write or decided.reload,
        "running": server is not None,
        "written": decided.write,
        "reloaded": decided.reload,
        "changes": decided.changes,
        "pending_restart": decided.pending,
        "diff": {
            "before_header": str(path),
            "after_header": str(path),
            "before": plan.shown(before),
            "after": plan.shown(decided.settings),
        },
    }


def _require_cluster(found: dict, cluster: api.Cluster) -> None:
    if not found["superuser"]:
        raise Failure(
            f"a superuser of the server of {cluster.main}", "another role", "Run as such: become_user: postgres."
        )
    if Path(found["config_file"]).resolve() != cluster.main.resolve():
        raise Failure(
            f"the running server to use {cluster.main}", f"that it uses {found['config_file']}", "Correct path."
        )


def _decide(definition: dict, path: Path, cluster: api.Cluster, found: dict) -> tuple[plan.Plan, dict]:
    catalogue = {row["name"]: row for row in found["settings"]}
    version = str(found.get("version") or (cluster.data / "PG_VERSION").read_text(encoding="utf-8").strip())
    wanted = plan.desired(definition, catalogue, version)
    api.require_libraries(wanted, Path(found.get("libraries") or cluster.program.parent.parent / "lib"))
    position = files.place(path, cluster.main)
    others = [entry for entry in found["entries"] if Path(entry["sourcefile"]) != path]
    later = [
        entry
        for entry in others
        if files.follows(path, cluster.main, position, entry["sourcefile"], entry["sourceline"])
    ]
    plan.require_last(wanted, later, catalogue)
    texts, strange = files.parse(files.read(path) or "")
    unloaded = path.exists() and path.stat().st_ctime > float(found["loaded"])
    return plan.plan(wanted, plan.stored(texts, catalogue), strange, catalogue, others, unloaded), texts


def _reload(server: api.Server, path: Path, before: float, clock) -> None:
    server.reload()
    if not poll(lambda _elapsed: server.loaded() > before or None, 0.01, RELOAD_SECONDS, clock):
        raise Failure(
            f"the server to read its files within {RELOAD_SECONDS} s",
            "that it did not",
            f"{path} is written. See the server's log, then run again.",
        )
    refused = server.refused(path)
    if refused:
        raise Failure(
            f"the server to take every setting of {path}",
            "; ".join(refused),
            "The file is written and was valid when it was tried: see the server's log and its other files.",
        )
