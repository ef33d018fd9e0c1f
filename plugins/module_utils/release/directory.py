# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of one application on a host.

::

    <root>/releases/<version>/            a virtual environment
    <root>/releases/<version>/.complete   written last: without it the directory is a build that was interrupted
    <root>/current -> releases/<version>
    <root>/previous -> releases/<version>
    <root>/.lock                          held while anything below is changed

A virtual environment has its own path written into its scripts, so it cannot be built elsewhere and renamed into place;
hence the marker.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.clock import Clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.poll import poll
from ansible_collections.techcorp.rag_admin.plugins.module_utils.release.plan import Installed, Plan

MARKER = ".complete"
SCRATCH = ".download-"
# Prints where the interpreter keeps the wheel of pip that it would install into a virtual environment. pip runs from
# there just as well: that is two seconds less, and the release does not carry an installer.
FIND_PIP = """
import ensurepip, os, sysconfig
folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
print(os.path.join(folder, "pip-" + ensurepip.version() + "-py3-none-any.whl", "pip"))
"""
LOCK_SECONDS = 300
"""How long to wait for another build on the same host: longer than one takes on a slow machine."""


@dataclass(frozen=True)
class Wanted:
    """A release to build: what its artefact must be, and the command that it must have."""

    name: str
    version: str
    sha256: str
    command: str | None = None


def scan(root: Path, python_version: str) -> Installed:
    """Read what is installed below ``root``. A release built with another Python counts as half-built, since its
    virtual environment does not run any more.

    :raises Failure: when something else lies where a link should.
    """
    complete, partial = [], []
    releases = root / "releases"
    for path in releases.iterdir() if releases.is_dir() else ():
        marker = _marker(path)
        if marker and marker.get("python") == python_version:
            complete.append((marker.get("completed", 0), path.name))
        else:
            partial.append(path.name)
    return Installed(
        complete=tuple(name for _completed, name in sorted(complete)),
        partial=tuple(sorted(partial)),
        current=_link(root / "current"),
        previous=_link(root / "previous"),
    )


def installed_sha256(root: Path, version: str) -> str | None:
    """The checksum of the artefact that an installed release was made from."""
    marker = _marker(root / "releases" / version)
    return marker.get("sha256") if marker else None


def _marker(path: Path) -> dict | None:
    try:
        return json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _link(path: Path) -> str | None:
    try:
        return path.readlink().name
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"{path} to be a symbolic link or absent", f"{error.strerror}", "Move it away.") from error


@contextlib.contextmanager
def locked(root: Path, seconds: float = LOCK_SECONDS, clock: Clock | None = None):
    """Hold the lock of ``root``; yields its file descriptor, which the commands of a build inherit.

    A controller that was killed may have left its build running on the host: the next run waits for its end instead of
    building over it.

    :raises Failure: when the lock is not free within ``seconds``.
    """
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (root / ".lock").open("w", encoding="utf-8") as handle:
        if not poll(lambda _elapsed: _try_lock(handle), 0.2, seconds, clock or Clock()):
            raise Failure(
                f"{root}/.lock to become free within {seconds:.0f} s",
                "that another process still holds it",
                f"See `fuser -v {root}/.lock` on the host.",
            )
        yield handle.fileno()


def _try_lock(handle) -> bool | None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return True


