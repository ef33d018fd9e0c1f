# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the runner to an application's own Python and reads its answer."""

from __future__ import annotations

import json
import pwd
from collections.abc import Callable
from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.migrations import runner

# Program and password come by standard input: neither is in argv, nor in a file that the application's user could read.
# What a migration prints must not end up in the answer.
START = (
    "import json, sys, types; job = json.load(sys.stdin); answer, sys.stdout = sys.stdout, sys.stderr;"
    " module = sys.modules['runner'] = types.ModuleType('runner'); exec(job.pop('program'), module.__dict__);"
    " json.dump(module.answer(**job), answer)"
)


def run(execute: Callable, params: dict, check_mode: bool, environment: dict) -> dict:
    """Return the module's result.

    :param execute: the module's ``run_command``.
    :param environment: may hold ``DATABASE_URL``, which counts when there is no ``database_file``.
    :raises Failure: when something has to be mended by the operator.
    """
    if params["lock_timeout"] < 0.1:
        raise Failure("lock_timeout of at least 0.1 s", str(params["lock_timeout"]), "Correct lock_timeout.")
    options = ("script_location", "version_table", "lock_timeout", "retries", "retry_timeout", "lock_wait")
    job = {
        "program": runner.__loader__.get_source(runner.__name__),
        "database": _database(params["database_file"], environment),
        "options": {name: params[name] for name in options},
        "revision": params["revision"],
        "phase": params["phase"],
        "check": check_mode,
    }
    answer = _call(execute, Path(params["virtualenv"]) / "bin" / "python", job, params["user"], params["chdir"])
    if "error" in answer:
        raise Failure(**answer["error"])
    before, after = answer["before"], answer["applied"][-1]["revision"] if answer["applied"] else answer["before"]
    return {
        "changed": bool(answer["applied"]),
        **answer,
        "diff": {"before": {"revision": before}, "after": {"revision": after}},
    }


def _database(path: str | None, environment: dict) -> str:
    if path is None:
        if not environment.get("DATABASE_URL"):
            raise Failure("database_file or the variable DATABASE_URL", "neither", "Set one of them.")
        return environment["DATABASE_URL"]
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"{path} to be readable", str(error.strerror), "Correct database_file or its mode.") from None


def _call(execute: Callable, python: Path, job: dict, user: str | None, chdir: str) -> dict:
    command = [*(["runuser", f"--user={user}", "--"] if user else []), str(python), "-B", "-c", START]
    try:
        environment = _environment(pwd.getpwnam(user) if user else None)
        status, out, err = execute(
            command, data=json.dumps(job), cwd=chdir, environ_update=environment, handle_exceptions=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise Failure(f"{python} to run as {user or 'us'}", str(error), "Correct virtualenv, user or chdir.") from None
    try:
        return json.loads(out)
    except ValueError:
        end = " / ".join(err.strip().splitlines()[-3:]) or f"status {status}"
        raise Failure("the migrations to run to their end", end, "Mend that and run again.") from None


def _environment(entry: pwd.struct_passwd | None) -> dict:
    """What differs for that user, whose home PostgreSQL's client looks into: where it may not, it gives TLS up."""
    password = {"DATABASE_URL": ""}
    return password | ({"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name} if entry else {})
