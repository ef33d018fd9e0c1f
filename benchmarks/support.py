"""The deployment that the benchmarks work on, and words that they share.

It lives in the developer's lab beside the demo's, with hosts, load balancer, database and Prometheus of its own
(benchmarks/inventory). `up` makes what is missing of it and is quick when nothing is.

    python -m benchmarks.support up|down
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import demo, playbooks, processes, report, seed, settings, traffic
from lab.aws.control import Control

NAME = "bench"
BLOCK = 2
NODES = settings.node_addresses(BLOCK)
URL = f"https://{settings.APPLICATION}.lab.test:{settings.LISTENER_PORT}/"
BUCKET = "techcorp-rag-admin-bench"
RECORD = f"{settings.APPLICATION}/{NAME}.json"
INVENTORY = "benchmarks/inventory"
OUTPUT = settings.RUNTIME / NAME
LIVE, NEXT = demo.FIRST, demo.GOOD  # versions of blue and of green
LAB = (sys.executable, "-m", "lab")
HOSTS = {
    "bench-blue-1": ("bookworm", "10.213.77.110"),
    "bench-green-1": ("trixie", "10.213.77.111"),
    "bench-services-1": ("trixie", "10.213.77.112"),
}
# What is not about gates goes to 100 % in one step; the probe still proves that every node follows.
AT_ONCE = {"blue_green_steps": [{"weight": 100}], "blue_green_bake": "0", "blue_green_gate_checks": []}
# Both versions are on their hosts: a rollout need not install what is there.
INSTALLED = {"app_version": NEXT, "app_installed_version": NEXT}
SKIP_INSTALL = ("--skip-tags", "install")


class BenchmarkError(Exception):
    """What was to be measured did not take place."""


@dataclass(frozen=True)
class Figure:
    """One line of a result: what was measured, what came out, and its limit, if it has one."""

    name: str
    value: Any
    limit: str = ""
    good: bool | None = None

    @staticmethod
    def at_most(name: str, value: float, limit: float, unit: str = "") -> Figure:
        """A figure that must not exceed its limit."""
        return Figure(name, f"{value:.4g}{unit}", f"≤ {limit:g}{unit}", value <= limit)

    @staticmethod
    def equal(name: str, value: Any, wanted: Any) -> Figure:
        """A figure that must be exactly so."""
        return Figure(name, value, f"= {wanted}", value == wanted)


def show(title: str, figures: Iterable[Figure]) -> int:
    """Print a table of figures; return the exit status, 0 when all are within their limits."""
    figures = list(figures)
    width = max(len(figure.name) for figure in figures)
    print(f"\n{title}")
    for figure in figures:
        mark = {None: "", True: "ok", False: "MISSED"}[figure.good]
        print(f"  {figure.name:<{width}}  {figure.value!s:>12}  {figure.limit:<14} {mark}".rstrip())
    missed = [figure for figure in figures if figure.good is False]
    print(f"{'FAIL' if missed else 'PASS'}: {title}: {len(missed)} of {len(figures)} figures missed", flush=True)
    return 1 if missed else 0


def say(text: str) -> None:
    """Print progress to standard error, so that the table alone is the output."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def control() -> Control:
    """The lab's AWS: settings, faults, journal."""
    return Control(settings.AWS_ENDPOINT)


