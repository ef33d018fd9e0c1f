"""Write the settings of a real PostgreSQL server to a catalogue, which the tests of units and plans read.

The words are a command that runs psql as its superuser on the server:

    python tests/postgresql_catalogue.py ssh HOST sudo -u postgres psql
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

CATALOGUES = Path(__file__).parent / "unit" / "plugins" / "module_utils" / "postgresql"
COLUMNS = ("vartype", "unit", "context", "min_val", "max_val", "enumvals", "boot_val", "category", "short_desc")
QUERY = f"""SELECT json_build_object('version', current_setting('server_version'), 'settings',
    (SELECT json_object_agg(name, row_to_json(s)) FROM (SELECT name, {", ".join(COLUMNS)} FROM pg_settings
     WHERE context <> 'internal' AND name !~ '[.]' ORDER BY name) s))"""  # noqa: S608 - of constants


def main(psql: list[str]) -> None:
    """Ask the server and write its catalogue."""
    # ssh hands one line to a shell.
    query = shlex.quote(QUERY) if psql[0] == "ssh" else QUERY
    answer = subprocess.run([*psql, "-XAtqc", query], check=True, capture_output=True, text=True).stdout
    found = json.loads(answer)
    for setting in found["settings"].values():
        del setting["name"]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(setting)}" for name, setting in found["settings"].items())
    path = CATALOGUES / f"catalogue-{found['version'].split('.')[0]}.json"
    path.write_text(f'{{"version": {json.dumps(found["version"])}, "settings": {{\n{lines}\n}}}}\n')
    print(f"{path}: {len(found['settings'])} settings of PostgreSQL {found['version']}")


if __name__ == "__main__":
    main(sys.argv[1:])
