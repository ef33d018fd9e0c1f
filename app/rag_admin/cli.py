"""bin/rag-admin: serve, migrate, check."""

from __future__ import annotations

import argparse
import json
import os
import sys

from . import __version__, settings
from .credentials import CredentialsError


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit codes: 0 fine, 1 it did not work, 2 the settings are wrong."""
    parser = argparse.ArgumentParser(prog="rag-admin", description="Settings come from APP_… variables; see README.md.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve HTTP until SIGTERM")
    commands.add_parser("migrate", help="bring the database's schema to this version; prints JSON")
    commands.add_parser("check", help="check settings, database and schema; prints JSON")
    command = parser.parse_args(argv).command
    try:
        current = settings.load(os.environ)
    except settings.SettingsError as error:
        print(f"rag-admin: {error}", file=sys.stderr)
        return 2
    return {"serve": _serve, "migrate": _migrate, "check": _check}[command](current)


def _serve(current: settings.Settings) -> int:
    from .server import serve

    try:
        serve(current)
    except OSError as error:
        print(f"rag-admin: {error}", file=sys.stderr)
        return 1
    return 0


def _migrate(current: settings.Settings) -> int:
    from .migrate import MigrationError, migrate

    try:
        print(json.dumps(migrate(current)))
    except (MigrationError, CredentialsError) as error:
        print(f"rag-admin: {error}", file=sys.stderr)
        return 1
    return 0


def _check(current: settings.Settings) -> int:
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
