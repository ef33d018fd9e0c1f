"""Constants of the lab: what it is called, where it lives, which addresses it uses."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

# Another number makes a second lab beside the first, with addresses, ports and state of its own. Only the tests of the
# lab itself use that, so that they can start and remove one while the developer's own runs.
NUMBER = int(os.environ.get("RAG_ADMIN_LAB_NUMBER", "77"))
_SECOND = "" if NUMBER == 77 else f"-{NUMBER}"

NAME = f"rag-admin-lab{_SECOND}"
ROOT = Path(__file__).resolve().parent.parent

# Run-time state of this checkout's lab: pids, logs, ssh key, TLS CA, journal. Removed by `lab down`.
RUNTIME = ROOT / f".lab{_SECOND}"
PIDS = RUNTIME / "pids"
LOGS = RUNTIME / "logs"
SSH = RUNTIME / "ssh"
SSH_KEY = SSH / "id_ed25519"
SSH_HOST_KEY = SSH / "host_ed25519"
KNOWN_HOSTS = SSH / "known_hosts"
TLS = RUNTIME / "tls"
CA_CERTIFICATE = TLS / "ca.pem"

# Downloads and images, shared by all checkouts of this user. Kept by `lab down`.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rag-admin-lab"

NETWORK = NAME
SUBNET = IPv4Network(f"10.213.{NUMBER}.0/24")
GATEWAY = SUBNET[1]

REGION = "us-west-2"
ACCOUNT = "123456789012"
AWS_PORT = 5000 + NUMBER - 77
AWS_ENDPOINT = f"http://{GATEWAY}:{AWS_PORT}"
# S3 by HTTPS under its real name, which hosts resolve to the gateway: some clients insist on TLS.
S3_HOST = f"s3.{REGION}.amazonaws.com"
# AWS checks health every 5 s at the most often; the lab once a second, so that a demonstration need not wait.
AWS_SETTINGS = {"health_check_scale": 0.2}
AWS_ENVIRONMENT = {
    "AWS_ENDPOINT_URL": AWS_ENDPOINT,
    "AWS_ACCESS_KEY_ID": "lab",
    # Ansible masks it wherever it stands: a part of "available" would spoil the results of RDS.
    "AWS_SECRET_ACCESS_KEY": "lab-secret-access-key",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    # Nothing of the operator's own account may leak into the lab.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# Every process that the lab starts carries this variable with its checkout's RUNTIME, and hands it down to its
# children: how `lab down` recognises what is ours, even when a pid file is lost.
OWNER_VARIABLE = f"RAG_ADMIN_LAB_{NUMBER}_OWNER"

DISTRIBUTIONS = ("bookworm", "trixie")


@dataclass(frozen=True)
class Host:
    """A systemd machine of the lab."""

    name: str
    address: str
    distribution: str


HOSTS = (
    Host("blue-1", str(SUBNET[11]), "bookworm"),
    Host("blue-2", str(SUBNET[12]), "trixie"),
    Host("green-1", str(SUBNET[21]), "bookworm"),
    Host("green-2", str(SUBNET[22]), "trixie"),
    Host("db-1", str(SUBNET[31]), "bookworm"),
    Host("monitor-1", str(SUBNET[41]), "trixie"),
)
# Hosts that tests ask for get an address of this range.
EXTRA_ADDRESSES = tuple(str(SUBNET[n]) for n in range(100, 200))
# Each RDS instance gets one of these, all of them on the RDS host.
RDS_ADDRESSES = tuple(str(SUBNET[n]) for n in range(200, 224))
RDS_HOST = "rds"

APPLICATION = "rag-admin"
LOAD_BALANCER_BLOCK = 1
LISTENER_PORT = 8443
RELEASES_BUCKET = "techcorp-rag-admin-releases"
ROLLOUTS_BUCKET = "techcorp-rag-admin-rollouts"
BACKUPS_BUCKET = "techcorp-db-backups"
DATABASE_PASSWORD = RUNTIME / "database-password"
DATABASE_SECRET = "rag-admin/database"


def node_addresses(block: int) -> tuple[str, str]:
    """Return the loopback addresses of a load balancer's two nodes; block is 1 to 254."""
    return f"127.{NUMBER}.{block}.1", f"127.{NUMBER}.{block}.2"


def environment() -> dict[str, str]:
    """Return the variables in which AWS's tools and Ansible talk to the lab."""
    return {**AWS_ENVIRONMENT, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}


def ansible(command: str) -> str:
    """Return the path of one of Ansible's commands, beside the interpreter that runs the lab."""
    return str(Path(sys.executable).parent / command)
