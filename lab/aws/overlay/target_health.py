"""Target health as AWS has it: unused until a listener or rule forwards to the group, then the outcome of real probes.

`Target` decides and knows no clock; `Checks` probes and keeps time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from moto.elbv2.exceptions import ELBClientError, TargetGroupNotFoundError, TargetNotRunning
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeTargetGroup

from lab.aws.core import Lab
from lab.aws.overlay.forward_actions import attached

log = logging.getLogger(__name__)

TICK = 0.05
PROBES_AT_ONCE = 200
NOT_IN_USE = ("unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
NOT_REGISTERED = ("unused", "Target.NotRegistered", "Target is not registered to the target group")
REGISTERING = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING = ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY = ("healthy", None, None)
DRAINING = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
DISABLED = ("unavailable", "Target.HealthCheckDisabled", "Health checks are not enabled for this target group")

Status = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class Outcome:
    """What one probe found: passed, or a reason and its description."""

    passed: bool
    reason: str = ""
    description: str = ""


@dataclass
class Target:
    """A registered target and its state in AWS's words; times are monotonic seconds."""

    id: str
    port: int
    status: Status = NOT_IN_USE
    in_a_row: int = 0  # outcomes like the last one
    last_passed: bool | None = None
    next_check: float = 0.0
    probing: bool = False
    gone_at: float | None = None

    @property
    def state(self) -> str:
        """The state alone."""
        return self.status[0]

    def use(self, in_use: bool, checked: bool, now: float) -> None:
        """Follow whether a listener or rule forwards to the group, and whether the group is checked at all."""
        if self.gone_at is not None:
            return
        if not in_use:
            self.status = NOT_IN_USE
        elif not checked:
            self.status = DISABLED
        elif self.state in ("unused", "unavailable"):
            self.status, self.in_a_row, self.last_passed, self.next_check = REGISTERING, 0, None, now

    def record(self, outcome: Outcome, healthy_threshold: int, unhealthy_threshold: int) -> None:
        """Take in the outcome of a probe. One passed check is enough for a target that is new."""
        if self.state not in ("initial", "healthy", "unhealthy"):
            return
        self.in_a_row = self.in_a_row + 1 if outcome.passed is self.last_passed else 1
        self.last_passed = outcome.passed
        if outcome.passed:
            if self.state == "initial" or self.in_a_row >= healthy_threshold:
                self.status = HEALTHY
        elif self.state == "unhealthy" or self.in_a_row >= unhealthy_threshold:
            self.status = ("unhealthy", outcome.reason, outcome.description)
        elif self.state == "initial":
            self.status = CHECKING

    def drain(self, now: float, delay: float) -> None:
        """Begin the deregistration delay."""
        if self.gone_at is None:
            self.status, self.gone_at = DRAINING, now + delay


@dataclass(frozen=True)
class Probe:
    """One health check to make."""

    address: str
    port: int
    path: str
    tls: bool
    matcher: str
    timeout: float
    group: Any = field(compare=False, repr=False)
    target: Target = field(compare=False, repr=False)


