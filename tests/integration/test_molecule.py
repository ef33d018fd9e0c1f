"""Every scenario of molecule/: check mode on a bare host, converge, idempotence, what can go wrong, verify."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SCENARIOS = sorted(path.parent.name for path in CHECKOUT.glob("molecule/*/molecule.yml"))
DECORATION = re.compile(r"\x1b\[[0-9;]*m|^ *│ ?", re.MULTILINE)


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str):
    tools = Path(sys.executable).parent
    # ANSIBLE_… of the tests' own runs would win over molecule's configuration.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [tools / "molecule", "test", "--scenario-name", scenario],
        cwd=CHECKOUT,
        env=environment | {"PATH": f"{tools}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, "\n".join(DECORATION.sub("", done.stdout).splitlines()[-120:])
