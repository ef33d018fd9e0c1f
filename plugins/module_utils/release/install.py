# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the releases of an application on a host to the wanted state."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.release import directory
from ansible_collections.techcorp.rag_admin.plugins.module_utils.release.plan import plan


def run(params: dict, check_mode: bool, execute, download) -> dict:
    """Return the module's result.

    :param execute: called with an argument list and file descriptors to hand down; returns the command's output.
    :param download: called with a URL and a path.
    :raises Failure: when something has to be mended by the operator.
    :raises OSError: when the disk is full or something cannot be written.
    """
    root, name, version = Path(params["root"]), params["name"], params["version"]
    if not version or version.startswith(".") or "/" in version:
        raise Failure("a version such as 1.1.0", repr(version), "Correct version.")
    if params["keep"] < 1:
        raise Failure("keep to be at least 1", str(params["keep"]), "Correct keep.")
    python_version = execute([params["python"], "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], []).strip()

    def decide():
        found = directory.scan(root, python_version)
        return found, plan(found, version, params["state"] == "current", params["keep"])

    installed = directory.installed_sha256(root, version)
    if installed and params["sha256"] and installed != params["sha256"]:
        raise Failure(
            f"{name} {version} from an artefact with sha256 {params['sha256']}",
            f"it installed from one with {installed}",
            "Releases are immutable: publish what you have under a new version.",
        )
    found, decided = decide()
    if decided.changed and not check_mode:
        with directory.locked(root) as lock:
            found, decided = decide()
            if decided.build:
                if not (params["url"] and params["sha256"]):
                    raise Failure(f"{name} {version} to be built, or url and sha256", "neither", "Give url and sha256.")
                directory.build(
                    root,
                    directory.Wanted(name, version, params["sha256"], params["command"]),
                    (params["python"], python_version),
                    lambda path: download(params["url"], path),
                    lambda command: execute(command, [lock]),
                )
            directory.apply(root, decided)
    return {
        "changed": decided.changed,
        "version": version,
        "path": str(root / "releases" / version),
        "built": decided.build,
        "current": found.current,
        "previous": decided.previous,
        "removed": list(decided.remove),
        "diff": {"before": decided.before, "after": decided.after},
    }
