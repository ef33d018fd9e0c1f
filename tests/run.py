"""Runs every check and says what it found: `make test` and `.ci/run` are this script.

    python3 tests/run.py             everything, set-up included
    python3 tests/run.py lint unit   these groups only, on the set-up that is there
    python3 tests/run.py --list      the groups

A failed group does not stop the others. Each group's output goes to tests/output/<group>.log; the end of a failed one
is printed. The last line is `N passed, N failed`, counting single tests where a group has them; the exit status is 1
when anything failed.
Only Python's standard library is used here, since this runs before the set-up.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "tests" / "output"
TAIL_LINES = 100
PYTHON = ".venv/bin/python"
MOLECULE = "tests/integration/test_molecule.py"
# Refuses what Galaxy could not show; the pages that are committed are those of docs/generate.py.
ANTSIBULL_DOCS = (
    "antsibull-docs collection --use-current --fail-on-error --squash-hierarchy --output-format simplified-rst"
    " --dest-dir tests/output/antsibull techcorp.rag_admin"
)


@dataclass(frozen=True)
class Group:
    """Checks that run one after the other and share a log."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    limit: int  # seconds, for the group as a whole; it is ended after that


@dataclass
class Outcome:
    """What came of a group."""

    group: Group
    seconds: float = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed


def pytest(*arguments: str, python: str = PYTHON) -> tuple[str, ...]:
    return (python, "-m", "pytest", "-q", "-m", "not long", "--color=no", *arguments)


def group(name: str, *commands: tuple[str, ...], limit: int) -> Group:
    return Group(name, commands, limit)


SETUP = group("setup", ("sh", "lab/setup.sh", "matrix"), limit=900)

# Stages run one after the other. The lanes of a stage run side by side, the groups of a lane one after the other: what
# measures time (the lab, and all that deploys into it) has the machine to itself.
STAGES: tuple[tuple[tuple[Group, ...], ...], ...] = (
    ((SETUP,),),
    (
        (
            group("sanity-oldest", (PYTHON, "tests/sanity.py", "--core", "oldest"), limit=900),
            group("sanity-newest", (PYTHON, "tests/sanity.py", "--core", "newest", "--skip-importer"), limit=900),
        ),
        (
            group(
                "lint",
                (".venv/bin/ruff", "check", "."),
                (".venv/bin/ruff", "format", "--check", "."),
                (".venv/bin/yamllint", "."),
                (".venv/bin/ansible-lint", "--offline", "--nocolor"),
                limit=300,
            ),
            group("contract", pytest("tests/contract"), limit=300),
            group("unit", pytest("tests/unit"), limit=600),
            group("unit-oldest", pytest("tests/unit", python=".venv-oldest/bin/python"), limit=600),
            group("unit-newest", pytest("tests/unit", python=".venv-newest/bin/python"), limit=600),
            group(
                "docs",
                (PYTHON, "docs/generate.py", "--check"),
                ("sh", "-c", f"mkdir -p tests/output/antsibull && {ANTSIBULL_DOCS}"),
                (".venv/bin/antsibull-changelog", "lint"),
                limit=300,
            ),
            group("app", pytest("tests/app"), limit=600),
        ),
    ),
    (
        (
            group("lab", pytest("tests/lab"), limit=1200),
            group("integration", pytest("tests/integration", f"--ignore={MOLECULE}"), limit=1800),
            group("molecule", pytest(MOLECULE), limit=1800),
            group("end_to_end", pytest("tests/end_to_end"), limit=1800),
        ),
    ),
)
GROUPS = {group.name: group for stage in STAGES for lane in stage for group in lane}


def counts(text: str) -> tuple[int, int, int] | None:
    """Tests passed, failed and skipped by pytest's closing line in a command's output; None when it has none.

    Errors count as failures, expected failures as passes.
    """
    closing = re.findall(r"^=*\s*((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", text, re.MULTILINE)
    if not closing:
        return None
    found = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", closing[-1])}
    return (
        found.get("passed", 0) + found.get("xfailed", 0),
        found.get("failed", 0) + found.get("error", 0),
        found.get("skipped", 0),
    )


