"""The hosts themselves: started, found, cut off and removed through podman."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lab import processes, settings
from lab.hosts import image
from lab.settings import Host

LABEL = settings.NAME
OWNER_LABEL = f"{LABEL}.owner"
SPEC_LABEL = f"{LABEL}.spec"
ADDRESS_LABEL = f"{LABEL}.address"
DISTRIBUTION_LABEL = f"{LABEL}.distribution"
HOST_LABEL = f"{LABEL}.host"
LISTS_FRESH_SECONDS = 24 * 3600


def podman(*arguments: str, check: bool = True) -> str:
    """Run podman and return what it prints; raises RuntimeError with podman's own words."""
    configuration = settings.CACHE / "containers.conf"
    if not configuration.exists():
        configuration.parent.mkdir(parents=True, exist_ok=True)
        # podman's default limits are above what a container without CAP_SYS_RESOURCE may set.
        configuration.write_text("[containers]\ndefault_ulimits = []\n")
    done = subprocess.run(
        # crun refuses hybrid cgroups; runc runs everywhere.
        ["podman", "--runtime", "runc", *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "CONTAINERS_CONF": str(configuration)},
    )
    if check and done.returncode:
        raise RuntimeError(f"podman {' '.join(arguments[:2])} failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout


def containers() -> list[dict]:
    """Return podman's own description of each container of any lab."""
    identifiers = podman("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}").split()
    if not identifiers:
        return []
    # A container may vanish between the two calls; the others are still described.
    return json.loads(podman("container", "inspect", *identifiers, check=False) or "[]")


def labels(container: dict) -> dict[str, str]:
    """Return a container's labels."""
    return container["Config"]["Labels"] or {}


def is_ours(container: dict) -> bool:
    """Tell whether this checkout's lab made a container."""
    return labels(container).get(OWNER_LABEL) == str(settings.RUNTIME)


def is_alive(container: dict) -> bool:
    """Tell whether a container's init and its conmon run; podman's word alone is stale after a SIGKILL."""
    state = container["State"]
    return bool(state.get("Running")) and _runs(state.get("Pid"), "systemd") and _runs(state.get("ConmonPid"), "conmon")


def _runs(pid: int | None, program: str) -> bool:
    try:
        # A zombie keeps its name, a reused pid does not.
        return bool(pid and processes.start_time(pid)) and program in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False


def remove(found: list[dict]) -> None:
    """Remove containers whatever state they are in, keeping what their apt has downloaded."""
    for container in found:
        for pid in (container["State"].get("Pid"), container["State"].get("ConmonPid")):
            # podman waits for a conmon that is gone; init first, then nothing is left to wait for.
            if pid and (_runs(pid, "systemd") or _runs(pid, "conmon")):
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
    still = {container["Id"] for container in found}
    for _attempt in range(4):
        if not still:
            break
        # With its conmon gone a container is first only marked as stopping; the next attempt removes it.
        podman("rm", "--force", "--time", "0", "--volumes", *still, check=False)
        still &= {container["Id"] for container in containers()}
    if still:
        raise RuntimeError(f"podman could not remove {', '.join(sorted(still))}: see `podman ps -a`")
    for container in found:
        name, owner, distribution = (labels(container)[key] for key in (HOST_LABEL, OWNER_LABEL, DISTRIBUTION_LABEL))
        _keep_downloads(distribution, _archives(name, owner, distribution))


def ensure_network() -> None:
    """Make the network; a half-made one, or one with another subnet, is made anew."""
    with image.locked(settings.NETWORK):
        if _network_is_good():
            return
        podman("network", "rm", "--force", settings.NETWORK, check=False)
        _delete_bridge()
        podman(
            "network", "create", "--driver", "bridge", "--subnet", str(settings.SUBNET), "--gateway",
            str(settings.GATEWAY), "--label", LABEL, settings.NETWORK,
        )  # fmt: skip


def _delete_bridge() -> None:
    """Delete the bridge that netavark leaves behind when its containers were killed, recognised by our address."""
    output = subprocess.run(["ip", "-json", "address"], check=True, capture_output=True, text=True).stdout
    for link in json.loads(output):
        if any(address.get("local") == str(settings.GATEWAY) for address in link.get("addr_info", [])):
            subprocess.run(["ip", "link", "delete", link["ifname"]], check=False, capture_output=True)


def _network_is_good() -> bool:
    try:
        found = json.loads(podman("network", "inspect", settings.NETWORK, check=False))[0]
    except (ValueError, IndexError):
        return False
    subnets = found.get("subnets") or [{}]
    return subnets[0].get("subnet") == str(settings.SUBNET) and subnets[0].get("gateway") == str(settings.GATEWAY)


def remove_network() -> None:
    """Remove the network unless another lab's containers use it."""
    if not containers():
        podman("network", "rm", "--force", settings.NETWORK, check=False)
        _delete_bridge()


def ensure_keys() -> None:
    """Make the key that opens the hosts, and the one key by which all of them are known."""
    settings.SSH.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (settings.SSH_KEY, settings.SSH_HOST_KEY):
        if not (path.exists() and path.with_suffix(".pub").exists()):
            path.unlink(missing_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", settings.NAME, "-f", str(path)]
            subprocess.run(command, check=True, capture_output=True)
    public = settings.SSH_HOST_KEY.with_suffix(".pub").read_text().split()
    prefix = str(settings.SUBNET.network_address).rpartition(".")[0]
    settings.KNOWN_HOSTS.write_text(f"{prefix}.* {public[0]} {public[1]}\n")


def free_address() -> str:
    """Return an address of EXTRA_ADDRESSES that no container has; raises RuntimeError when all are taken."""
    taken = {labels(container).get(ADDRESS_LABEL) for container in containers()}
    for address in settings.EXTRA_ADDRESSES:
        if address not in taken:
            return address
    raise RuntimeError("all addresses for extra hosts are taken: see `python -m lab host list`")


def up(host: Host, known: list[dict], log: Callable[[str, float], None]) -> bool:
    """Start a host and wait until its sshd answers; return whether it had to be made.

    known: what `containers` returned a moment ago.
    """
    reference = image.reference(host.distribution)
    arguments = _run_arguments(host, reference)
    parts = [*arguments, settings.SSH_KEY.read_text(), settings.SSH_HOST_KEY.read_text()]
    spec = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    in_the_way = []
    for container in known:
        about = labels(container)
        if is_ours(container) and about.get(HOST_LABEL) == host.name:
            if is_alive(container) and about.get(SPEC_LABEL) == spec and answers(host.address):
                return False
            in_the_way.append(container)
        elif about.get(ADDRESS_LABEL) == host.address:
            in_the_way.append(container)
    remove(in_the_way)
    image.ensure(host.distribution, log)
    started = time.monotonic()
    _offer_downloads(host)
    podman("run", "--detach", "--label", f"{SPEC_LABEL}={spec}", *arguments)
    wait_for_ssh(host)
    _freshen(host, reference)
    log(f"host {host.name}, Debian {host.distribution}", time.monotonic() - started)
    return True


def _run_arguments(host: Host, reference: str) -> list[str]:
    public = settings.SSH_KEY.with_suffix(".pub")
    host_key = settings.SSH_HOST_KEY
    archives = _archives(host.name, str(settings.RUNTIME), host.distribution)
    about = {
        LABEL: "host",
        OWNER_LABEL: str(settings.RUNTIME),
        HOST_LABEL: host.name,
        ADDRESS_LABEL: host.address,
        DISTRIBUTION_LABEL: host.distribution,
    }
    return [
        *[argument for key, value in about.items() for argument in ("--label", f"{key}={value}")],
        "--name", f"{settings.NAME}-{host.name}", "--hostname", host.name,
        "--network", settings.NETWORK, "--network-alias", host.name, "--ip", host.address,
        "--mac-address", mac(host.address),
        "--add-host", f"{settings.S3_HOST}:{settings.GATEWAY}",
        "--systemd=always", "--cap-add", "SYS_ADMIN", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768",
        "--volume", f"{public}:/root/.ssh/authorized_keys:ro",
        "--volume", f"{host_key}:/etc/ssh/ssh_host_ed25519_key:ro",
        "--volume", f"{archives}:/var/cache/apt/archives",
        # systemd hands credentials (LoadCredential=) to services over a mount that must propagate, as on a real host.
        reference, "/bin/sh", "-c", "mount --make-rshared / && exec /sbin/init",
    ]  # fmt: skip


def mac(address: str) -> str:
    """The hardware address that goes with an address: neighbours remember it for half a minute after a host is gone."""
    return "0a:58:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def answers(address: str, timeout: float = 1.0) -> bool:
    """Tell whether an sshd greets at an address."""
    try:
        with socket.create_connection((address, 22), timeout=timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_for_ssh(host: Host, timeout: float = 60) -> None:
    """Wait until a host's sshd greets; raises RuntimeError with the end of the host's journal."""
    deadline = time.monotonic() + timeout
    while not answers(host.address):
        if time.monotonic() > deadline:
            name = f"{settings.NAME}-{host.name}"
            journal = podman("exec", name, "journalctl", "--no-pager", "-n", "20", check=False)
            raise RuntimeError(f"{host.name} ({host.address}) did not answer SSH within {timeout:.0f} s:\n{journal}")
        time.sleep(0.05)


def _freshen(host: Host, reference: str) -> None:
    """Update the package lists when those in the image have aged, so that no install meets a package that is gone."""
    created = podman("image", "inspect", "--format", "{{.Created.Unix}}", reference, check=False).strip()
    if created and datetime.now(UTC).timestamp() - int(created) > LISTS_FRESH_SECONDS:
        podman("exec", f"{settings.NAME}-{host.name}", "apt-get", "-qq", "update", check=False)


def down(names: list[str]) -> list[str]:
    """Remove these hosts of this checkout's lab; return the names of those that were there."""
    found = [container for container in containers() if is_ours(container) and labels(container)[HOST_LABEL] in names]
    remove(found)
    return [labels(container)[HOST_LABEL] for container in found]


def running() -> list[Host]:
    """Return this lab's hosts that are alive."""
    return [
        Host(labels(container)[HOST_LABEL], labels(container)[ADDRESS_LABEL], labels(container)[DISTRIBUTION_LABEL])
        for container in containers()
        if is_ours(container) and is_alive(container)
    ]


# apt's downloads. Hosts must not share one directory (apt locks it), so each host has its own, filled from a common
# store by hard links and emptied into it at the end.


def _store(distribution: str) -> Path:
    return settings.CACHE / "apt" / distribution


def _archives(name: str, owner: str, distribution: str) -> Path:
    return settings.CACHE / "apt" / "hosts" / f"{hashlib.sha256(owner.encode()).hexdigest()[:8]}-{name}-{distribution}"


def _offer_downloads(host: Host) -> None:
    store = _store(host.distribution)
    archives = _archives(host.name, str(settings.RUNTIME), host.distribution)
    _keep_downloads(host.distribution, archives)
    store.mkdir(parents=True, exist_ok=True)
    archives.mkdir(parents=True, exist_ok=True)
    for package in store.glob("*.deb"):
        with suppress(FileExistsError):
            os.link(package, archives / package.name)


def _keep_downloads(distribution: str, archives: Path) -> None:
    """Move a host's finished downloads to the store; a download under way lies in a folder of its own."""
    store = _store(distribution)
    store.mkdir(parents=True, exist_ok=True)
    for package in archives.glob("*.deb"):
        with suppress(FileExistsError):
            os.link(package, store / package.name)
    shutil.rmtree(archives, ignore_errors=True)
