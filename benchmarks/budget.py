"""How many calls does a rollout cost, and does it matter how many targets there are?

    python -m benchmarks.budget [--targets 2,30]

`deploy.yml` ships a version through 10, 30, 50 and 100 % with the role's own gates and the demo's pauses, under load,
once with each number of targets over both groups. More targets are further addresses of the same two hosts. The journal
of the lab's AWS tells what was called. Pauses of seconds make the reads per second as many as they can be.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import support
from benchmarks.support import Figure
from lab import seed, settings
from lab.hosts import machines

STEPS = [
    {"weight": 10, "pause": "8s"},
    {"weight": 30, "pause": "5s"},
    {"weight": 50, "pause": "5s"},
    {"weight": 100, "pause": "5s"},
]
# Addresses beside the hosts' own, which no container is given as long as there are others.
FIRST = {"blue": 170, "green": 185}
MOST = 30
READS_A_SECOND = 0.5


@dataclass(frozen=True)
class Cost:
    """Calls of one rollout, by action, and how long it took in seconds."""

    targets: int
    seconds: float
    reads: Counter
    writes: Counter
    records: int

    @property
    def polls(self) -> int:
        """Reads of health, whose number is a matter of time."""
        return self.reads["DescribeTargetHealth"]


def run(targets: Sequence[int] = (2, MOST), rate: float = 110) -> list[Cost]:
    """Ship once with each number of targets, an even one of at most 30; return what each cost.

    :raises support.BenchmarkError: when a rollout fails.
    """
    support.up()
    try:
        return [_ship(number, rate) for number in targets]
    finally:
        support.reset()


def _ship(targets: int, rate: float) -> Cost:
    support.reset()
    addresses = {color: _addresses(color, targets // 2) for color in FIRST}
    elbv2 = seed.client("elbv2")
    blue, green = support.group_arn("blue"), support.group_arn("green")
    elbv2.register_targets(TargetGroupArn=blue, Targets=[{"Id": each, "Port": 8000} for each in addresses["blue"]])
    registered = elbv2.describe_target_health(TargetGroupArn=green)["TargetHealthDescriptions"]
    elbv2.deregister_targets(TargetGroupArn=green, Targets=[each["Target"] for each in registered])
    support.wait("blue to be healthy", lambda: support.healthy(blue))
    inventory = support.path("targets.yml")
    inventory.write_text(_inventory(addresses))
    variables = support.INSTALLED | {"blue_green_steps": STEPS, "blue_green_bake": "5s"}
    with support.load(f"budget-{targets}", rate):
        mark = support.mark()
        support.require(support.play("deploy", variables, "-i", str(inventory), *support.SKIP_INSTALL), "the rollout")
        calls = support.journal(mark)
    known = elbv2.describe_target_health(TargetGroupArn=green)["TargetHealthDescriptions"]
    carried = {each["Target"]["Id"] for each in known}
    if not set(addresses["green"]) <= carried:
        raise support.BenchmarkError(f"green has the targets {carried} only")
    elb = [call for call in calls if call["service"] == "elbv2"]
    return Cost(
        targets=targets,
        seconds=calls[-1]["at"] - calls[0]["at"],
        reads=Counter(call["action"] for call in elb if not call["mutating"]),
        writes=Counter(call["action"] for call in elb if call["mutating"]),
        records=len(calls) - len(elb),
    )


def _addresses(color: str, count: int) -> list[str]:
    """Give a colour's host so many addresses in all, and return them."""
    name = f"bench-{color}-1"
    extra = [str(settings.SUBNET[FIRST[color] + number]) for number in range(count - 1)]
    pid = machines.podman("inspect", "--format", "{{.State.Pid}}", f"{settings.NAME}-{name}").strip()
    for address in extra:
        support.command("nsenter", "-t", pid, "-n", "ip", "address", "replace", f"{address}/24", "dev", "eth0")
    return [support.HOSTS[name][1], *extra]


def _inventory(addresses: dict[str, list[str]]) -> str:
    lines = ["all:", "  children:"]
    for color, found in addresses.items():
        lines += [f"    app_{color}:", "      hosts:", f"        bench-{color}-1:"]
        lines += [f"        bench-{color}-{n}: {{ansible_host: {each}}}" for n, each in enumerate(found[1:], start=2)]
    return "\n".join(lines) + "\n"


def figures(costs: list[Cost]) -> list[Figure]:
    """As a table."""
    found = []
    for cost in costs:
        reads, name = cost.reads.total(), f"{cost.targets} targets: "
        moves, registrations = cost.writes["ModifyListener"], cost.writes["RegisterTargets"]
        found += [
            Figure(f"{name}seconds", f"{cost.seconds:.0f}"),
            Figure.at_most(f"{name}ModifyListener for one rule", moves, len(STEPS) + 1),
            Figure.at_most(f"{name}RegisterTargets", registrations, 1),
            Figure.equal(f"{name}other mutating ELB calls", cost.writes.total() - moves - registrations, 0),
            Figure(f"{name}ELB reads", f"{reads}, {cost.polls} of health"),
            Figure.at_most(f"{name}ELB reads a second", reads / cost.seconds, READS_A_SECOND),
            Figure(f"{name}calls for record and release", cost.records),
        ]
    apart = {frozenset((cost.reads - Counter({"DescribeTargetHealth": cost.polls})).items()) for cost in costs}
    return [*found, Figure.equal("reads differ, those of health apart", len(apart) > 1, False)]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=f"2,{MOST}", help="numbers of targets, separated by commas")
    options = parser.parse_args()
    return support.show("budget", figures(run([int(number) for number in options.targets.split(",")])))


if __name__ == "__main__":
    sys.exit(main())