class Runner:
    """Runs groups, logs them, and can be interrupted."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.interrupted = False

    def run(self, group: Group) -> Outcome:
        """Runs one group to its end; a failing command does not keep the next one from running."""
        outcome = Outcome(group)
        started = time.monotonic()
        with (OUTPUT / f"{group.name}.log").open("wb") as log:
            for command in group.commands:
                left = group.limit - (time.monotonic() - started)
                self._command(outcome, command, log, left)
        outcome.seconds = time.monotonic() - started
        self._report(outcome)
        return outcome

    def _command(self, outcome: Outcome, command: tuple[str, ...], log, left: float) -> None:
        line = " ".join(command)
        log.write(f"$ {line}\n".encode())
        log.flush()
        begin = log.tell()
        if self.interrupted or left <= 0:
            outcome.failed += 1
            outcome.reasons.append(f"{line}: not run, {'interrupted' if self.interrupted else 'no time left'}")
            return
        status = self._wait(command, log, left)
        log.flush()
        text = Path(log.name).read_bytes()[begin:].decode(errors="replace")
        log.seek(0, os.SEEK_END)
        passed, failed, skipped = counts(text) or (0, 0, 0)
        if passed + failed + skipped == 0 and status == 0:
            passed = 1
        if status != 0 and failed == 0:
            failed = 1
            how = f"ended after {outcome.group.limit} s" if status is None else f"exit status {status}"
            outcome.reasons.append(f"{line}: {how}")
        outcome.passed += passed
        outcome.failed += failed
        outcome.skipped += skipped

    def _wait(self, command: tuple[str, ...], log, left: float) -> int | None:
        """Exit status; None when it was ended for taking too long."""
        environment = os.environ | {
            "PATH": os.pathsep.join([str(ROOT / ".venv/bin"), os.environ["PATH"], "/usr/sbin", "/sbin"]),
            "PYTHONUNBUFFERED": "1",
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_NOCOLOR": "true",
        }
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            log.write(f"{error}\n".encode())
            return 127
        with self._lock:
            self._running.add(process)
        try:
            return process.wait(timeout=left)
        except subprocess.TimeoutExpired:
            self._end(process)
            return None
        finally:
            with self._lock:
                self._running.discard(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """Ends a command with all that it started: asks first, so that tests can clean up."""
        for number, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(process.pid, number)
                process.wait(timeout=patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
            return

    def interrupt(self) -> None:
        """Ends what runs; groups that have not begun fail at once."""
        self.interrupted = True
        with self._lock:
            running = list(self._running)
        for process in running:
            self._end(process)

    def _report(self, outcome: Outcome) -> None:
        with self._lock:
            tests = f"{outcome.passed} passed" + (f", {outcome.skipped} skipped" if outcome.skipped else "")
            if outcome.failed:
                tests += f", {outcome.failed} failed"
            print(
                f"{'ok    ' if outcome.ok else 'FAILED'} {outcome.group.name:<14} {outcome.seconds:6.1f} s   {tests}",
                flush=True,
            )
            if not outcome.ok:
                path = OUTPUT / f"{outcome.group.name}.log"
                tail = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
                print("\n".join(f"    | {line}" for line in tail))
                print("\n".join(f"    > {reason}" for reason in outcome.reasons), flush=True)


def run(names: set[str]) -> list[Outcome]:
    """Runs the named groups in their order; nothing runs without the set-up it needs."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    runner = Runner()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: threading.Thread(target=runner.interrupt).start())
    outcomes: list[Outcome] = []
    # The lab that these start is removed at the end; one that was there before is left as it is.
    starts_lab = bool(names & {group.name for lane in STAGES[-1] for group in lane}) and not _lab("status")
    for stage in STAGES:
        lanes = [[group for group in lane if group.name in names] for lane in stage]
        with ThreadPoolExecutor(len(lanes)) as pool:
            for done in pool.map(lambda lane: [runner.run(group) for group in lane], lanes):
                outcomes += done
        if any(outcome.group is SETUP and not outcome.ok for outcome in outcomes):
            print("The set-up failed, so nothing else was run.")
            break
    if starts_lab:
        _lab("down")
    return outcomes


def _lab(command: str) -> bool:
    """Whether a command of the lab succeeds; without a set-up there is no lab."""
    if not (ROOT / PYTHON).exists():
        return False
    done = subprocess.run(
        [PYTHON, "-m", "lab", command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs every check.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="only these")
    parser.add_argument("--list", action="store_true", help="say what groups there are")
    options = parser.parse_args()
    if options.list:
        print("\n".join(GROUPS))
        return 0
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    started = time.monotonic()
    outcomes = run(set(options.groups) or set(GROUPS))
    passed, failed, skipped = (
        sum(getattr(outcome, kind) for outcome in outcomes) for kind in ("passed", "failed", "skipped")
    )
    seconds = time.monotonic() - started
    print(
        f"\n{len(outcomes)} groups in {int(seconds // 60)} min {int(seconds % 60)} s; logs: {OUTPUT.relative_to(ROOT)}/"
    )
    for outcome in outcomes:
        if not outcome.ok:
            print(f"failed: {outcome.group.name} ({OUTPUT.relative_to(ROOT)}/{outcome.group.name}.log)")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
