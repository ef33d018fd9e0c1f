# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases in a real directory, built by the real pip from an artefact without dependencies."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.release import directory, install

NAME = "shop"


def artefact(path, version="1.0.0", described=None, extra=()):
    """Write an artefact and return its checksum."""
    release = {"name": NAME, "version": version, **(described or {})}
    members = [
        ("release.json", json.dumps(release).encode()),
        ("requirements.lock", b""),
        ("wheels/.keep", b""),
        *extra,
    ]
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def execute(command, pass_fds):
    done = subprocess.run(command, pass_fds=pass_fds, capture_output=True, text=True)
    if done.returncode:
        raise Failure(" ".join(command), done.stderr, "")
    return done.stdout


def fake(command, pass_fds):
    """Stands in for python and pip where a test is about something else: a virtual environment is a second each."""
    if "-m" in command and "venv" in command:
        (Path(command[-1]) / "bin").mkdir(parents=True)
    return "3.11"


@pytest.fixture
def release(tmp_path):
    """Bring a release to a state: `release("1.0.0", state="current")`."""
    root = tmp_path / "root"

    def run(version="1.0.0", check=False, execute=fake, download=shutil.copyfile, **options):
        source = tmp_path / f"{version}.tar.gz"
        sha256 = artefact(source, version) if not source.exists() else hashlib.sha256(source.read_bytes()).hexdigest()
        wanted = {
            "state": "present",
            "url": str(source),
            "sha256": sha256,
            "keep": 3,
            "python": sys.executable,
            "command": None,
            **options,
        }
        return install.run({"root": root, "name": NAME, "version": version, **wanted}, check, execute, download)

    run.root = root
    run.source = tmp_path / "1.0.0.tar.gz"
    return run


def left(root):
    """Everything below the root but the lock."""
    return sorted(path.name for path in root.rglob("*") if path.name != ".lock") if root.exists() else []


def test_real_build_runs_and_is_done_once(release):
    first = release(execute=execute)
    assert first["changed"]
    assert execute([f"{first['path']}/bin/python", "-c", "print(1)"], ()) == "1\n"
    assert not release(execute=execute)["changed"]
    assert not [path for path in release.root.iterdir() if path.name.startswith(directory.SCRATCH)]


def test_two_versions_and_back(release):
    release("1.0.0", state="current")
    release("1.1.0", state="current")
    assert (release.root / "current").readlink().name == "1.1.0"
    back = release("1.0.0", state="current", url=None, sha256=None)
    assert (back["built"], back["current"], back["previous"]) == (False, "1.1.0", "1.1.0")
    assert (release.root / "current").readlink().name == "1.0.0"


def test_old_releases_go(release):
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        result = release(version, state="current", keep=2)
    assert result["removed"] == ["1.1.0"]
    assert sorted(path.name for path in (release.root / "releases").iterdir()) == ["1.2.0", "1.3.0"]


def test_check_mode_tells_what_the_real_run_does_and_does_nothing(release):
    told = release(state="current", check=True)
    assert left(release.root) == []
    assert release(state="current") == told


def test_another_checksum_installs_nothing(release):
    with pytest.raises(Failure, match=r"sha256 0{64}; found [0-9a-f]{64}"):
        release(sha256="0" * 64)
    assert left(release.root) == ["releases"]


def test_installed_release_is_immutable(release):
    release()
    with pytest.raises(Failure, match="immutable"):
        release(sha256="0" * 64)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"version": "2.0.0"}, "shop 2.0.0"),
        ({"name": "other"}, "other 1.0.0"),
        ({"python": ["3.9"]}, "built for 3.9"),
    ],
)
def test_artefact_of_something_else_is_refused(release, described, message):
    artefact(release.source, described=described)
    with pytest.raises(Failure, match=message):
        release()
    assert left(release.root) == ["releases"]


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "wheels/../../evil"])
def test_archive_that_leaves_its_directory_is_refused(release, name):
    artefact(release.source, extra=[(name, b"evil")])
    with pytest.raises(Failure, match="plain file inside"):
        release()
    assert left(release.root) == ["releases"]


def test_what_is_no_archive_is_refused(release):
    release.source.write_bytes(b"<html>sign in</html>")
    with pytest.raises(Failure, match="gzipped tar"):
        release()


def test_release_without_its_command_is_refused(release):
    with pytest.raises(Failure, match="the command bin/shop; found in bin"):
        release(execute=execute, command="bin/shop")
    assert left(release.root) == ["releases"]
    assert release(command="bin/python", execute=execute)["built"]


@pytest.mark.parametrize("version", ["", "../etc", ".hidden", "a/b"])
def test_version_that_is_a_path_is_refused(release, version):
    with pytest.raises(Failure, match="a version such as"):
        install.run({"root": release.root, "name": NAME, "version": version}, False, fake, None)


def test_full_disk_leaves_no_half_built_release(release):
    def full(_command, _pass_fds):
        if "venv" in _command:
            fake(_command, _pass_fds)
            raise OSError(errno.ENOSPC, "No space left on device")
        return "3.11"

    with pytest.raises(OSError, match="No space left"):
        release(execute=full)
    assert left(release.root) == ["releases"]
    assert release()["built"]


def test_release_of_another_python_is_built_again(release):
    release()
    newer = release(execute=lambda command, fds: fake(command, fds) and "3.13", check=True)
    assert newer["built"]


def test_lock_is_waited_for_and_then_named(release):
    release.root.mkdir()
    again = directory.locked(release.root, seconds=0.1)
    with directory.locked(release.root), pytest.raises(Failure, match=r"\.lock to become free within 0 s"):
        again.__enter__()


# Takes its time like the real one, which is too slow to be killed at many moments.
SLOW_PYTHON = """#!/bin/sh -e
case "$2" in
    venv) mkdir -p "$4/bin"; sleep 0.2; cp "$0" "$4/bin/python";;
    install) sleep 0.4; touch "$(dirname "$0")/installed";;
    *) echo 3.11;;
esac
"""

BUILD = """
import shutil, subprocess, sys
sys.path[:0] = {path!r}
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader({collections!r})
from ansible_collections.techcorp.rag_admin.plugins.module_utils.release import install
print("ready", flush=True)
run = lambda command, fds: subprocess.check_output(command, pass_fds=fds, text=True)
install.run({params!r}, False, run, shutil.copyfile)
"""


@pytest.mark.parametrize("after", [0.02, 0.1, 0.3, 0.5, 0.65, 1.0])
def test_killed_build_is_finished_by_the_next_run(release, tmp_path, after):
    """Killed at whatever it does then; its children go on, and the next run waits for them."""
    python = tmp_path / "python"
    python.write_text(SLOW_PYTHON)
    python.chmod(0o755)
    sha256 = artefact(release.source)
    params = {
        "root": str(release.root),
        "name": NAME,
        "version": "1.0.0",
        "state": "current",
        "keep": 3,
        "command": None,
    }
    params |= {"url": str(release.source), "sha256": sha256, "python": str(python)}
    collections = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)
    script = tmp_path / "build.py"
    script.write_text(BUILD.format(path=sys.path, collections=collections, params=params))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(after)
        process.kill()
    assert install.run(params, False, execute, shutil.copyfile)["version"] == "1.0.0"
    assert (release.root / "current" / "bin" / "installed").exists()
    assert not install.run(params, False, execute, shutil.copyfile)["changed"]
    assert not [path for path in release.root.iterdir() if path.name.startswith(directory.SCRATCH)]
