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
from pathlib import Path

from ansible_collections.techcorp.rag_admin.plugins.module_utils.release.plan import Installed, Plan

MARKER = ".complete"
LOCK_SECONDS = 300
"""How long to wait for another build on the same host: longer than one takes on a slow machine."""


class ReleaseError(Exception):
    """Something that the operator has to mend; the message says what was expected, what was found and what to do."""


def scan(root: Path, python_version: str) -> Installed:
    """Read what is installed below ``root``. A release built with another Python counts as half-built, since its
    virtual environment does not run any more.

    :raises ReleaseError: when a marker cannot be read.
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
        return Path(os.readlink(path)).name
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReleaseError(f"expected {path} to be a symbolic link or absent, found something else: move it away") from error


@contextlib.contextmanager
def locked(root: Path, seconds: float = LOCK_SECONDS):
    """Hold the lock of ``root``; yields its file descriptor, which the commands of a build inherit. A controller that was
    killed may have left its build running on the host: the next run waits for its end instead of building over it.

    :raises ReleaseError: when the lock is not free within ``seconds``.
    """
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(root / ".lock", "w", encoding="utf-8") as handle:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ReleaseError(
                        f"expected {root}/.lock to become free within {seconds:.0f} s, found that another process still"
                        f" holds it: see `fuser -v {root}/.lock` on the host"
                    ) from error
                time.sleep(0.2)
        yield handle.fileno()


def unpack(artefact: Path, name: str, version: str, sha256: str, target: Path) -> None:
    """Check an artefact and unpack it into ``target``.

    :raises ReleaseError: on another checksum, an unsafe or broken archive, or an artefact of another release.
    """
    digest = hashlib.sha256()
    with open(artefact, "rb") as handle:
        for chunk in iter(lambda: handle.read(1 << 20), b""):
            digest.update(chunk)
    found = digest.hexdigest()
    if found != sha256:
        raise ReleaseError(
            f"the artefact of {name} {version} is not the published one: expected sha256 {sha256}, found {found}"
            " in what was downloaded. Nothing was installed. Compare the object in the bucket with its .sha256, and"
            " publish the release again under a new version if the object was changed"
        )
    try:
        with tarfile.open(artefact, "r:gz") as archive:
            _extract(archive, target)
        described = json.loads((target / "release.json").read_text(encoding="utf-8"))
    except (tarfile.TarError, EOFError, FileNotFoundError, ValueError) as error:
        raise ReleaseError(
            f"expected a gzipped tar with release.json, requirements.lock and wheels/ for {name} {version}, found: {error}"
        ) from error
    if (described.get("name"), described.get("version")) != (name, version):
        raise ReleaseError(
            f"expected an artefact of {name} {version}, found that its release.json says"
            f" {described.get('name')} {described.get('version')}: correct the key or publish the right file"
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


def build(root: Path, name: str, version: str, python: str, sha256: str, fetch, run) -> None:
    """Build a release; ``mark`` it complete afterwards.

    :param python: the interpreter that the virtual environment is made with.
    :param fetch: called with a path; downloads the artefact there and raises ReleaseError when it cannot.
    :param run: called with an argument list; raises ReleaseError when the command fails.
    :raises ReleaseError: as above, or when the disk is full. No half-built directory is left behind then.
    """
    target = root / "releases" / version
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(mode=0o755, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch_name:
            scratch = Path(scratch_name)
            fetch(scratch / "artefact")
            unpack(scratch / "artefact", name, version, sha256, scratch)
            (scratch / "artefact").unlink()
            run([python, "-m", "venv", str(target)])
            run(
                [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                + ["--no-cache-dir", "--no-index", "--find-links", str(scratch / "wheels"), "--require-hashes"]
                + ["--requirement", str(scratch / "requirements.lock")]
            )
            shutil.copy(scratch / "release.json", target / "release.json")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def mark(root: Path, version: str, sha256: str, python_version: str) -> None:
    """Write the marker, after everything that it vouches for has reached the disk."""
    os.sync()
    target = root / "releases" / version
    temporary = target / f"{MARKER}.new"
    temporary.write_text(
        json.dumps({"sha256": sha256, "python": python_version, "completed": time.time()}), encoding="utf-8"
    )
    os.replace(temporary, target / MARKER)


def apply(root: Path, decided: Plan) -> None:
    """Point the links and remove what the plan says. ``previous`` goes first: a run that is interrupted between the two
    repeats both, and at no time is the release that was left unprotected."""
    for name, version in (("previous", decided.previous), ("current", decided.current)):
        if version and _link(root / name) != version:
            temporary = root / f".{name}.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(f"releases/{version}")
            os.replace(temporary, root / name)
    for version in decided.remove:
        path = root / "releases" / version
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)
