"""The release: the same bytes every time, complete, and published once."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.app.support import APP, VERSION

BUCKET = "techcorp-rag-admin-releases"


def build(output, version=VERSION, **options):
    command = [sys.executable, str(APP / "build_release.py"), "--version", version, "--output", str(output)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_same_input_same_bytes(release, tmp_path):
    # Another folder, umask, locale, zone and hash seed: none of them may show.
    copy = tmp_path / "elsewhere" / "app"
    shutil.copytree(APP, copy, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    (copy / "rag_admin" / "__pycache__").mkdir()
    (copy / "rag_admin" / "__pycache__" / "left.over.pyc").write_bytes(b"x")
    command = f"umask 077; TZ=Asia/Tokyo PYTHONHASHSEED=7 '{sys.executable}' '{copy}/build_release.py'"
    subprocess.run([*("sh", "-c"), f"{command} --version {VERSION} --output '{tmp_path}/dist'"], check=True)
    again = tmp_path / "dist" / release.tarball.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(release.tarball.read_bytes()).digest()


def test_contents(release):
    described = json.loads((release.contents / "release.json").read_text())
    assert (described["schema"], described["name"], described["version"]) == (1, "rag-admin", VERSION)
    assert described["command"] == "bin/rag-admin"
    assert described["python"] == ["3.11", "3.13"]
    wheels = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (release.contents / "wheels").iterdir()
    }
    assert described["wheels"] == wheels
    lock = (release.contents / "requirements.lock").read_text()
    for name, digest in wheels.items():
        assert f"sha256:{digest}" in lock, f"{name} is not locked"
    for python in ("cp311", "cp313"):
        assert any(name.startswith("psycopg2_binary-") and f"-{python}-" in name for name in wheels)
    assert release.tarball.with_name(release.tarball.name + ".sha256").read_text() == (
        f"{hashlib.sha256(release.tarball.read_bytes()).hexdigest()}  {release.tarball.name}\n"
    )


def test_installs_for_the_other_python_too(release, tmp_path):
    """pip resolves the lock for Python 3.13 from the release's wheels alone (installing needs that interpreter)."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-index", "--find-links", "wheels", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--implementation", "cp", "--python-version", "313"]
    command += ["--abi", "cp313", "--abi", "none", "--platform", "manylinux_2_28_x86_64"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(tmp_path), "--requirement", "requirements.lock"]
    subprocess.run(command, cwd=release.contents, check=True, env={"PATH": "/usr/bin:/bin", "PIP_FIND_LINKS": ""})


def test_locks_hold_what_the_project_pins():
    project = tomllib.loads((APP / "pyproject.toml").read_text())
    locked = {line.split(" ")[0] for line in (APP / "requirements.lock").read_text().splitlines() if "==" in line}
    assert set(project["project"]["dependencies"]) <= locked
    (backend,) = project["build-system"]["requires"]
    assert backend.replace("_", "-") in (APP / "requirements-build.lock").read_text()


def test_installed_version_is_the_release_s(release):
    shown = subprocess.run([release.command, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == VERSION


@pytest.mark.parametrize("version", ["", "1", "v1.2.3", "1.2.3-beta", "01.2.3", "1.2.3/../x", '1.2.3"'])
def test_bad_versions_are_refused(version, tmp_path):
    result = build(tmp_path / "dist", version)
    assert result.returncode == 1
    assert "expected a version such as 1.2.3" in result.stderr
    assert not (tmp_path / "dist").exists()


def publish(file, aws):
    command = [sys.executable, str(APP / "publish_release.py"), str(file), "--bucket", BUCKET]
    return subprocess.run(command, capture_output=True, text=True, env={"AWS_ENDPOINT_URL": aws.url, **aws.credentials})


def test_published_once(release, aws, tmp_path):
    s3 = aws("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    first, second = publish(release.tarball, aws), publish(release.tarball, aws)
    assert json.loads(first.stdout)["changed"] is True, first.stderr
    assert json.loads(second.stdout)["changed"] is False
    key = f"rag-admin/{VERSION}/rag-admin-{VERSION}.tar.gz"
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == release.tarball.read_bytes()
    digest = s3.get_object(Bucket=BUCKET, Key=f"{key}.sha256")["Body"].read().decode().split()[0]
    assert digest == json.loads(first.stdout)["sha256"]

    other = tmp_path / release.tarball.name
    other.write_bytes(release.tarball.read_bytes() + b"\0")
    refused = publish(other, aws)
    assert refused.returncode == 1
    assert "a version never changes" in refused.stderr
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == release.tarball.read_bytes()

    # A run that was interrupted between the two objects is finished by the next.
    s3.delete_object(Bucket=BUCKET, Key=f"{key}.sha256")
    assert json.loads(publish(release.tarball, aws).stdout)["changed"] is True


def test_only_releases_are_published(aws, tmp_path):
    (tmp_path / "notes.tar.gz").write_bytes(b"not a tarball")
    result = publish(tmp_path / "notes.tar.gz", aws)
    assert result.returncode == 1
    assert "expected a tarball with a release.json" in result.stderr
