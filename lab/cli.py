"""The lab's command: up, down, status, env and single hosts."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from lab import processes, settings
from lab.hosts import image, machines
from lab.rds import host as rds
from lab.settings import Host

COMMANDS = ("podman", "runc", "mmdebstrap", "haproxy", "ip", "ss", "iptables", "ssh-keygen")
Log = Callable[[str, float], None]


class LabError(Exception):
    """A failure that the reader can do something about; its text says what."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = _parser().parse_args(arguments)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    try:
        return options.run(options) or 0
    except (LabError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("up", help="start AWS, load balancer and hosts; quick when they run").set_defaults(run=up)
    commands.add_parser("down", help="remove all that this checkout's lab made").set_defaults(run=down)
    commands.add_parser("status", help="show what runs; exit status 1 when something does not").set_defaults(run=status)
    commands.add_parser("env", help="print what a shell needs: eval $(python -m lab env)").set_defaults(run=env)
    host = commands.add_parser("host", help="single hosts").add_subparsers(required=True, metavar="ACTION")
    add = host.add_parser("up", help="start a host, or do nothing when it runs")
    add.add_argument("name")
    add.add_argument("--distribution", choices=settings.DISTRIBUTIONS, required=True)
    add.add_argument("--address", help="default: a free one from .100 to .199")
    add.set_defaults(run=host_up)
    for name, text, function in (
        ("down", "remove hosts", host_down),
        ("kill", "as if power were cut", host_kill),
        ("start", "switch on what was killed", host_start),
        ("cut", "take off the network", host_cut),
        ("join", "put back on the network", host_join),
    ):
        action = host.add_parser(name, help=text)
        action.add_argument("names", nargs="+", metavar="NAME")
        action.set_defaults(run=function)
    databases = commands.add_parser("rds", help="PostgreSQL clusters behind the RDS API").add_subparsers(
        required=True, metavar="ACTION"
    )
    clusters = databases.add_parser("up", help="start the host that RDS instances run on, and tell AWS")
    clusters.add_argument("--name", default=settings.RDS_HOST, help="another than the lab's own is not told to AWS")
    clusters.add_argument("--distribution", choices=settings.DISTRIBUTIONS, default="bookworm")
    clusters.set_defaults(run=rds_up, address=None)
    storage = commands.add_parser("s3", help="S3 by HTTPS, without the rest").add_subparsers(
        required=True, metavar="ACTION"
    )
    storage.add_parser("up", help="start it and AWS beside hosts that run, and print where").set_defaults(run=s3_up)
    listing = host.add_parser("list", help="list running hosts")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=host_list)
    return parser


def log(what: str, seconds: float) -> None:
    """Print where the time goes."""
    print(f"  {seconds:5.1f} s  {what}", file=sys.stderr, flush=True)


def require_machine() -> None:
    """Raise LabError when this machine lacks what the lab needs."""
    if missing := [command for command in COMMANDS if not shutil.which(command)]:
        raise LabError(f"not found: {', '.join(missing)}. `make setup` installs them on Debian, or says how.")
    if os.geteuid():
        raise LabError("the lab makes a network bridge and systemd containers: run it as root")


def take_over() -> list[dict]:
    """Clear away what a lab of another checkout left; return our own containers.

    Raises LabError when that other lab still works.
    """
    state = str(settings.RUNTIME)
    others = [(pid, owner) for pid, owner in processes.owned() if owner != state]
    for pid, owner in others:
        checkout = Path(owner).parent
        if "lab.aws" in processes.command_line(pid) and checkout.is_dir():
            raise LabError(
                f"the lab of {checkout} is running (pid {pid}) and there is one set of addresses. "
                f"Stop it: make -C {shlex.quote(str(checkout))} lab-down"
            )
    processes.stop([pid for pid, _owner in others])
    there = machines.containers()
    left = [container for container in there if not machines.is_ours(container)]
    for owner in {machines.labels(container)[machines.OWNER_LABEL] for container in left}:
        print(f"lab: removing what the stopped lab of {Path(owner).parent} left", file=sys.stderr)
    machines.remove(left)
    return [container for container in there if machines.is_ours(container)]


def prepare() -> list[dict]:
    """Make all that hosts need, whatever an earlier lab left; return our containers that are there."""
    require_machine()
    with image.locked(f"{settings.NAME}-prepare"):
        known = take_over()
        machines.ensure_keys()
        machines.ensure_network()
    return known


