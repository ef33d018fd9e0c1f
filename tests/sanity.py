"""Builds the collection as Galaxy gets it, and checks that artefact: contents, galaxy-importer, ansible-test sanity.

    python tests/sanity.py [--core oldest|newest|current] [--skip-importer] [ansible-test's arguments...]

There is no ignore file. ``--core`` picks the environment that `make setup-matrix` made. Works without the internet:
ansible-test's bootstrap script of pip is replaced by one that uses Python's own ensurepip; packages come from pip's
configured index.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = {"oldest": ".venv-oldest", "newest": ".venv-newest", "current": ".venv"}

# Everything a built collection may hold at its top; a new folder must be listed here or in galaxy.yml's build_ignore.
TOP_LEVEL = {
    *("CHANGELOG.rst", "CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "bindep.txt"),
    *("changelogs", "docs", "execution-environment.yml", "meta", "playbooks", "plugins", "requirements.txt"),
    *("requirements.yml", "roles"),
}

GET_PIP = """\
# Written by tests/sanity.py in place of get-pip.py, which needs an internet host. A process of its own, because
# ensurepip switches pip's configuration off in the process that it runs in.
import subprocess, sys

subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
arguments = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "-q", *arguments]))
"""


def unexpected_members(names: list[str]) -> list[str]:
    """The members of an artefact that do not belong into it."""
    return sorted({name.split("/")[0] for name in names} - TOP_LEVEL)


def build(into: Path, galaxy: Path) -> Path:
    """Builds the artefact of this checkout into a folder and returns its path."""
    subprocess.run([galaxy, "collection", "build", "--output-path", into, ROOT], check=True, stdout=subprocess.DEVNULL)
    [artefact] = into.glob("techcorp-rag_admin-*.tar.gz")
    with tarfile.open(artefact) as archive:
        names = archive.getnames()
    if unexpected := unexpected_members(names):
        raise SystemExit(
            f"the artefact holds {', '.join(unexpected)}: add to build_ignore in galaxy.yml, or to {__file__}"
        )
    print(f"built {artefact.name}: {len(names)} members, {artefact.stat().st_size // 1024} KiB", flush=True)
    return artefact


def run_importer(artefact: Path, work: Path, environment: dict[str, str]) -> str | None:
    """Lets the Galaxy importer judge the artefact; its warnings count too. Returns what is wrong."""
    settings = work / "galaxy-importer.cfg"
    settings.write_text(
        "[galaxy-importer]\nRUN_ANSIBLE_LINT=False\nREQUIRE_V1_OR_GREATER=True\nCHECK_REQUIRED_TAGS=True\n"
    )
    result = subprocess.run(
        [ROOT / ".venv/bin/python", "-m", "galaxy_importer.main", artefact],
        cwd=work,
        # The importer runs the ansible-doc on PATH: the one with the collections that ours builds on.
        env=environment
        | {"GALAXY_IMPORTER_CONFIG": str(settings), "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{environment['PATH']}"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(result.stdout, flush=True)
    if result.returncode or any(word in result.stdout for word in ("WARNING", "ERROR")):
        return "galaxy-importer is not content with the artefact, see above"
    return None


def run_sanity(
    artefact: Path, work: Path, python: Path, arguments: list[str], environment: dict[str, str]
) -> str | None:
    """Installs the artefact into a tree of collections of its own and runs ansible-test sanity there.

    Returns what is wrong."""
    tree = work / "ansible_collections"
    collection = tree / "techcorp" / "rag_admin"
    collection.mkdir(parents=True)
    # Not by ansible-galaxy: it finds the checkout's own link and says that the collection is installed already.
    subprocess.run(["tar", "-xzf", artefact, "-C", collection], check=True)
    shutil.copy(ROOT / "tests" / "config.yml", _made(collection / "tests") / "config.yml")
    # Documentation fragments and module_utils of what we depend on.
    [packages] = ROOT.glob(".venv/lib/python3*/site-packages/ansible_collections")
    (tree / "amazon").symlink_to(packages / "amazon")

    pip_version = subprocess.run(
        [
            python,
            "-c",
            "import sys, types; from ansible_test._internal.python_requirements import get_venv_packages as packages\n"
            "print(packages(types.SimpleNamespace(version='%d.%d' % sys.version_info[:2]))['pip'])",
        ],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout.strip()
    cache = _made(Path(environment["HOME"]) / ".ansible/test/cache")
    (cache / f"get_pip_{pip_version.replace('.', '_')}.py").write_text(GET_PIP)
    command = [python, python.parent / "ansible-test", "sanity", "--color", "no", *arguments]
    if subprocess.run(command, cwd=collection, env=environment, stdin=subprocess.DEVNULL).returncode:
        return "ansible-test sanity failed, see above"
    return None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> str | None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", choices=ENVIRONMENTS, default="current", help="whose ansible-test runs")
    parser.add_argument("--skip-importer", action="store_true", help="the artefact has been judged already")
    options, arguments = parser.parse_known_args()
    python = ROOT / ENVIRONMENTS[options.core] / "bin" / "python"

    # ansible-test keeps its environments below HOME: here, they are kept between runs and leave with the checkout.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "AWS_", "PYTHON"))}
    for settings in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
        if settings.exists():
            environment.setdefault("PIP_CONFIG_FILE", str(settings))
    environment["HOME"] = str(_made(ROOT / ".cache" / "sanity"))
    # ansible-test uses every Python on PATH; those of a version manager need the HOME that was just replaced.
    environment["PATH"] = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"

    # Outside the checkout: inside, ansible-test would ask its git which files there are, and git ignores them.
    with tempfile.TemporaryDirectory(prefix="rag-admin-sanity-") as folder:
        work = Path(folder)
        artefact = build(work, ROOT / ".venv/bin/ansible-galaxy")
        wrong = [] if options.skip_importer else [run_importer(artefact, work, environment)]
        wrong.append(run_sanity(artefact, work, python, arguments, environment))
    if any(wrong):
        return "; ".join(filter(None, wrong))
    version = subprocess.run(
        [python, "-c", "import ansible.release as r; print(r.__version__)"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(f"the artefact passes ansible-test sanity of ansible-core {version.stdout.strip()}, with no ignore file")
    return None


if __name__ == "__main__":
    sys.exit(main())
