"""The demonstration behind ``make demo``: three releases under live traffic, on real processes.

It starts the lab, configures the hosts and ships 1.0.0; ships 1.1.0 while a load generator looks for a single failed
request; ships a 1.2.0 whose hosts answer one request in five with an error, and shows that the gate takes it back.
Whatever it does to hosts and load balancer goes through the playbooks that an operator runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime

import boto3

from lab import playbooks, report, settings, traffic

OUTPUT = settings.RUNTIME / "demo"
PAGE = settings.ROOT / "reports" / "demo.html"
RECORD = f"{settings.APPLICATION}/demo.json"
FIRST, GOOD, BROKEN = "1.0.0", "1.1.0", "1.2.0"
FAULTS = {"APP_FAULTS": "enabled", "APP_FAULT_ERROR_RATE": "0.2"}
# Before there is traffic there is nothing to judge by: the first version goes live in one step.
AT_ONCE = {"blue_green_steps": [{"weight": 100}], "blue_green_bake": "0", "blue_green_gate_checks": []}
DIM, BOLD, GREEN, RED, PLAIN = "\033[2m", "\033[1m", "\033[32m", "\033[31m", "\033[0m"


class DemoError(Exception):
    """What was to be shown did not happen."""


class Screen:
    """Prints what happens, with the time since the start; colour only on a terminal."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.colour = sys.stdout.isatty()

    def line(self, text: str, style: str = "") -> None:
        """Print a line behind the clock."""
        seconds = int(time.monotonic() - self.started)
        text = f"{style}{text}{PLAIN}" if self.colour and style else text
        print(f"{seconds // 60}:{seconds % 60:02d}  {text}", flush=True)

    @contextlib.contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """A heading before, the time that it took after."""
        print(flush=True)
        self.line(title, BOLD)
        started = time.monotonic()
        yield
        self.line(f"done in {time.monotonic() - started:.0f} s", GREEN)


def play(screen: Screen, name: str, version: str, **variables: object) -> tuple[playbooks.Result, float | None]:
    """Run a playbook and show its tasks and progress lines; return the result and when a gate condemned the version."""
    condemned: list[float] = []
    shown = ""

    def on_event(event: dict) -> None:
        nonlocal shown
        if event["_event"] == "v2_runner_on_ok" and (task := event["task"])["id"] != shown:
            shown = task["id"]
            # "techcorp.rag_admin.app : install | Build the release" → "install | Build the release"
            screen.line("    " + task["name"].split(" : ")[-1], DIM)
        elif event["_event"] == "v2_runner_on_failed" and "verdict" in next(iter(event["hosts"].values())):
            condemned.append(datetime.fromisoformat(event["_timestamp"].replace("Z", "+00:00")).timestamp())

    result = playbooks.run(
        name,
        {"app_version": version, **variables},
        log=OUTPUT / f"{name}-{version}.jsonl",
        on_event=on_event,
        on_text=lambda text: screen.line("    " + text) if text.startswith("gate ") else None,
    )
    return result, condemned[0] if condemned else None


def require(result: playbooks.Result, what: str) -> None:
    """Raise DemoError with the playbook's own words when it failed."""
    if result.rc:
        raise DemoError(f"{what} failed: {(result.errors or result.text or ['no message'])[-1]}")


def publish(screen: Screen) -> None:
    """Build the releases and publish them; both are quick when there is nothing to do."""
    environment = {**os.environ, **settings.AWS_ENVIRONMENT}
    releases = settings.RUNTIME / "releases"
    for version in (FIRST, GOOD, BROKEN):
        archive = releases / f"{settings.APPLICATION}-{version}.tar.gz"
        commands = [["app/publish_release.py", str(archive), "--bucket", settings.RELEASES_BUCKET]]
        if not archive.exists():
            commands.insert(0, ["app/build_release.py", "--version", version, "--output", str(releases)])
        for command in commands:
            done = subprocess.run(
                [sys.executable, *command], cwd=settings.ROOT, env=environment, capture_output=True, text=True
            )
            if done.returncode:
                raise DemoError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        screen.line(f"    {settings.APPLICATION} {version}", DIM)