def up(_options: argparse.Namespace) -> int:
    """Start everything that does not run yet, in parallel; print addresses and timings."""
    started = time.monotonic()
    known = prepare()
    with ThreadPoolExecutor(len(settings.HOSTS) + 1) as pool:
        hosts = [pool.submit(machines.up, host, known, log) for host in settings.HOSTS]
        account = pool.submit(_account_up, hosts)
        # The first failure is told at once; the others are still waited for by the pool.
        for future in as_completed([*hosts, account]):
            future.result()
    print_addresses()
    log("lab up", time.monotonic() - started)
    return 0


def _account_up(hosts: list) -> None:
    """Start the AWS server and seed the account. Its address is the bridge's, which exists from the first host on."""
    if not _aws_answers():
        next(as_completed(hosts)).result()
        start_aws()
    elif processes.version_of("aws") != _aws_version():
        print(
            "lab: the AWS server runs older code than this checkout has; `make lab-down lab` renews it", file=sys.stderr
        )
    started = time.monotonic()
    from lab import s3, seed

    seed.seed()
    s3.ensure()
    log("account seeded", time.monotonic() - started)
    started = time.monotonic()
    for address in settings.node_addresses(settings.LOAD_BALANCER_BLOCK):
        while not processes.listener(address, settings.LISTENER_PORT):
            if time.monotonic() - started > 15:
                raise LabError(f"no load balancer on {address}:{settings.LISTENER_PORT}; see {settings.LOGS}/aws.log")
            time.sleep(0.1)


def start_aws(patience: float = 30) -> None:
    """Start the AWS server and wait until it answers; raises LabError with the end of its log."""
    started = time.monotonic()
    processes.stop_all(str(settings.RUNTIME), ["aws"])
    addresses = (str(settings.GATEWAY), "127.0.0.1")
    for address in addresses:
        if pid := processes.listener(address, settings.AWS_PORT):
            raise LabError(
                f"port {settings.AWS_PORT} on {address} is taken by pid {pid} ({processes.command_line(pid)[:80]}), "
                "which no lab started: stop it first"
            )
    path = settings.LOGS / "aws.log"
    earlier = path.stat().st_size if path.exists() else 0
    command = [sys.executable, "-m", "lab.aws"]
    command += ["--port", str(settings.AWS_PORT), "--state-dir", str(settings.RUNTIME)]
    for address in addresses:
        command += ["--bind", address]
    for name, value in settings.AWS_SETTINGS.items():
        command += ["--set", f"{name}={value}"]
    pid = processes.start("aws", command, {"PYTHONUNBUFFERED": "1"}, _aws_version())
    while not _aws_answers():
        if processes.start_time(pid) is None or time.monotonic() - started > patience:
            tail = "\n".join(path.read_bytes()[earlier:].decode(errors="replace").splitlines()[-15:])
            raise LabError(f"the AWS server did not start; the end of {path}:\n{tail}")
        time.sleep(0.05)
    log("AWS server", time.monotonic() - started)


def _aws_version() -> str:
    code = [
        path.read_bytes()
        for name in ("aws", "alb", "rds")
        for path in sorted((settings.ROOT / "lab" / name).rglob("*.py"))
    ]
    return hashlib.sha256(b"".join(code)).hexdigest()[:12]