def install(lab: Lab) -> None:
    """Replace moto's registry of targets and its word on their health, and start the checks."""
    checks = Checks(lab)

    def register(group: Any, targets: list[dict[str, Any]]) -> None:
        for entry in targets:
            _check_target(group, entry)
        for entry in targets:
            key = _key(group, entry)
            known = group.targets.get(key)
            if known is None or known.gone_at is not None:
                group.targets[key] = Target(*key)

    def deregister(group: Any, targets: list[dict[str, Any]]) -> None:
        keys = [key for entry in targets for key in _registered(group, entry)]
        now, delay = time.monotonic(), float(group.attributes["deregistration_delay.timeout_seconds"])
        for key in keys:
            target = group.targets[key]
            # Nothing flows to a group that is not in use, so nothing has to drain.
            if target.state == "unused" or delay == 0:
                del group.targets[key]
            else:
                target.drain(now, delay)

    def terminated(group: Any, instance_ids: list[str]) -> None:
        for key in [key for key in group.targets if key[0] in instance_ids]:
            del group.targets[key]

    def describe(backend: Any, target_group_arn: str, targets: list[dict[str, Any]]) -> list[FakeHealthStatus]:
        group = backend.target_groups.get(target_group_arn)
        if group is None:
            raise TargetGroupNotFoundError()
        checks.follow(backend, time.monotonic())
        keys = [_key(group, entry) for entry in targets] if targets else list(group.targets)
        return [_described(group, *key) for key in keys]

    def create(backend: Any, name: str, **options: Any) -> Any:
        if options.get("healthcheck_enabled") in ("false", False) and options.get("target_type") != "lambda":
            raise ELBClientError("ValidationError", _must_check(options.get("target_type")))
        return original_create(backend, name, **options)

    def modify(backend: Any, arn: str, *positional: Any, **options: Any) -> Any:
        group = backend.target_groups.get(arn)
        off = str(options.get("health_check_enabled")).lower() == "false"
        if group is not None and off and group.target_type != "lambda":
            raise ELBClientError("ValidationError", _must_check(group.target_type))
        return original_modify(backend, arn, *positional, **options)

    original_create, original_modify = ELBv2Backend.create_target_group, ELBv2Backend.modify_target_group
    FakeTargetGroup.register = register
    FakeTargetGroup.deregister = deregister
    FakeTargetGroup.deregister_terminated_instances = terminated
    ELBv2Backend.describe_target_health = describe
    ELBv2Backend.create_target_group = create
    ELBv2Backend.modify_target_group = modify
    lab.loop(lambda: asyncio.run(checks.run()))


class Checks:
    """Probes the targets of groups in use, each at its group's interval."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False  # as ALB: a target's certificate is not verified
        self._tls.verify_mode = ssl.CERT_NONE

    async def run(self) -> None:
        """Probe for ever."""
        slots = asyncio.Semaphore(PROBES_AT_ONCE)
        running: set[asyncio.Task[None]] = set()
        while True:
            try:
                probes = self.due(time.monotonic())
            except Exception:
                log.exception("health checks")
                probes = []
            for probe in probes:
                task = asyncio.create_task(self._check(probe, slots))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(TICK)

    def due(self, now: float) -> list[Probe]:
        """Bring all targets up to date and return the probes whose time has come."""
        with self._lab.lock:
            return [
                _probe(group, target)
                for backend in self._lab.load_balancing()
                for group in self.follow(backend, now)
                for target in group.targets.values()
                if self._take(group, target, now)
            ]

    def follow(self, backend: Any, now: float) -> list[Any]:
        """Move targets in and out of use and drop the drained; return the groups that are checked."""
        in_use = attached(backend)
        for group in backend.target_groups.values():
            for key, target in list(group.targets.items()):
                if target.gone_at is not None and (now >= target.gone_at or group.arn not in in_use):
                    del group.targets[key]
                else:
                    target.use(group.arn in in_use, group.health_check_enabled, now)
        return [g for g in backend.target_groups.values() if g.arn in in_use and g.target_type == "ip" and g.targets]

    def _take(self, group: Any, target: Target, now: float) -> bool:
        if target.probing or target.gone_at is not None or target.status == DISABLED or now < target.next_check:
            return False
        target.probing = True
        interval = float(group.health_check_interval_seconds) * self._lab.settings.health_check_scale
        # Keep the beat, but do not catch up on checks that were missed.
        target.next_check = max(now, target.next_check + interval)
        return True

    async def _check(self, probe: Probe, slots: asyncio.Semaphore) -> None:
        async with slots:
            outcome = await probe_once(probe, self._tls)
        with self._lab.lock:
            probe.target.probing = False
            probe.target.record(
                outcome, int(probe.group.healthy_threshold_count), int(probe.group.unhealthy_threshold_count)
            )


async def probe_once(probe: Probe, tls: ssl.SSLContext | None) -> Outcome:
    """Make one health check request and judge the answer."""
    writer = None
    try:
        async with asyncio.timeout(probe.timeout):
            reader, writer = await asyncio.open_connection(
                probe.address, probe.port, ssl=tls if probe.tls else None, limit=16384
            )
            writer.write(
                f"GET {probe.path} HTTP/1.1\r\nHost: {probe.address}:{probe.port}\r\nConnection: close\r\n"
                "User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n".encode()
            )
            version, _space, rest = (await reader.readline()).decode("latin-1").partition(" ")
            await reader.readuntil(b"\r\n\r\n")
    except TimeoutError:
        return Outcome(False, "Target.Timeout", "Request timed out")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return Outcome(False, "Target.FailedHealthChecks", "Health checks failed")
    finally:
        if writer is not None:
            with suppress(OSError, RuntimeError):
                writer.close()
    code = rest[:3]
    if not version.startswith("HTTP/") or not code.isdigit():
        return Outcome(False, "Target.FailedHealthChecks", "Health checks failed")
    if matches(probe.matcher, int(code)):
        return Outcome(True)
    return Outcome(False, "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{code}]")


def matches(matcher: str, code: int) -> bool:
    """Whether a status code is one of a matcher's, written as `200`, `200,302` or `200-399`."""
    for part in matcher.split(","):
        first, _dash, last = part.partition("-")
        if int(first) <= code <= int(last or first):
            return True
    return False


