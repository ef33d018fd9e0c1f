"""Real PostgreSQL servers, on hosts of both distributions of Debian, with the module run on them as Ansible runs it."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
from contract import tree

from lab import settings

VERSIONS = {15: "bookworm", 17: "trixie"}
MODULE = "ansible_collections.techcorp.rag_admin.plugins.modules.postgresql_settings"


class Host:
    """A machine with a PostgreSQL server, and clusters of it."""

    def __init__(self, version: int, address: str, control: Path):
        self.version = version
        self.ssh = ["ssh", "-i", str(settings.SSH_KEY), "-o", f"UserKnownHostsFile={settings.KNOWN_HOSTS}"]
        self.ssh += ["-o", "BatchMode=yes", "-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        self.ssh += ["-o", f"ControlPath={control / str(version)}", f"root@{address}"]

    def run(self, command: str, given: bytes = b"", expect: int | None = 0) -> str:
        """Run a command as root and return what it writes."""
        done = subprocess.run([*self.ssh, command], input=given, capture_output=True, timeout=200)
        assert expect is None or done.returncode == expect, (done.stdout + done.stderr).decode()
        return done.stdout.decode()

    def set_up(self) -> None:
        """Install the server, and the collection as Ansible would bring it."""
        self.run(
            f"dpkg -s postgresql-{self.version} python3-psycopg2 >/dev/null 2>&1 || DEBIAN_FRONTEND=noninteractive"
            f" apt-get install -y --no-install-recommends postgresql-{self.version} python3-psycopg2"
        )
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(Path(ansible.module_utils.__file__).parent, "ansible/module_utils")
            archive.add(tree.ROOT / "plugins", "ansible_collections/techcorp/rag_admin/plugins")
        self.run(
            "rm -rf /opt/modules && mkdir /opt/modules && cd /opt/modules && tar x && touch ansible/__init__.py &&"
            " chmod -R a+rX .",
            packed.getvalue(),
        )
        # The part of Ansible that modules need besides their utilities.
        self.run("cat > /opt/modules/ansible/release.py", b"__version__ = '2'\n__author__ = __codename__ = ''\n")


class Cluster:
    """One cluster of a host."""

    def __init__(self, host: Host, name: str):
        self.host, self.name = host, name
        self.folder = f"/etc/postgresql/{host.version}/{name}"
        self.path = f"{self.folder}/conf.d/10-ansible.conf"
        self.log = f"/var/log/postgresql/postgresql-{host.version}-{name}.log"
        self.data = f"/var/lib/postgresql/{host.version}/{name}"
        # psql itself: Debian's wrapper takes longer than the query.
        port = host.run(f"grep -oP '^port = \\K[0-9]+' {self.folder}/postgresql.conf").strip()
        psql = f"/usr/lib/postgresql/{host.version}/bin/psql -h /var/run/postgresql -p {port} -XAtqc"
        self.psql = f"cd / && runuser -u postgres -- {psql}"

    def control(self, action: str) -> None:
        """Start, stop or restart it."""
        self.host.run(f"pg_ctlcluster {self.host.version} {self.name} {action}")

    def sql(self, query: str) -> str:
        """Ask the server, as its superuser."""
        return self.host.run(f"{self.psql} {shlex.quote(query)}").strip()

    def show(self, name: str) -> str:
        """A setting as it runs."""
        return self.sql(f"SHOW {name}")

    def file(self) -> str:
        """What the module's file says, without comments; nothing when there is none."""
        text = self.host.run(f"cat {self.path} 2>/dev/null", expect=None)
        return "".join(line for line in text.splitlines(True) if not line.startswith("#"))

    def module(self, definition: dict[str, Any], check: bool = False) -> dict[str, Any]:
        """Run the module."""
        options = {"path": self.path, "settings": definition, "_ansible_check_mode": check, "_ansible_diff": True}
        command = f"cd / && PYTHONPATH=/opt/modules runuser -u postgres -- /usr/bin/python3 -m {MODULE}"
        shown = self.host.run(command, json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode(), expect=None)
        assert shown.lstrip().startswith("{"), shown
        result = json.loads(shown)
        documented = tree.documentation(tree.module("postgresql_settings"))["RETURN"].keys() | tree.COMMON_RETURN
        assert result.keys() <= documented
        return result

    def apply(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Run the module; check mode must predict it, and a second run find nothing to do."""
        before = self.state()
        predicted = self.module(definition, check=True)
        assert self.state() == before
        result = self.module(definition)
        assert predicted == result
        assert not result.get("failed"), result
        again = self.module(definition)
        assert not again["changed"], again
        assert again["pending_restart"] == result["pending_restart"]
        return result

    def refuse(self, definition: dict[str, Any]) -> str:
        """Run the module, which must refuse and change nothing; return what it says."""
        before = self.state()
        predicted = self.module(definition, check=True)
        result = self.module(definition)
        assert predicted == result
        assert result["failed"], result
        assert self.state() == before
        return result["msg"]

    def state(self) -> str:
        """What a run may change: the file, and when the server, if it runs, last read its files."""
        load_time = f"{self.psql} 'SELECT pg_conf_load_time()'"
        return self.host.run(f"cat {self.path}; test ! -e {self.data}/postmaster.pid || ({load_time})", expect=None)

    def reset(self) -> None:
        """Make it as it was when it was new."""
        self.host.run(
            f"pg_ctlcluster {self.host.version} {self.name} stop -m immediate;"
            f" cp /opt/postgresql.conf {self.folder}/ &&"
            f" rm -f {self.folder}/conf.d/* {self.folder}/conf.d/.1* &&"
            f" truncate -s 0 {self.data}/postgresql.auto.conf {self.log} &&"
            f" pg_ctlcluster {self.host.version} {self.name} start",
            expect=None,
        )

    def pending(self) -> dict[str, str]:
        """What the server itself says waits for a restart, with what runs."""
        found = self.sql("SELECT coalesce(json_object_agg(name, setting), '{}') FROM pg_settings WHERE pending_restart")
        return json.loads(found)


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Host]]:
    """A host for each version."""
    names = {version: f"settings-{version}" for version in VERSIONS}
    lab = [sys.executable, "-m", "lab", "host"]
    sockets = tmp_path_factory.mktemp("ssh")

    def start(version: int) -> Host:
        command = [*lab, "up", names[version], "--distribution", VERSIONS[version]]
        done = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        host = Host(version, done.stdout.split()[1], sockets)
        host.set_up()
        return host

    try:
        with ThreadPoolExecutor() as pool:
            yield dict(zip(VERSIONS, pool.map(start, VERSIONS), strict=True))
    finally:
        subprocess.run([*lab, "down", *names.values()], cwd=tree.ROOT, capture_output=True, timeout=100)


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"PostgreSQL {version}")
def host(request: pytest.FixtureRequest, hosts: dict[int, Host]) -> Host:
    """Each of them in turn."""
    return hosts[request.param]


@pytest.fixture(scope="session")
def only_cluster(host: Host) -> Cluster:
    """A cluster beside Debian's own one."""
    name = "tried"
    host.run(
        f"test -e /etc/postgresql/{host.version}/{name} ||"
        f" pg_createcluster {host.version} {name} -- --no-sync --locale=C.UTF-8;"
        f" cp -p /etc/postgresql/{host.version}/{name}/postgresql.conf /opt/"
    )
    return Cluster(host, name)


@pytest.fixture
def cluster(only_cluster: Cluster) -> Cluster:
    """It as new, and running."""
    only_cluster.reset()
    return only_cluster