def _aws_answers() -> bool:
    if not processes.running("aws"):
        return False
    try:
        with urllib.request.urlopen(f"{settings.AWS_ENDPOINT}/lab/settings", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def down(_options: argparse.Namespace) -> int:
    """Remove processes, containers, network and state of this checkout's lab; nothing else."""
    started = time.monotonic()
    processes.stop_all(str(settings.RUNTIME), ["aws"])
    if shutil.which("podman") and not os.geteuid():
        machines.remove([container for container in machines.containers() if machines.is_ours(container)])
        machines.remove_network()
    shutil.rmtree(settings.RUNTIME, ignore_errors=True)
    log("lab down", time.monotonic() - started)
    return 0


def status(_options: argparse.Namespace) -> int:
    """Print what runs and what does not."""
    require_machine()
    good = print_addresses()
    return 0 if good else 1


def print_addresses() -> bool:
    """Print a table of what the lab has and where; return whether all of it answers."""
    alive = {host.name: host for host in machines.running()}
    hosts = [*settings.HOSTS, *(host for host in alive.values() if host not in settings.HOSTS)]
    aws = _aws_answers()
    rows = [("AWS", settings.AWS_ENDPOINT, settings.REGION, aws)]
    nodes = settings.node_addresses(settings.LOAD_BALANCER_BLOCK)
    for letter, address in zip("ab", nodes, strict=True):
        listening = processes.listener(address, settings.LISTENER_PORT) is not None
        url = f"https://{address}:{settings.LISTENER_PORT}"
        rows.append((f"{settings.APPLICATION} {letter}", url, "load balancer", listening))
    for host in hosts:
        answering = host.name in alive and machines.answers(host.address)
        rows.append((host.name, f"root@{host.address}", f"Debian {host.distribution}", answering))
    for name, address, what, good in rows:
        print(f"  {name:<14} {address:<26} {what:<18} {'up' if good else 'DOWN'}")
    return all(row[3] for row in rows)


def env(_options: argparse.Namespace) -> int:
    """Print the environment in which AWS's tools and Ansible talk to the lab."""
    for name, value in settings.AWS_ENVIRONMENT.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def host_up(options: argparse.Namespace) -> int:
    """Start one host."""
    prepare()
    with image.locked(f"{settings.NAME}-addresses"):
        host = _host_named(options)
        machines.up(host, machines.containers(), log)
    print(f"{host.name} {host.address}")
    return 0


def rds_up(options: argparse.Namespace) -> int:
    """Start the host of the RDS instances and make it ready."""
    host_up(options)
    host = next(one for one in machines.running() if one.name == options.name)
    container = next(
        one for one in machines.containers() if machines.labels(one)[machines.ADDRESS_LABEL] == host.address
    )
    started = time.monotonic()
    rds.prepare(host.address, container["State"]["Pid"])
    log("PostgreSQL for RDS", time.monotonic() - started)
    if options.name == settings.RDS_HOST and _aws_answers():
        from lab.aws.control import Control

        try:
            Control(settings.AWS_ENDPOINT).rds_host(host.address)
        except ValueError as error:
            raise LabError(f"AWS does not take the RDS host: {error}") from error
    return 0


def s3_up(_options: argparse.Namespace) -> int:
    """Start AWS and S3 by HTTPS; print the addresses of AWS and of S3, and the file of its authority."""
    require_machine()
    if not _aws_answers():
        start_aws()
    from lab import s3

    s3.ensure()
    print(settings.AWS_ENDPOINT, settings.S3_HOST, settings.CA_CERTIFICATE)
    return 0


def _host_named(options: argparse.Namespace) -> Host:
    known = {host.name: host for host in machines.running()}
    address = options.address or (known[options.name].address if options.name in known else machines.free_address())
    return Host(options.name, address, options.distribution)


def host_down(options: argparse.Namespace) -> int:
    """Remove hosts; those that are not there count as removed."""
    machines.down(options.names)
    return 0


def host_kill(options: argparse.Namespace) -> int:
    """Kill hosts without a chance to stop cleanly."""
    machines.podman("kill", "--signal", "KILL", *_container_names(options))
    return 0


def host_start(options: argparse.Namespace) -> int:
    """Start killed hosts again, with their file systems as they were."""
    machines.podman("start", *_container_names(options))
    for name, address in _addresses(options.names).items():
        machines.wait_for_ssh(Host(name, address, ""))
    return 0


def host_cut(options: argparse.Namespace) -> int:
    """Take hosts off the network; what runs on them goes on."""
    for name in _container_names(options):
        machines.podman("network", "disconnect", settings.NETWORK, name)
    return 0


def host_join(options: argparse.Namespace) -> int:
    """Put hosts back on the network, at the addresses they had."""
    for name, address in _addresses(options.names).items():
        machines.podman(
            "network", "connect", "--ip", address, "--alias", name, settings.NETWORK, f"{settings.NAME}-{name}"
        )
        machines.wait_for_ssh(Host(name, address, ""))
    return 0


def _addresses(names: list[str]) -> dict[str, str]:
    found = {machines.labels(container)[machines.HOST_LABEL]: container for container in machines.containers()}
    if missing := [name for name in names if name not in found or not machines.is_ours(found[name])]:
        raise LabError(f"no host {', '.join(missing)}; there are: {', '.join(sorted(found)) or 'none'}")
    return {name: machines.labels(found[name])[machines.ADDRESS_LABEL] for name in names}


def _container_names(options: argparse.Namespace) -> list[str]:
    return [f"{settings.NAME}-{name}" for name in _addresses(options.names)]


def host_list(options: argparse.Namespace) -> int:
    """Print the hosts that run."""
    hosts = sorted(machines.running(), key=lambda host: host.name)
    if options.json:
        print(json.dumps([vars(host) for host in hosts]))
    for host in [] if options.json else hosts:
        print(f"{host.name:<16} {host.address:<16} {host.distribution}")
    return 0