def command(*words: str) -> None:
    """Run a command; raise BenchmarkError with what it says when it fails."""
    done = subprocess.run(words, cwd=settings.ROOT, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


def play(
    name: str,
    variables: dict | None = None,
    *arguments: str,
    inventory: str = INVENTORY,
    on_event: Callable[[dict], None] = lambda event: None,
    log: str = "",
) -> playbooks.Result:
    """Run a playbook of ``playbooks/`` or ``benchmarks/playbooks/`` on the deployment; return what it came to."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    own = settings.ROOT / "benchmarks" / "playbooks" / f"{name}.yml"
    return playbooks.run(
        str(own) if own.exists() else name,
        variables,
        *arguments,
        inventory=inventory,
        on_event=on_event,
        log=OUTPUT / f"{log or name}.jsonl",
    )


def require(result: playbooks.Result, what: str) -> playbooks.Result:
    """Return the result; raise BenchmarkError with the playbook's own words when it failed."""
    if result.rc:
        raise BenchmarkError(f"{what} failed: {(result.errors or result.text or ['no message'])[-1]}")
    return result


def up() -> None:
    """Have the lab, the hosts and both versions: blue serves LIVE, green has NEXT and no traffic."""
    if not processes.running("aws"):
        command(*LAB, "up")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    seed.load_balancer(NAME, BLOCK)
    seed.bucket(BUCKET, versioned=True)
    seed.database_secret(f"{NAME}/database", HOSTS["bench-services-1"][1])
    for name, (distribution, address) in HOSTS.items():
        command(*LAB, "host", "up", name, "--distribution", distribution, "--address", address)
    if version_of("bench-blue-1") != LIVE or version_of("bench-green-1") != NEXT:
        say("configure the hosts, which takes a few minutes the first time")
        with contextlib.redirect_stdout(sys.stderr):
            demo.publish(demo.Screen())
        reset(attach=False)
        for playbook in ("database", "monitoring"):
            require(play(playbook), playbook)
        install("app_blue", LIVE)
        install("app_green", NEXT)
    reset()


def install(hosts: str, version: str, **environment: str) -> None:
    """Have a version run on the hosts of a group, with faults as the environment says."""
    variables = {"hosts": hosts, "app_version": version, "app_environment": {"APP_FAULTS": "enabled", **environment}}
    require(play("install", variables, log=f"install-{hosts}"), f"installing {version} on {hosts}")


def version_of(host: str) -> str | None:
    """The version that a host answers with, None when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{HOSTS[host][1]}:8000/ready", timeout=3) as answer:
            return answer.headers["X-App-Version"]
    except OSError:
        return None


def down() -> None:
    """Remove hosts, load balancer, groups and records; the lab stays."""
    command(*LAB, "host", "down", *HOSTS)
    remove_balancers(NAME)
    s3 = seed.client("s3")
    for found in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for item in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=BUCKET, Key=item["Key"], VersionId=item["VersionId"])


def remove_balancers(prefix: str) -> None:
    """Remove the load balancers and target groups whose names begin so."""
    elbv2 = seed.client("elbv2")
    for balancer in elbv2.describe_load_balancers()["LoadBalancers"]:
        if balancer["LoadBalancerName"].startswith(prefix):
            for listener in elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
                elbv2.delete_listener(ListenerArn=listener["ListenerArn"])
            elbv2.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    for group in elbv2.describe_target_groups()["TargetGroups"]:
        if group["TargetGroupName"].startswith(f"{prefix}-"):
            elbv2.delete_target_group(TargetGroupArn=group["TargetGroupArn"])


def group_arn(color: str) -> str:
    """The ARN of a colour's target group."""
    return seed.client("elbv2").describe_target_groups(Names=[f"{NAME}-{color}"])["TargetGroups"][0]["TargetGroupArn"]


def listener_arn() -> str:
    """The ARN of the listener."""
    elbv2 = seed.client("elbv2")
    balancer = elbv2.describe_load_balancers(Names=[NAME])["LoadBalancers"][0]["LoadBalancerArn"]
    return elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"][0]["ListenerArn"]


def reset(attach: bool = True) -> None:
    """Set-up, not measured: blue gets all traffic, green is not attached, there is no record of a rollout.

    attach: also register the hosts and wait until blue is healthy and both nodes serve it.
    """
    elbv2 = seed.client("elbv2")
    blue, green = group_arn("blue"), group_arn("green")
    weigh(blue=100)
    if attach:
        for arn, host in ((blue, "bench-blue-1"), (green, "bench-green-1")):
            registered = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
            wanted = {"Id": HOSTS[host][1], "Port": 8000}
            others = [each["Target"] for each in registered if each["Target"]["Id"] != wanted["Id"]]
            if others:
                keys = [{"Id": each["Id"], "Port": each["Port"]} for each in others]
                elbv2.deregister_targets(TargetGroupArn=arn, Targets=keys)
            elbv2.register_targets(TargetGroupArn=arn, Targets=[wanted])
        wait("blue to be healthy", lambda: healthy(blue))
        wait("both nodes to serve blue", lambda: all(color_at(node) == "blue" for node in NODES))
    seed.client("s3").delete_object(Bucket=BUCKET, Key=RECORD)


def weigh(**weights: int) -> None:
    """Set-up, not measured: give the colours these weights."""
    groups = [{"TargetGroupArn": group_arn(color), "Weight": weight} for color, weight in weights.items()]
    action = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
    seed.client("elbv2").modify_listener(ListenerArn=listener_arn(), DefaultActions=[action])


def healthy(group: str) -> bool:
    """Whether all targets of a group are, those that drain aside."""
    answer = seed.client("elbv2").describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    states = {each["TargetHealth"]["State"] for each in answer} - {"draining"}
    return states == {"healthy"}


def color_at(node: str) -> str | None:
    """The colour that answers at a node now."""
    return traffic.send(URL, address=node, ca=settings.CA_CERTIFICATE, timeout=5)["color"]


def wait(what: str, condition: Callable[[], Any], seconds: float = 60) -> None:
    """Return when the condition is true; raise BenchmarkError when it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {seconds:g} s for {what}, in vain")
        time.sleep(0.2)


def load(name: str, rate: float) -> traffic.Traffic:
    """A load generator through both nodes: connections kept alive, three of ten requests by HTTP/2."""
    return traffic.Traffic(
        URL,
        OUTPUT / f"{name}.traffic.jsonl",
        addresses=NODES,
        ca=settings.CA_CERTIFICATE,
        rate=rate,
        http2_share=0.3,
        request=["GET /", 'POST /api/query {"query": "backup"}'],
    )


@contextlib.contextmanager
def lags(a: float, b: float) -> Iterator[None]:
    """Let the nodes follow the API so many seconds later while the block runs. It concerns the whole lab."""
    before = control().settings()
    control().settings(lag_a=a, lag_b=b)
    try:
        yield
    finally:
        control().settings(lag_a=before["lag_a"], lag_b=before["lag_b"])


def at(event: dict) -> float:
    """When an event of a playbook happened, seconds since the epoch."""
    return report.epoch(event["_timestamp"])


epoch = report.epoch


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else math.nan


def cpu_waits() -> float:
    """Seconds since boot in which something waited for a processor: a machine that is overloaded proves nothing."""
    some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    return int(some.rpartition("total=")[2]) / 1e6


def run_module(name: str, options: dict, prefix: Sequence[str] = ()) -> dict:
    """Run a module as Ansible runs it on the controller, without the seconds that Ansible takes; return its result.

    prefix: a command that runs the rest of its line, such as unshare.
    """
    done = subprocess.run(
        [*prefix, sys.executable, "-m", f"ansible_collections.techcorp.rag_admin.plugins.modules.{name}"],
        env={**os.environ, **settings.environment(), "PYTHONPATH": str(settings.ROOT / ".ansible" / "collections")},
        cwd=settings.ROOT,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        text=True,
        timeout=300,
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise BenchmarkError(f"{name} answered with no JSON: {done.stdout[-500:]} {done.stderr[-1500:]}") from None


def journal(since: int, service: str | None = None, name: str = NAME) -> list[dict]:
    """The calls since a mark that concern this deployment, or what else has a name of its own."""
    entries = control().journal(since=since, **({"service": service} if service else {}))
    return [entry for entry in entries if name in json.dumps([entry["resource"], entry["parameters"]])]


def weights_in(call: dict) -> dict[str, int]:
    """The weights by colour that a journalled ModifyListener or ModifyRule asked for."""
    found = {}
    for name, value in call["parameters"].items():
        if name.endswith("TargetGroupArn") and "TargetGroups.member" in name:
            weight = call["parameters"].get(name.removesuffix("TargetGroupArn") + "Weight") or 1
            found[value.split("/")[-2].rsplit("-", 1)[1]] = int(weight)
    return found


def mark() -> int:
    """The journal's end."""
    return control().mark()


def main(arguments: Sequence[str]) -> int:
    """Make or remove the deployment."""
    if list(arguments) not in (["up"], ["down"]):
        print(__doc__, file=sys.stderr)
        return 2
    up() if arguments[0] == "up" else down()
    return 0


def path(name: str) -> Path:
    """A file of a benchmark's own."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    return OUTPUT / name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