def records() -> list[dict]:
    """The last state of each rollout, the newest last. The next rollout overwrites the record; S3 keeps versions."""
    s3 = boto3.client("s3", endpoint_url=settings.AWS_ENDPOINT, region_name=settings.REGION,
                      aws_access_key_id="lab", aws_secret_access_key="lab")  # fmt: skip
    found: dict[str, dict] = {}
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=settings.ROLLOUTS_BUCKET):
        for version in page.get("Versions", []):
            place = {"Bucket": settings.ROLLOUTS_BUCKET, "Key": version["Key"], "VersionId": version["VersionId"]}
            record = json.loads(s3.get_object(**place)["Body"].read())
            known = found.setdefault(record["rollout_id"], record)
            # Versions of the same second come in any order; the audit trail only grows.
            if len(record["audit"]) > len(known["audit"]):
                found[record["rollout_id"]] = record
    return sorted(found.values(), key=lambda record: record["started_at"])


def unfinished() -> bool:
    """Whether an earlier demonstration was interrupted within a rollout."""
    found = records()
    return bool(found) and found[-1]["finished_at"] is None


def demo(screen: Screen, rate: float) -> report.Report:
    """Show it all; return the report.

    :raises DemoError: when something that was to be shown did not happen.
    """
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with screen.chapter("Build and publish three releases"):
        publish(screen)
    if unfinished():
        with screen.chapter("Take back what an earlier demonstration left unfinished"):
            require(play(screen, "rollback", FIRST)[0], "taking it back")
    with screen.chapter(f"Configure PostgreSQL, Prometheus and the hosts; ship {FIRST}"):
        require(play(screen, "demo", FIRST, **AT_ONCE)[0], f"shipping {FIRST}")
    url = f"https://{settings.APPLICATION}.lab.test:{settings.LISTENER_PORT}/"
    generator = traffic.Traffic(
        url,
        OUTPUT / "traffic.jsonl",
        addresses=settings.node_addresses(settings.LOAD_BALANCER_BLOCK),
        ca=settings.CA_CERTIFICATE,
        rate=rate,
        http2_share=0.3,
        request=["GET /", 'POST /api/query {"query": "backup"}'],
    )
    began = time.time()
    with generator:
        screen.line(f"    {rate:g} requests/s from here on, HTTP/1.1 and HTTP/2, connections kept open")
        with screen.chapter(f"Ship {GOOD} through 10, 30, 50 and 100 %"):
            require(play(screen, "deploy", GOOD)[0], f"shipping {GOOD}")
        failed = generator.summary(since=began)["failed"]
        if failed:
            raise DemoError(f"{failed} requests failed while {GOOD} was shipped")
        with screen.chapter(f"Ship {BROKEN}, which answers one request in five with an error"):
            result, condemned = play(screen, "deploy", BROKEN, app_environment=FAULTS)
            if result.rc == 0 or condemned is None:
                raise DemoError(f"no gate stopped {BROKEN}: {(result.errors or ['it was shipped'])[-1]}")
    shown = [record for record in records() if report.epoch(record["started_at"]) >= began - 1]
    done = report.summarise(
        shown,
        traffic.read(generator.output),
        report.read_lines(settings.RUNTIME / "aws-journal.jsonl"),
        {BROKEN: condemned},
    )
    report.write(PAGE, done)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (default: %(default)g)")
    options = parser.parse_args()
    screen = Screen()
    try:
        with screen.chapter("Start the lab"):
            subprocess.run([sys.executable, "-m", "lab", "up"], cwd=settings.ROOT, check=True)
        done = demo(screen, options.rate)
    except KeyboardInterrupt:
        screen.line("interrupted; `make demo` takes back what is half done and begins again", RED)
        return 130
    except (DemoError, subprocess.CalledProcessError) as error:
        screen.line(f"demo: {error}", RED)
        print(f"The lab stays up for you to look at; logs are in {OUTPUT}. `make demo-down` removes it.")
        return 1
    print()
    print(report.terminal(done, screen.colour))
    print()
    screen.line(f"report: {PAGE.relative_to(settings.ROOT)}")
    subprocess.run([sys.executable, "-m", "lab", "status"], cwd=settings.ROOT, check=False)
    print("The lab stays up. `make demo-down` removes it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
