"""bin/rag-admin: serve, migrate, downgrade, check."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable

from . import __version__, settings
from .credentials import CredentialsError


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit codes: 0 fine, 1 it did not work, 2 the settings are wrong."""
    parser = argparse.ArgumentParser(prog="rag-admin", description="Settings come from APP_… variables; see README.md.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve HTTP until SIGTERM")
    migrate = commands.add_parser("migrate", help="bring the database's schema to this version; prints JSON")
    migrate.add_argument("--revision", default="head", help="the last migration to apply (default: %(default)s)")
    migrate.add_argument(
        "--phase",
        choices=["expand", "contract", "all"],
        default="expand",
        help="contract only when the version before is gone (default: %(default)s)",
    )
    migrate.add_argument("--check", action="store_true", help="apply nothing; show the SQL on standard error")
    downgrade = commands.add_parser("downgrade", help="take migrations back; prints JSON")
    downgrade.add_argument("revision", help="the newest that stays, or base")
    commands.add_parser("check", help="check settings, database and schema; prints JSON")
    options = parser.parse_args(argv)
    try:
        current = settings.load(os.environ)
    except settings.SettingsError as error:
        print(f"rag-admin: {error}", file=sys.stderr)
        return 2
    functions = {"serve": _serve, "migrate": _migrate, "downgrade": _downgrade, "check": _check}
    return functions[options.command](current, options)


def _serve(current: settings.Settings, _options: argparse.Namespace) -> int:
    from .server import serve

    try:
        serve(current)
    except OSError as error:
        print(f"rag-admin: {error}", file=sys.stderr)
        return 1
    return 0


def _migrate(current: settings.Settings, options: argparse.Namespace) -> int:
    from .migrate import migrate

    return _say(lambda: migrate(current, options.revision, options.phase, options.check))


def _downgrade(current: settings.Settings, options: argparse.Namespace) -> int:
    from .migrate import downgrade

    return _say(lambda: downgrade(current, options.revision))


def _say(work: Callable[[], dict]) -> int:
    from .migrate import MigrationError

    try:
        print(json.dumps(work()))
    except (MigrationError, CredentialsError) as error:
        print(f"rag-admin: {error}", file=sys.stderr)
        return 1
    return 0


def _check(current: settings.Settings, _options: argparse.Namespace) -> int:
    from . import credentials, schema
    from .database import Database, DatabaseUnavailable

    answer: dict = {"version": __version__, "color": current.color, "ok": False}
    try:
        state = schema.compare(
            Database(credentials.source(current), 1).read(schema.current_revision), schema.revisions()
        )
        answer |= {"database": "ok", "schema": state.as_dict(), "ok": state.usable}
    except DatabaseUnavailable as error:
        answer["database"] = str(error)
    print(json.dumps(answer))
    return 0 if answer["ok"] else 1