def unpack(artefact: Path, wanted: Wanted, python_version: str, target: Path) -> None:
    """Check an artefact and unpack it into ``target``.

    :raises Failure: on another checksum, an unsafe or broken archive, an artefact of another release, or one that does
        not run on this host's Python.
    """
    name, version, sha256 = wanted.name, wanted.version, wanted.sha256
    digest = hashlib.sha256()
    with artefact.open("rb") as handle:
        for chunk in iter(lambda: handle.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise Failure(
            f"the artefact of {name} {version} to have the sha256 {sha256}",
            f"{digest.hexdigest()} in what was downloaded",
            "Nothing was installed. Compare the object in the bucket with its .sha256; if it was changed, publish the"
            " release again under a new version.",
        )
    try:
        with tarfile.open(artefact, "r:gz") as archive:
            _extract(archive, target)
        described = json.loads((target / "release.json").read_text(encoding="utf-8"))
    except (tarfile.TarError, EOFError, FileNotFoundError, ValueError) as error:
        raise Failure(
            f"a gzipped tar with release.json, requirements.lock and wheels/ for {name} {version}",
            str(error),
            "Build the release again and publish it under a new version.",
        ) from error
    if (described.get("name"), described.get("version")) != (name, version):
        raise Failure(
            f"an artefact of {name} {version}",
            f"that its release.json says {described.get('name')} {described.get('version')}",
            "Correct the key, or publish the right file.",
        )
    pythons = described.get("python", [python_version])
    if python_version not in pythons:
        raise Failure(
            f"{name} {version} to be built for this host's Python {python_version}",
            f"that it is built for {', '.join(pythons)}",
            "Build the release for this Python too, or deploy it to hosts of another distribution.",
        )


def _extract(archive: tarfile.TarFile, target: Path) -> None:
    """Only plain files and directories, and only below ``target``. (``filter="data"`` came with Python 3.11.4, after
    Debian 12's 3.11.2.)"""
    for member in archive.getmembers():
        path = Path(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"member {member.name} is not a plain file inside the archive")
        member.mode, member.uid, member.gid = (0o755 if member.isdir() else 0o644), os.getuid(), os.getgid()
        member.uname = member.gname = ""
        archive.extract(member, target)


def build(root: Path, wanted: Wanted, python: tuple[str, str], fetch, run) -> None:
    """Build a release and mark it complete. When that fails, no half-built directory is left.

    :param python: path and version of the interpreter that the virtual environment is made with.
    :param fetch: called with a path; downloads the artefact there.
    :param run: called with an argument list; returns its output, raises Failure when the command fails.
    :raises Failure: as ``unpack`` does, and when the release lacks its command.
    :raises OSError: when the disk is full.
    """
    interpreter, python_version = python
    target = root / "releases" / wanted.version
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(mode=0o755, exist_ok=True)
    for left in root.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=root) as scratch_name:
            scratch = Path(scratch_name)
            fetch(scratch / "artefact")
            unpack(scratch / "artefact", wanted, python_version, scratch)
            (scratch / "artefact").unlink()
            pip = run([interpreter, "-c", FIND_PIP]).strip()
            run([interpreter, "-m", "venv", "--without-pip", str(target)])
            run(
                [
                    *(str(target / "bin" / "python"), pip, "install", "--quiet", "--disable-pip-version-check"),
                    *("--no-cache-dir", "--no-index", "--find-links", str(scratch / "wheels")),
                    *("--require-hashes", "--requirement", str(scratch / "requirements.lock")),
                ]
            )
            shutil.copy(scratch / "release.json", target / "release.json")
        if wanted.command and not os.access(target / wanted.command, os.X_OK):
            raise Failure(
                f"{wanted.name} {wanted.version} to have the command {wanted.command}",
                f"in bin: {', '.join(sorted(path.name for path in (target / 'bin').iterdir()))}",
                "Correct the command, or build the release again under a new version.",
            )
        _mark(target, {"sha256": wanted.sha256, "python": python_version, "completed": time.time()})
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _mark(target: Path, content: dict) -> None:
    """Write the marker, after everything that it vouches for has reached the disk."""
    os.sync()
    temporary = target / f"{MARKER}.new"
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(target / MARKER)


def apply(root: Path, decided: Plan) -> None:
    """Point the links and remove what the plan says. ``previous`` goes first: a run that is interrupted between the two
    repeats both, and at no time is the release that was left unprotected."""
    for name, version in (("previous", decided.previous), ("current", decided.current)):
        if version and _link(root / name) != version:
            temporary = root / f".{name}.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(f"releases/{version}")
            temporary.replace(root / name)
    for version in decided.remove:
        path = root / "releases" / version
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)