def serving(targets: Iterable[Target]) -> dict[tuple[str, int], bool]:
    """Return for each registered target whether it gets new requests: the healthy, or all when none is (fail open)."""
    staying = [target for target in targets if target.gone_at is None]
    healthy = {(target.id, target.port) for target in staying if target.state == "healthy"}
    return {(target.id, target.port): not healthy or (target.id, target.port) in healthy for target in staying}


def _probe(group: Any, target: Target) -> Probe:
    return Probe(
        address=target.id,
        port=_health_port(group, target.port),
        path=group.health_check_path or "/",
        tls=group.health_check_protocol == "HTTPS",
        matcher=str((getattr(group, "matcher", None) or {}).get("HttpCode", "200")),
        timeout=float(group.health_check_timeout_seconds),
        group=group,
        target=target,
    )


def _health_port(group: Any, port: int) -> int:
    return port if group.health_check_port in (None, "traffic-port") else int(group.health_check_port)


def _key(group: Any, entry: dict[str, Any]) -> tuple[str, int]:
    return entry["Id"], int(entry.get("Port") or group.port or 0)


def _registered(group: Any, entry: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the registered targets that an entry means: without a port, all with its id; none is no error."""
    return [key for key in group.targets if key[0] == entry["Id"] and int(entry.get("Port") or key[1]) == key[1]]


def _check_target(group: Any, entry: dict[str, Any]) -> None:
    if group.target_type == "ip":
        try:
            ipaddress.ip_address(entry["Id"])
        except ValueError:
            message = f"The IP address '{entry['Id']}' is not a valid IPv4 address"
            raise ELBClientError("ValidationError", message) from None
    if not 0 <= _key(group, entry)[1] <= 65535:
        raise ELBClientError("ValidationError", f"The port '{entry.get('Port')}' is not valid")
    if group.target_type == "instance":
        instance = group.ec2_backend.get_instance_by_id(entry["Id"])
        if instance is None:
            message = f"The following targets do not exist: '{entry['Id']}'"
            raise ELBClientError("InvalidTarget", message)
        if instance.state != "running":
            raise TargetNotRunning(instance_id=entry["Id"])


def _described(group: Any, target_id: str, port: int) -> FakeHealthStatus:
    target = group.targets.get((target_id, port))
    status = target.status if target else NOT_REGISTERED
    return FakeHealthStatus(target_id, str(port), str(_health_port(group, port)), *status)


def _must_check(target_type: Any) -> str:
    return f"Health check enabled must be true for target groups with target type '{target_type or 'instance'}'"
