"""The scripts that run every check say what happened, also when things go wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import run
import sanity
from contract import tree


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> run.Runner:
    monkeypatch.setattr(run, "OUTPUT", tmp_path)
    return run.Runner()


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("== 3 passed in 0.12s ==", (3, 0, 0)),
        ("1 failed, 3 passed, 2 skipped in 61.05s (0:01:01)", (3, 1, 2)),
        ("1 passed, 1 error in 0.50s", (1, 1, 0)),
        ("2 passed, 1 xfailed, 3 warnings in 1.00s", (3, 0, 0)),
        ("no tests ran in 0.01s", None),
        ("All checks passed!", None),
    ],
)
def test_pytests_closing_line_is_counted(text: str, expected: tuple[int, int, int] | None):
    assert run.counts(f"something\n{text}\n") == expected


def test_the_last_closing_line_counts():
    assert run.counts("5 passed in 1.00s\n1 failed, 1 passed in 2.00s\n") == (1, 1, 0)


def test_a_command_without_tests_counts_as_one(runner: run.Runner):
    outcome = runner.run(run.group("g", python(""), python("raise SystemExit(3)"), python(""), limit=30))
    assert (outcome.passed, outcome.failed, outcome.ok) == (2, 1, False)
    assert outcome.reasons[0].endswith("exit status 3")


def test_the_end_of_a_failed_group_is_printed(runner: run.Runner, capsys: pytest.CaptureFixture[str]):
    runner.run(run.group("g", python("print('the cause'); raise SystemExit(1)"), limit=30))
    shown = capsys.readouterr().out
    assert "FAILED g" in shown
    assert "    | the cause" in shown


def test_no_tests_at_all_is_a_failure(runner: run.Runner):
    outcome = runner.run(run.group("g", python("print('no tests ran in 0.01s'); raise SystemExit(5)"), limit=30))
    assert (outcome.passed, outcome.failed) == (0, 1)


def test_a_crash_after_passing_tests_is_a_failure(runner: run.Runner):
    outcome = runner.run(run.group("g", python("print('2 passed in 0.01s'); raise SystemExit(3)"), limit=30))
    assert (outcome.passed, outcome.failed) == (2, 1)


def test_a_command_that_does_not_exist_is_a_failure(runner: run.Runner):
    assert runner.run(run.group("g", ("/nowhere/to/be/found",), limit=30)).failed == 1


def test_a_command_that_takes_too_long_is_ended_with_its_children(runner: run.Runner):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    outcome = runner.run(run.group("g", python(code), python(""), limit=2))
    assert outcome.seconds < 20
    assert outcome.failed == 2
    assert [reason.rpartition(": ")[2] for reason in outcome.reasons] == ["ended after 2 s", "not run, no time left"]


def test_groups_have_names_of_their_own():
    names = [group.name for stage in run.STAGES for lane in stage for group in lane]
    assert len(names) == len(set(names))


def in_a_process(stages: str, then: str) -> list[str]:
    """A command that runs stages of its own; the last stage would start the lab and is empty."""
    return [sys.executable, "-c", f"import run, sys; run.STAGES = ({stages}, ((),)); run.OUTPUT /= 'runner'; {then}"]


@pytest.mark.parametrize(
    ("command", "last", "status"), [("true", "1 passed, 0 failed", 0), ("false", "0 passed, 1 failed", 1)]
)
def test_the_whole_ends_with_a_plain_line_and_a_status(command: str, last: str, status: int):
    stages = f"((run.group('g', ('{command}',), limit=9),),)"
    then = "run.GROUPS = {'g': None}; sys.argv = ['run']; raise SystemExit(run.main())"
    done = subprocess.run(in_a_process(stages, then), cwd=tree.ROOT / "tests", stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip().splitlines()[-1] == last
    assert done.returncode == status


def test_an_interrupt_ends_what_runs():
    stages = "((run.group('g', ('sleep', '600'), limit=600),),)"
    command = in_a_process(stages, "raise SystemExit(run.run({'g'})[0].failed)")
    with subprocess.Popen(command, cwd=tree.ROOT / "tests", stdout=subprocess.PIPE) as process:
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 1


def test_what_does_not_belong_into_the_artefact_is_found():
    assert sanity.unexpected_members(["README.md", "roles", "roles/app/README.md", "lab/cli.py", "secrets.txt"]) == [
        "lab",
        "secrets.txt",
    ]


def test_the_execution_environment_can_be_described(tmp_path: Path):
    builder = tree.ROOT / ".venv/bin/ansible-builder"
    command = [builder, "create", "-f", tree.ROOT / "execution-environment.yml", "-c", tmp_path / "context"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "context" / "_build" / "requirements.yml").read_text() == (
        tree.ROOT / "requirements.yml"
    ).read_text()
