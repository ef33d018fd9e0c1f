"""The host on which the lab's RDS instances really are: made ready over SSH, asked over HTTP."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lab import settings
from lab.rds.agent import PORT

PATIENCE = 300
ANSWERS_WITHIN = 20.0
UNIT = """[Unit]
Description=PostgreSQL clusters of the lab's RDS
After=network.target

[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/lab-rds-agent.py
# The clusters outlive the agent; its next start leaves running ones alone.
KillMode=process

[Install]
WantedBy=multi-user.target
"""
# The agent comes on standard input. Debian's own cluster is not wanted.
SCRIPT = """set -eu
cat > /usr/local/lib/lab-rds-agent.py
if ! ls /usr/lib/postgresql/*/bin/postgres > /dev/null 2>&1; then
    install -d /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/lab.conf
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq install --no-install-recommends -y postgresql ssl-cert gzip iproute2 > /dev/null
fi
printf '%s' {unit} > /etc/systemd/system/lab-rds.service
systemctl daemon-reload
systemctl enable --quiet lab-rds
systemctl restart lab-rds
"""


class Host:
    """What runs the clusters: `host(action, **arguments)` does what lab.rds.agent says, and raises RuntimeError."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.majors: list[str] = []

    def begin(self) -> None:
        """Delete what an earlier account left, and see which versions there are."""
        self("reset")
        self.majors = self("versions")["majors"]

    def __call__(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Run an action."""
        request = urllib.request.Request(
            f"http://{self.address}:{PORT}/{action}", method="POST", data=json.dumps(arguments).encode()
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["error"]) from error
        except OSError as error:
            raise RuntimeError(f"the RDS host {self.address} does not answer: {error}") from error


def prepare(address: str, pid: int) -> None:
    """Install PostgreSQL and the agent on a host of the lab, and give it an address for each instance.

    pid: the host's init. Addresses are gone when the host is started anew; then call this again.
    """
    for extra in settings.RDS_ADDRESSES:
        # A host may not do that itself. One that it has already is refused, which is well.
        add = ["nsenter", "--target", str(pid), "--net", "ip", "address", "add", f"{extra}/24", "dev", "eth0"]
        subprocess.run(add, check=False, capture_output=True)
    command = ["ssh", "-i", str(settings.SSH_KEY), "-o", f"UserKnownHostsFile={settings.KNOWN_HOSTS}"]
    command += ["-o", "BatchMode=yes", f"root@{address}", SCRIPT.replace("{unit}", shlex.quote(UNIT))]
    agent = (Path(__file__).parent / "agent.py").read_text()
    done = subprocess.run(command, check=False, input=agent, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the RDS host {address} could not be made ready: {done.stderr.strip()}")
    deadline = time.monotonic() + ANSWERS_WITHIN
    while True:
        try:
            Host(address)("versions")
            return
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)
