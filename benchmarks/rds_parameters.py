"""Do hosts and RDS get the same values from one definition, and in how few calls?

    python -m benchmarks.rds_parameters [--cases 100000] [--seed 1]

Cases are drawn over every setting that RDS offers for PostgreSQL 15 and 17: what the host's rendering and RDS's come to
is read by tables of the benchmark's own. The calls are counted in the journal of an AWS server that is started for it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab import settings
from lab.aws.control import Control

sys.path.append(str(settings.ROOT / ".ansible" / "collections"))  # where this checkout is a collection

from benchmarks.support import BenchmarkError, Figure, say, show
from tests.integration.rds.definitions import SIXTY
from tests.rds_cases import SETTINGS, case, mismatch

COLLECTIONS = settings.ROOT / ".ansible" / "collections"
MODULE = "ansible_collections.techcorp.rag_admin.plugins.modules.rds_parameters"
GROUP = {"name": "bench", "family": "postgres15", "settings": SIXTY, "purge": True}


def units(count: int, seed: int) -> list[Figure]:
    """Compare both renderings of that many values."""
    say(f"{count} values of {sum(map(len, SETTINGS.values()))} settings")
    chance, met, wrong = random.Random(seed), set(), []
    for _number in range(count):
        family, name, value = case(chance)
        met.add((family, name))
        if found := mismatch(family, name, value):
            wrong.append(found)
    for found in wrong[:10]:
        say(found)
    return [
        Figure("cases", count),
        Figure("settings met, postgres15 and postgres17", f"{len(met)} of {sum(map(len, SETTINGS.values()))}"),
        Figure.equal("mismatches between host and RDS", len(wrong), 0),
    ]


def calls() -> list[Figure]:
    """Write 60 settings, write them again, and with one bad one among them."""
    with server() as endpoint:
        control = Control(endpoint)
        figures = []
        first, seconds = run(endpoint, GROUP)
        figures.append(Figure.at_most("ModifyDBParameterGroup for 60 settings", modified(control), 3))
        figures.append(Figure("seconds, the module's start included", f"{seconds:.2f}"))
        figures.append(Figure.equal("settings written", len(first["changes"]), len(SIXTY)))
        control.mark()
        again, seconds = run(endpoint, GROUP)
        figures.append(Figure.equal("calls that change something, second run", mutations(control), 0))
        figures.append(Figure.equal("changed, second run", again["changed"], False))
        figures.append(Figure("seconds, second run", f"{seconds:.2f}"))
        for bad in ({"work_mem": 65536}, {"shared_bufers": "16GB"}, {"max_connections": 300000}, {"fsync": "off"}):
            changed = {**SIXTY, "statement_timeout": "1min", **bad}
            refused, _seconds = run(endpoint, {**GROUP, "settings": changed})
            named = [each["name"] for each in refused.get("refused", [])] == list(bad)
            good = named and not mutations(control)
            figures.append(Figure(f"refused, nothing changed: {bad}", good, "= True", good))
        return figures


def modified(control: Control) -> int:
    return len(control.journal(service="rds", action="ModifyDBParameterGroup"))


def mutations(control: Control) -> int:
    return len(control.journal(service="rds", mutating=True))


def run(endpoint: str, options: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Run the module as Ansible runs it on a host; return its result and its seconds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    packages = [str(path) for path in sorted(settings.ROOT.glob(".venv/lib/python3*/site-packages"))]
    environment |= settings.AWS_ENVIRONMENT
    environment |= {"AWS_ENDPOINT_URL": endpoint, "PYTHONPATH": os.pathsep.join([str(COLLECTIONS), *packages])}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        cwd=settings.ROOT,
        env=environment,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began
    try:
        return json.loads(done.stdout), seconds
    except ValueError as error:
        raise BenchmarkError(done.stdout + done.stderr) from error


@contextmanager
def server() -> Iterator[str]:
    """Have an AWS server of one's own while the block runs."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "lab.aws", "--port=0", "--data-plane=none", f"--state-dir={state}"]
        with subprocess.Popen(command, cwd=settings.ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stdout or []:
                    if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                        yield found[0]
                        return
                raise BenchmarkError("the AWS server did not start")
            finally:
                process.terminate()


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return show("one definition on hosts and on RDS", units(options.cases, options.seed) + calls())


if __name__ == "__main__":
    sys.exit(main())
