#!/usr/bin/env python3
"""Build a release: one immutable tarball that installs without a network.

    python app/build_release.py --version 1.1.0 --output dist

makes ``rag-admin-1.1.0.tar.gz`` and ``rag-admin-1.1.0.tar.gz.sha256``. The tarball holds

    release.json         what this is, for which Pythons, the SHA-256 of every wheel
    requirements.lock    every distribution with its hashes, the application's own included
    wheels/              one wheel for each of them, and for each Python where they differ

and installs by ``pip install --no-index --find-links wheels --require-hashes -r requirements.lock``.

The same sources, lock and version give the same bytes: times, owners, modes and the order are fixed.
Wheels come from the package index once; later builds take them from the cache.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NAME = "rag-admin"
SOURCE = Path(__file__).resolve().parent
PLATFORMS = ("cp311", "cp313")  # Debian 12 and 13
# The oldest of the target systems is Debian 12 with glibc 2.36: all of these run there.
MANYLINUX = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# The first moment that a zip file can express; also the time of every member of the tarball.
EPOCH = 315532800
VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}((a|b|rc)(0|[1-9]\d*))?(\.post(0|[1-9]\d*))?")


class BuildError(Exception):
    """The release cannot be built; the message says what to do."""


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_directory() -> Path:
    """Where downloaded wheels are kept between builds."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rag-admin-lab" / "wheels"


def locked_wheels(lock: Path, platform: str, cache: Path) -> list[Path]:
    """Return the wheels that a lock file means on one platform, downloading those that the cache lacks.

    :param lock: requirements with hashes.
    :param platform: a CPython tag such as ``cp311``.
    :param cache: directory that holds the wheels and an index per lock and platform.
    :raises BuildError: when pip is missing or the download fails.
    """
    key = hashlib.sha256("\n".join([sha256(lock), platform, *MANYLINUX]).encode()).hexdigest()[:16]
    index = cache / f"{platform}-{key}.json"
    if index.exists():
        wheels = json.loads(index.read_text())
        if all((cache / name).exists() and sha256(cache / name) == digest for name, digest in wheels.items()):
            return [cache / name for name in wheels]

    cache.mkdir(parents=True, exist_ok=True)
    # Downloaded beside the cache and renamed into it, so that two builds at once cannot see half a wheel.
    with tempfile.TemporaryDirectory(dir=cache) as fresh:
        python = platform.removeprefix("cp")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", python),
            *("--abi", platform, "--abi", "abi3", "--abi", "none"),
            *(option for tag in MANYLINUX for option in ("--platform", tag)),
            *("--dest", fresh, "--requirement", str(lock)),
        ]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise BuildError(
                f"downloading the wheels of {lock.name} for {platform} failed:\n{result.stderr.strip()}\n"
                f"This Python ({sys.executable}) needs pip, and pip a package index or a full cache in {cache}."
            )
        wheels = {path.name: sha256(path) for path in sorted(Path(fresh).iterdir())}
        for name in wheels:
            (Path(fresh) / name).replace(cache / name)
        (Path(fresh) / "index").write_text(json.dumps(wheels, indent=1))
        (Path(fresh) / "index").replace(index)
    return [cache / name for name in wheels]


def build_wheel(version: str, output: Path, cache: Path) -> Path:
    """Build the application's own wheel, carrying ``version``, into ``output``.

    :raises BuildError: when the build backend fails.
    """
    (backend,) = locked_wheels(SOURCE / "requirements-build.lock", PLATFORMS[0], cache)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / NAME
        copy.mkdir()
        for name in ("pyproject.toml", "README.md"):
            shutil.copyfile(SOURCE / name, copy / name)
        shutil.copytree(SOURCE / "rag_admin", copy / "rag_admin", ignore=shutil.ignore_patterns("__pycache__"))
        for path in copy.rglob("*"):  # the modes of a checkout depend on the umask of whoever made it
            path.chmod(0o755 if path.is_dir() else 0o644)

        module = copy / "rag_admin" / "__init__.py"
        text, count = re.subn(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', module.read_text())
        if count != 1:
            raise BuildError(f"expected one line __version__ = … in rag_admin/__init__.py, found {count}")
        module.write_text(text)

        # The backend is pure Python without dependencies: it runs from its wheel, so no environment is made.
        result = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from flit_core import buildapi; print(buildapi.build_wheel(sys.argv[1]))",
                str(output),
            ],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(backend), "SOURCE_DATE_EPOCH": str(EPOCH)},
            capture_output=True,
            text=True,
        )
        if result.returncode:
            raise BuildError(f"building the wheel failed:\n{result.stderr.strip()}")
        return output / result.stdout.split()[-1]


def build(version: str, output: Path, platforms: tuple[str, ...] = PLATFORMS, cache: Path | None = None) -> Path:
    """Build the release tarball and its ``.sha256`` file in ``output`` and return the tarball's path.

    :param version: the version to build, such as ``1.1.0`` or ``2.0.0rc1``.
    :param platforms: CPython tags to ship wheels for.
    :param cache: where wheels are kept between builds; by default the user's cache directory.
    :raises BuildError: with what was expected, for a bad version or platform or a failed download.
    """
    if not VERSION.fullmatch(version):
        raise BuildError(f"expected a version such as 1.2.3 or 1.2.3rc1, found {version!r}")
    for platform in platforms:
        if not re.fullmatch(r"cp3\d+", platform):
            raise BuildError(f"expected a CPython tag such as cp311, found {platform!r}")
    cache = cache or cache_directory()

    wheels = {
        path.name: path
        for platform in platforms
        for path in locked_wheels(SOURCE / "requirements.lock", platform, cache)
    }
    with tempfile.TemporaryDirectory() as temporary:
        own = build_wheel(version, Path(temporary), cache)
        wheels[own.name] = own
        lock = (SOURCE / "requirements.lock").read_text() + f"{NAME}=={version} \\\n    --hash=sha256:{sha256(own)}\n"
        release = {
            "schema": 1,
            "name": NAME,
            "version": version,
            "command": f"bin/{NAME}",
            "python": [f"3.{platform.removeprefix('cp3')}" for platform in platforms],
            "wheels": {name: sha256(path) for name, path in sorted(wheels.items())},
        }
        members = {
            "release.json": json.dumps(release, indent=2).encode() + b"\n",
            "requirements.lock": lock.encode(),
            **{f"wheels/{name}": path.read_bytes() for name, path in wheels.items()},
        }

    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{NAME}-{version}.tar.gz"
    part = output / f".{target.name}.part"
    with (
        part.open("wb") as raw,
        # Wheels are compressed already: a higher level costs seconds and saves nothing.
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), EPOCH, 0o644
            tar.addfile(member, io.BytesIO(content))
    part.replace(target)
    (output / f"{target.name}.sha256").write_text(f"{sha256(target)}  {target.name}\n")
    return target


def main(argv: list[str] | None = None) -> int:
    """Command line; prints the path of the tarball."""
    parser = argparse.ArgumentParser(description="Build a release of rag-admin.")
    parser.add_argument("--version", required=True, help="version to build, such as 1.1.0")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the tarball goes")
    parser.add_argument("--platforms", default=",".join(PLATFORMS), help="CPython tags (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        print(build(options.version, options.output, tuple(options.platforms.split(","))))
    except BuildError as error:
        print(f"build_release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
