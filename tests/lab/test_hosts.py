"""The lab as a whole: it starts, survives being killed, is taken over, listens nowhere else, and leaves nothing.

These tests start a second lab beside the developer's own, with another number.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import processes, settings
from lab.hosts import image

NUMBER = "78"
NAME = f"rag-admin-lab-{NUMBER}"
OWNER = f"RAG_ADMIN_LAB_{NUMBER}_OWNER="
SUBNET = ipaddress.ip_network(f"10.213.{NUMBER}.0/24")
STATE = settings.ROOT / f".lab-{NUMBER}"


def lab(*arguments: str, checkout: Path = settings.ROOT, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the lab's command with the second lab's number."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=checkout,
        env={**os.environ, "RAG_ADMIN_LAB_NUMBER": NUMBER},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def containers(label: str = NAME) -> list[dict]:
    """Describe all containers of a lab."""
    command = ["podman", "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if not found:
        return []
    command = ["podman", "container", "inspect", *found]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def started() -> set[int]:
    """Return the pids of all processes of the second lab, whichever checkout started them."""
    pids = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"\0{OWNER}".encode() in b"\0" + (entry / "environ").read_bytes():
                pids.add(int(entry.name))
        except OSError:
            continue
    return {pid for pid in pids if processes.start_time(pid)}


def identity() -> tuple:
    """What changes when anything of the lab is started anew."""
    return sorted((container["Id"], container["State"]["Pid"]) for container in containers()), sorted(started())


def ssh(address: str, command: str, state: Path = STATE) -> str:
    """Run a command on a host."""
    options = [
        "-i",
        state / "ssh/id_ed25519",
        "-o",
        f"UserKnownHostsFile={state}/ssh/known_hosts",
        "-o",
        "BatchMode=yes",
    ]
    done = subprocess.run(
        ["ssh", *map(str, options), f"root@{address}", command], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kill_everything() -> None:
    """Do what a machine does that ends a session: SIGKILL for all, in no order."""
    pids = [container["State"][key] for container in containers() for key in ("Pid", "ConmonPid")]
    for pid in {*pids, *started()}:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def _running() -> Iterator[None]:
    lab("down")
    try:
        lab("up")
        yield
    finally:
        lab("down")


@pytest.fixture
def other_checkout(tmp_path: Path) -> Iterator[Path]:
    """Another clone of the project."""
    shutil.copytree(settings.ROOT / "lab", tmp_path / "clone" / "lab")
    yield tmp_path / "clone"
    lab("down", checkout=tmp_path / "clone")
    lab("up")


pytestmark = pytest.mark.lab


def test_up_again_changes_nothing() -> None:
    before = identity()
    begun = time.monotonic()
    lab("up")
    assert identity() == before
    assert time.monotonic() - begun < 10
    assert len(before[0]) == len(settings.HOSTS)


def test_status_says_what_is_down() -> None:
    assert "DOWN" not in lab("status").stdout
    lab("host", "kill", "green-1")
    assert "DOWN" in next(line for line in lab("status", expect=1).stdout.splitlines() if "green-1" in line)
    lab("host", "start", "green-1")
    assert "DOWN" not in lab("status").stdout


@pytest.mark.parametrize(("distribution", "version"), [("bookworm", "12"), ("trixie", "13")])
def test_a_host_is_up_in_seconds(distribution: str, version: str) -> None:
    name = f"extra-{version}"
    try:
        begun = time.monotonic()
        address = lab("host", "up", name, "--distribution", distribution).stdout.split()[1]
        assert time.monotonic() - begun < 20
        assert ssh(address, ". /etc/os-release; echo $VERSION_ID").strip() == version
        assert ssh(address, "systemctl is-system-running --wait").strip() == "running"
        assert ssh(address, "getent hosts db-1").split()[0] == str(SUBNET[31])
        # The package lists are in the image: an install needs no update first.
        assert "Inst postgresql" in ssh(address, "apt-get install --simulate postgresql")
    finally:
        lab("host", "down", name)
    assert name not in lab("host", "list").stdout


def test_a_host_can_be_cut_off_and_put_back() -> None:
    lab("host", "cut", "blue-1")
    assert "DOWN" in next(line for line in lab("status", expect=1).stdout.splitlines() if "blue-1" in line)
    lab("host", "join", "blue-1")
    assert ssh(str(SUBNET[11]), "hostname").strip() == "blue-1"


def test_listens_on_loopback_and_its_own_network_only() -> None:
    rows = subprocess.run(["ss", "-Hlntup"], check=True, capture_output=True, text=True).stdout.splitlines()
    ours = started()
    seen = set()
    for row in rows:
        pids = {int(part.split(",")[0]) for part in row.split("pid=")[1:]}
        address = ipaddress.ip_address(
            row.split()[4].rpartition(":")[0].partition("%")[0].strip("[]").replace("*", "::")
        )
        if pids & ours or address in SUBNET:
            assert address.is_loopback or address in SUBNET, row
            seen.add(str(address))
    assert {str(SUBNET[1]), f"127.{NUMBER}.1.1", f"127.{NUMBER}.1.2"} <= seen


def test_comes_back_after_a_kill() -> None:
    victims = {container["Config"]["Hostname"]: container["State"] for container in containers()}
    os.kill(victims["blue-1"]["ConmonPid"], signal.SIGKILL)
    os.kill(victims["green-1"]["Pid"], signal.SIGKILL)
    os.kill(victims["db-1"]["ConmonPid"], signal.SIGKILL)
    os.kill(victims["db-1"]["Pid"], signal.SIGKILL)
    os.kill(json.loads((STATE / "pids/aws.json").read_text())["pid"], signal.SIGKILL)
    lab("up")
    assert "DOWN" not in lab("status").stdout
    kill_everything()
    lab("up")
    assert "DOWN" not in lab("status").stdout


def test_another_checkout_takes_over_only_what_is_dead(other_checkout: Path) -> None:
    before = identity()
    refused = lab("up", checkout=other_checkout, expect=1).stderr
    assert f"the lab of {settings.ROOT} is running" in refused
    assert "lab-down" in refused
    assert identity() == before
    kill_everything()
    assert f"lab of {settings.ROOT}" in lab("up", checkout=other_checkout).stderr
    assert ssh(str(SUBNET[11]), "hostname", other_checkout / STATE.name).strip() == "blue-1"


def test_down_leaves_nothing_and_touches_nothing_else() -> None:
    others = {container["Id"] for container in containers("rag-admin-lab")}
    try:
        lab("down")
        assert containers() == []
        assert started() == set()
        assert not STATE.exists()
        networks = subprocess.run(["podman", "network", "ls", "-q"], check=True, capture_output=True, text=True).stdout
        assert NAME not in networks.split()
        assert (
            str(SUBNET[1]) not in subprocess.run(["ip", "address"], check=True, capture_output=True, text=True).stdout
        )
        # Hosts of the first lab may have come meanwhile, none may have gone by our doing.
        assert others <= {container["Id"] for container in containers("rag-admin-lab")} or not others
        lab("down")
    finally:
        lab("up")


def test_a_pid_that_belongs_to_something_else_now_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PIDS", tmp_path)
    record = {"pid": os.getpid(), "start_time": processes.start_time(os.getpid()), "boot_id": processes.boot_id()}
    for change, expected in (({}, os.getpid()), ({"start_time": "1"}, None), ({"boot_id": "earlier"}, None)):
        (tmp_path / "aws.json").write_text(json.dumps(record | change))
        assert processes.running("aws") == expected


def test_sources_name_the_security_archive_beside_the_mirror() -> None:
    text = image.sources("trixie", "http://mirror.example/debian")
    assert "http://mirror.example/debian trixie main" in text
    assert "http://mirror.example/debian-security trixie-security main" in text
