"""Images of the hosts: mmdebstrap makes a root file system, cached as a file and as a podman image."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import settings

PACKAGES = (
    "ca-certificates,dbus,iproute2,logrotate,openssh-server,procps,python3,python3-apt,python3-venv,"
    "sudo,systemd,systemd-sysv"
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Settings of the builder's apt that say how its mirror is reached; the hosts reach the same one.
APT_OPTIONS = re.compile(r"Acquire::(Check-Valid-Until|Check-Date|Retries|https?|ForceIPv4)\b", re.I)
DEBIAN_ADDRESS = re.compile(r"\bhttps?://[^\s\]]+?/debian(?=[/\s]|$)")

# Runs in the new root ($1). Timers are masked because apt-daily takes apt's lock at a time of its own choosing;
# the host's key comes from the lab, so that every image is free of secrets.
CUSTOMIZE = """set -eu
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/etc/resolv.conf
: > "$1"/etc/machine-id
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-networkd-wait-online.service getty.target console-getty.service; do
    ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
printf 'HostKey /etc/ssh/ssh_host_ed25519_key\\nPasswordAuthentication no\\n' > "$1"/etc/ssh/sshd_config.d/lab.conf
install -d -m 0700 "$1"/root/.ssh
"""


def mirror() -> str:
    """Return the address of the Debian mirror that this machine uses, deb.debian.org when it names none."""
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        for line in path.read_text().splitlines():
            if re.match(r"\s*(deb\b|URIs:)", line) and (found := DEBIAN_ADDRESS.search(line)):
                return found[0]
    return "http://deb.debian.org/debian"


def sources(distribution: str, address: str) -> str:
    """Return sources.list for a distribution from the mirror at an address."""
    line = f"deb [signed-by={KEYRING}] "
    return (
        f"{line}{address} {distribution} main\n"
        f"{line}{address} {distribution}-updates main\n"
        f"{line}{address}-security {distribution}-security main\n"
    )


def apt_options() -> str:
    """Return the builder's apt settings that a host needs to reach the same mirror."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    kept = [line for line in dump.splitlines() if APT_OPTIONS.match(line) and '""' not in line]
    return "\n".join([*kept, 'Acquire::Languages "none";', ""])


def recipe(distribution: str) -> dict[str, str]:
    """Return all that decides how the image comes out."""
    return {
        "packages": PACKAGES,
        "sources": sources(distribution, mirror()),
        "apt": apt_options(),
        "customize": CUSTOMIZE,
    }


@functools.cache
def reference(distribution: str) -> str:
    """Return the name of the podman image; it changes with the recipe."""
    digest = hashlib.sha256(repr(sorted(recipe(distribution).items())).encode()).hexdigest()[:12]
    return f"localhost/rag-admin-lab/{distribution}:{digest}"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock that all labs of this user share."""
    locks = settings.CACHE / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(distribution: str, log: Callable[[str, float], None]) -> str:
    """Return the image's reference, building it when neither podman nor the cache directory has it."""
    image = reference(distribution)
    if exists(image):
        return image
    with locked(f"image-{distribution}"):
        if exists(image):
            return image
        started = time.monotonic()
        tar = settings.CACHE / f"{distribution}-{image.rpartition(':')[2]}.tar"
        if not tar.exists():
            build(distribution, tar)
        subprocess.run(
            ["podman", "import", "--quiet", "--change", 'CMD ["/sbin/init"]', str(tar), image],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        log(f"image of Debian {distribution}", time.monotonic() - started)
        _forget_older(distribution, image, tar)
    return image


def _forget_older(distribution: str, image: str, tar: Path) -> None:
    for old in settings.CACHE.glob(f"{distribution}-*.tar"):
        if old != tar:
            old.unlink()
    repository = image.rpartition(":")[0]
    listing = ["podman", "images", "--format", "{{.Repository}}:{{.Tag}}", repository]
    for old in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split():
        if old != image:
            # One that a container uses stays until its next turn.
            subprocess.run(["podman", "image", "rm", old], check=False, capture_output=True)


def exists(image: str) -> bool:
    """Tell whether podman has the image."""
    return subprocess.run(["podman", "image", "exists", image], check=False, capture_output=True).returncode == 0


def build(distribution: str, tar: Path) -> None:
    """Make a root file system with mmdebstrap; the file appears only when it is whole."""
    parts = recipe(distribution)
    with tempfile.TemporaryDirectory(dir=settings.CACHE, prefix=f"build-{distribution}-") as name:
        work = Path(name)
        (work / "sources.list").write_text(parts["sources"])
        (work / "apt.conf").write_text(parts["apt"])
        hook = work / "customize"
        hook.write_text("#!/bin/sh\n" + parts["customize"])
        hook.chmod(0o755)
        options = [f"--aptopt={line}" for line in parts["apt"].splitlines()]
        command = [
            "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
            # The package lists stay in, so that a host installs without an update first.
            "--skip=cleanup/apt/lists", f"--include={parts['packages']}", "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*", *options, f"--customize-hook={hook}",
            f"--customize-hook=copy-in {work / 'apt.conf'} /etc/apt/apt.conf.d",
            '--customize-hook=mv "$1"/etc/apt/apt.conf.d/apt.conf "$1"/etc/apt/apt.conf.d/99lab',
            distribution, str(work / "root.tar"), str(work / "sources.list"),
        ]  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise RuntimeError(f"mmdebstrap could not make Debian {distribution} from {mirror()}:\n{tail}")
        (work / "root.tar").rename(tar)
