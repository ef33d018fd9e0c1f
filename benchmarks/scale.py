"""Do more targets cost more calls?

    python -m benchmarks.scale [--targets 2,100] [--rules 5]

Two target groups with so many targets each, which answer health checks for real, and rules that move as one. Counted
are the calls to plan (alb_traffic_info, and alb_traffic in check mode), to attach green (alb_traffic) and to wait for
health (alb_target_health, both groups). They must be the same in number, whatever the number of targets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks import support
from benchmarks.support import Figure
from lab import seed, settings

NAME = f"{support.NAME}-scale"
PORT = 8081
FIRST_PORT = 21000
POLLS = 3
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Calls = dict[str, Counter]


def run(targets: Sequence[int] = (2, 100), rules: int = 5) -> dict[int, Calls]:
    """Count the calls of each part, by action, for each number of targets in a group.

    :raises support.BenchmarkError: when a module fails.
    """
    support.up()
    found = {}
    with _answering(max(targets)):
        for number in targets:
            try:
                found[number] = _count(number, _account(number, rules))
                support.say(f"{number} targets: {sum(calls.total() for calls in found[number].values())} calls")
            finally:
                support.remove_balancers(NAME)
    return found


def _count(targets: int, rules: list[int]) -> Calls:
    groups = {color: f"{NAME}-{color}" for color in ("blue", "green")}
    look = {"load_balancer": NAME, "listeners": [{"port": PORT, "priorities": rules}], "target_groups": groups}
    calls: Calls = {}

    def measured(part: str, module: str, options: dict) -> dict:
        mark = support.mark()
        result = support.run_module(module, options)
        if result.get("failed"):
            raise support.BenchmarkError(f"{module}: {result['msg']}")
        calls[part] = Counter(call["action"] for call in support.journal(mark, "elbv2", NAME))
        return result

    seen = measured("plan: alb_traffic_info", "alb_traffic_info", {**look, "validate": True})
    arns = {color: group["arn"] for color, group in seen["target_groups"].items()}
    if any(group["total"] != targets for group in seen["target_groups"].values()):
        raise support.BenchmarkError("not all targets are registered")
    move = {"arns": [each["arn"] for each in seen["forwards"]], "weights": {arns["blue"]: 100, arns["green"]: 0}}
    measured("plan: alb_traffic, check mode", "alb_traffic", {**move, "_ansible_check_mode": True})
    measured("attach: alb_traffic", "alb_traffic", move)
    support.wait("both groups to be healthy", lambda: all(map(support.healthy, arns.values())), 180)
    demand = {"target_groups": list(arns.values()), "stable_polls": POLLS, "interval": 1}
    health = measured(f"health: {POLLS} polls of 2 groups", "alb_target_health", demand)
    if any(group["healthy"] != targets for group in health["groups"].values()):
        raise support.BenchmarkError("not all targets are healthy")
    return calls


def _account(targets: int, rules: int) -> list[int]:
    """Make a load balancer with rules that forward to blue, and two groups of targets; return the priorities."""
    support.remove_balancers(NAME)
    elbv2 = seed.client("elbv2")
    bench = elbv2.describe_load_balancers(Names=[support.NAME])["LoadBalancers"][0]
    subnets = [zone["SubnetId"] for zone in bench["AvailabilityZones"]]
    balancer = elbv2.create_load_balancer(Name=NAME, Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    places = [{"Id": str(settings.GATEWAY), "Port": FIRST_PORT + number} for number in range(targets)]
    groups = {}
    for color in ("blue", "green"):
        group = elbv2.create_target_group(
            Name=f"{NAME}-{color}",
            Protocol="HTTP",
            Port=8000,
            VpcId=bench["VpcId"],
            TargetType="ip",
            HealthCheckPath="/",
            # The lab checks five times as often as it is told: this spares the machine.
            HealthCheckIntervalSeconds=30,
            HealthCheckTimeoutSeconds=10,
            HealthyThresholdCount=2,
        )["TargetGroups"][0]
        groups[color] = group["TargetGroupArn"]
        elbv2.register_targets(TargetGroupArn=groups[color], Targets=places)
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
    listener = elbv2.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=PORT, DefaultActions=[fixed])
    forward = {"TargetGroups": [{"TargetGroupArn": groups["blue"], "Weight": 100}]}
    for priority in range(1, rules + 1):
        elbv2.create_rule(
            ListenerArn=listener["Listeners"][0]["ListenerArn"],
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": [f"/{priority}/*"]}],
            Actions=[{"Type": "forward", "ForwardConfig": forward}],
        )
    return list(range(1, rules + 1))


@contextlib.contextmanager
def _answering(count: int) -> Iterator[None]:
    """Answer 200 on so many ports of the lab's network."""
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    async def listen() -> None:
        for number in range(count):
            await asyncio.start_server(answer, str(settings.GATEWAY), FIRST_PORT + number)
        ready.set()

    loop.create_task(listen())
    threading.Thread(target=loop.run_forever, daemon=True).start()
    if not ready.wait(10):
        raise support.BenchmarkError(f"the ports from {FIRST_PORT} on could not be had")
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)


def figures(found: dict[int, Calls], rules: int) -> list[Figure]:
    """As a table: a line for each part, with the calls for each number of targets."""
    smallest, *_others = found
    rows = []
    for part in found[smallest]:
        numbers = [calls[part].total() for calls in found.values()]
        rows.append(Figure(part, " / ".join(map(str, numbers)), "all equal", len(set(numbers)) == 1))
    writes = [sum(calls[part]["ModifyRule"] for part in calls) for calls in found.values()]
    return [
        Figure("rules", rules),
        Figure("targets in each group", " / ".join(map(str, found))),
        *rows,
        Figure("of them ModifyRule", " / ".join(map(str, writes)), f"= {rules}", set(writes) == {rules}),
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default="2,100", help="numbers of targets in each group, separated by commas")
    parser.add_argument("--rules", type=int, default=5, help="rules that move as one")
    options = parser.parse_args()
    targets = [int(number) for number in options.targets.split(",")]
    return support.show("scale", figures(run(targets, options.rules), options.rules))


if __name__ == "__main__":
    sys.exit(main())
