"""What HAProxy is told, as pure functions of the state that the control plane wants.

A listener is two frontends. The outer one has the clients' connections, TLS and HTTP/2, and hands each request on by a
connection of its own to the inner one: HAProxy answers a request that its target drops with 502 only when it is the
first of a client's connection, and closes a kept one without a word. Besides, requests on connections that an old
process still has after a reload are so ruled by the new one.

In the inner frontend the first rule whose conditions match gives `txn.rule`; that rule's stickiness cookie or else a
random number looked up in the rule's weights gives `txn.group`; `use_backend` follows it. Weights and stickiness are
maps and targets are server slots, so that both change in the running process (`runtime`). Everything else is structure,
and needs a reload.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, summarize_address_range
from typing import Any

State = Mapping[str, Any]

CONFIGURATION = "haproxy.cfg"
STICKINESS = "stickiness.map"
MASTER_SOCKET = "master.sock"
LOG_MARK = "request"

# A random number below this picks the group. The map looks numbers up as IPv4 networks, longest prefix first: a range
# of numbers is then a handful of entries instead of one for each number.
RANDOM_RANGE = 2**20

# Backends and server slots are made ahead, so that a new target group or target needs no reload; twice as many when
# there are too few.
SMALLEST_LAYOUT = 8
SMALLEST_POOL = 16
IDLE_SECONDS = 60  # the default of the load balancer attribute idle_timeout.timeout_seconds
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Slot:
    """A server line of a backend: the target that has it, and "on", "drain" (finishes its requests) or "off"."""

    address: str = ""
    port: int = 0
    traffic: str = "off"


@dataclass(frozen=True)
class Backend:
    """A backend, and the target group that has it or had it last."""

    group: str | None = None
    stickiness_seconds: int | None = None
    slots: tuple[Slot, ...] = (Slot(),) * SMALLEST_POOL


Layout = tuple[Backend, ...]


def backend_name(number: int) -> str:
    """Return the name of a backend, counted from 0."""
    return f"b{number}"


def slot_name(number: int) -> str:
    """Return the name of a server slot, counted from 0."""
    return f"s{number}"


def outer_name(port: int) -> str:
    """Return the name of the frontend that has the clients of a listener's port."""
    return f"port-{port}"


def inner_name(port: int) -> str:
    """Return the name of the frontend that applies the rules of a listener's port."""
    return f"rules-{port}"


def rule_name(listener: State, rule: State) -> str:
    """Return the name of a rule: the same after other rules came and went, so that no map changes its meaning."""
    return "rule-" + hashlib.sha256(f"{listener['arn']} {rule['arn']}".encode()).hexdigest()[:12]


def weights_file(rule: str) -> str:
    """Return the name of the map of a rule's weights."""
    return f"weights-{rule}.map"


def lay_out(layout: Layout, groups: Mapping[str, State]) -> Layout:
    """Return a layout in which each target group has a backend and each target a slot; those they have, if they do.

    A group that is gone keeps its backend while no other needs it, and its targets finish what they have.
    Raises ValueError for a group's id that is not safe as a name.
    """
    backends = list(layout)
    numbers = {backend.group: number for number, backend in enumerate(backends) if backend.group}
    new = [group for group in groups if group not in numbers]
    free = [number for number, backend in enumerate(backends) if backend.group not in groups]
    free.sort(key=lambda number: backends[number].group is not None)  # never used before used
    size = max(len(backends), SMALLEST_LAYOUT)
    while size - len(backends) + len(free) < len(new):
        size *= 2
    free += range(len(backends), size)
    backends += [Backend()] * (size - len(backends))
    numbers |= dict(zip(new, free, strict=False))
    taken = {numbers[group]: group for group in groups}
    for number, backend in enumerate(backends):
        group = taken.get(number)
        if group is None:
            gone = tuple(slot if slot.traffic == "drain" else replace(slot, traffic="off") for slot in backend.slots)
            backends[number] = replace(backend, slots=gone)
        elif not re.fullmatch(r"[A-Za-z0-9_.-]+", group):
            raise ValueError(f"a target group's id must be made of letters, digits, '_', '.' and '-', not {group!r}")
        else:
            seconds = groups[group].get("stickiness_seconds")
            backends[number] = Backend(group, seconds, assign(backend.slots, groups[group]["targets"]))
    return tuple(backends)


def assign(slots: tuple[Slot, ...], targets: Iterable[State]) -> tuple[Slot, ...]:
    """Return slots in which each target has one: the one it has or had, else a free one, else a new one.

    A slot that gets free by this very change is not given away in it: its last requests are still to be ended.
    """
    wanted = {(target["address"], int(target["port"])): target["traffic"] for target in targets}
    found = [Slot(slot.address, slot.port, wanted.pop((slot.address, slot.port), "off")) for slot in slots]
    free = [number for number, slot in enumerate(slots) if slot.traffic == "off" and found[number].traffic == "off"]
    free.sort(key=lambda number: slots[number] != Slot())  # never used before used
    size = max(len(found), SMALLEST_POOL)
    while size - len(found) + len(free) < len(wanted):
        size *= 2
    free += range(len(found), size)
    found += [Slot()] * (size - len(found))
    for number, ((address, port), traffic) in zip(free, wanted.items(), strict=False):
        found[number] = Slot(address, port, traffic)
    return tuple(found)


def enabling(before: Layout, after: Layout) -> list[str]:
    """Return the commands that let new targets in: to be run before weights move to them."""
    commands = []
    for server, old, new in _pairs(before, after):
        if (new.address, new.port) != (old.address, old.port):
            commands.append(f"set server {server} addr {new.address} port {new.port}")
        if new.traffic == "on" != old.traffic:
            commands.append(f"set server {server} state ready")
    return commands


def disabling(before: Layout, after: Layout) -> list[str]:
    """Return the commands that give targets no more requests: to be run after weights have moved away from them.

    Maintenance, not HAProxy's drain: that would still take requests that come with a target's stickiness cookie.
    Requests in flight go on, until a draining target is gone: then its deregistration delay is over.
    """
    commands = []
    for server, old, new in _pairs(before, after):
        if old.traffic == "on" != new.traffic:
            commands.append(f"set server {server} state maint")
        if old.traffic == "drain" and new.traffic == "off":
            commands.append(f"shutdown sessions server {server}")
    return commands


def weights(forward: Sequence[State], layout: Layout) -> list[str]:
    """Return the lines of a rule's map: which random numbers go to which group; none when all weights are 0."""
    total = sum(entry["weight"] for entry in forward)
    lines, reached, low = [], 0, 0
    for entry in forward:
        reached += entry["weight"]
        high = round(RANDOM_RANGE * reached / total) if total else 0
        if high > low:
            networks = summarize_address_range(IPv4Address(low), IPv4Address(high - 1))
            lines += [f"{network} {_choice(entry['group'], layout)}" for network in networks]
        low = high
    return lines


def stickiness(state: State, layout: Layout) -> list[str]:
    """Return the lines of the map that says for how many seconds a rule is sticky, and to which groups."""
    lines = []
    for listener in state["listeners"]:
        for rule in listener["rules"]:
            if rule["stickiness_seconds"]:
                name = rule_name(listener, rule)
                lines.append(f"{name} {rule['stickiness_seconds']}")
                groups = [entry["group"] for entry in rule["forward"]]
                lines += [f"{name}/{group} {_choice(group, layout)}" for group in groups]
    return lines


def maps(state: State, layout: Layout) -> dict[str, list[str]]:
    """Return the lines of all maps by file name."""
    found = {
        weights_file(rule_name(listener, rule)): weights(rule["forward"], layout)
        for listener in state["listeners"]
        for rule in listener["rules"]
        if not rule["fixed"]
    }
    return {**found, STICKINESS: stickiness(state, layout)}


def structure(state: State, layout: Layout, address: str, log_port: int) -> dict[str, str]:
    """Return the files that only a reload changes; two equal results differ at most in weights, groups and targets."""
    empty = tuple(replace(backend, slots=(Slot(),) * len(backend.slots)) for backend in layout)
    return {CONFIGURATION: _configuration(state, empty, address, log_port), **_attachments(state)}


def files(state: State, layout: Layout, address: str, log_port: int) -> dict[str, str]:
    """Return all files by name, with the present weights and targets.

    state: as `node.Node.apply` takes it; layout: which backend and slots its groups have.
    address: where to listen; log_port: the UDP port of 127.0.0.1 that takes the access log.
    Raises ValueError for what cannot be told to HAProxy.
    """
    texts = {name: "".join(f"{line}\n" for line in lines) for name, lines in maps(state, layout).items()}
    return {CONFIGURATION: _configuration(state, layout, address, log_port), **_attachments(state), **texts}


def _choice(group: str, layout: Layout) -> str:
    """Return a map's value that stands for a group: the backend that it has, and its id for the log and the cookie."""
    number = next(number for number, backend in enumerate(layout) if backend.group == group)
    return f"{backend_name(number)}:{group}"


def _pairs(before: Layout, after: Layout) -> Iterator[tuple[str, Slot, Slot]]:
    """Yield the name, the old and the new content of each server slot that both layouts have."""
    for number, (old, new) in enumerate(zip(before, after, strict=False)):
        for index, pair in enumerate(zip(old.slots, new.slots, strict=False)):
            yield f"{backend_name(number)}/{slot_name(index)}", *pair


def _attachments(state: State) -> dict[str, str]:
    found = {}
    for listener in state["listeners"]:
        if listener["protocol"] == "HTTPS":
            if not listener["certificate_pem"]:
                raise ValueError(f"listener {listener['arn']} is HTTPS and has no certificate with a private key")
            found[f"{outer_name(listener['port'])}.pem"] = listener["certificate_pem"]
        for rule in listener["rules"]:
            if rule["fixed"]:
                found[f"{rule_name(listener, rule)}.body"] = rule["fixed"]["body"]
    return found


def _configuration(state: State, layout: Layout, address: str, log_port: int) -> str:
    idle = state.get("idle_timeout_seconds") or IDLE_SECONDS
    lines = _GLOBAL.format(log_port=log_port, idle=idle, connect=CONNECT_SECONDS, log_format=_LOG_FORMAT).splitlines()
    lines += [
        f"    http-error status {status} content-type text/html string {_NO_ANSWER}" for status in (502, 503, 504)
    ]
    for listener in state["listeners"]:
        lines += ["", *_outer(listener, address, idle), "", *_inner(listener)]
    for number, backend in enumerate(layout):
        lines += ["", *_backend(number, backend)]
    return "\n".join(lines) + "\n"


# One thread: a load balancer of the lab is not to take the machine's cores from the hosts, and a look-up then never
# sees half of a map's change. noreuseport: a second process on our address must be an error, not a silent partner.
_GLOBAL = """\
global
    nbthread 1
    noreuseport
    maxconn 4000
    log 127.0.0.1:{log_port} len 4096 format raw local0
    stats socket unix@./worker.sock level admin mode 600 expose-fd listeners
    ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
    mode http
    log global
    option dontlognull
    log-format "{log_format}"
    timeout connect {connect}s
    timeout client {idle}s
    timeout http-request {idle}s
    timeout http-keep-alive {idle}s
    timeout server {idle}s
    timeout tunnel {idle}s
    retries 0
    http-reuse always
    # After a reload an idle connection of the old process gets one more answer before it closes: closing it at once
    # would race with the request that a client is just sending.
    option idle-close-on-response"""

_LOG_FORMAT = f"{LOG_MARK} %f %b %[var(txn.group),field(2,:)] %s %si:%sp %ST %ts %Tr %Ta %[var(txn.answered)]"

_NO_ANSWER = "'<html><body><h1>The load balancer has no answer from a target.</h1></body></html>'"


def _outer(listener: State, address: str, idle: int) -> list[str]:
    port, secure = int(listener["port"]), listener["protocol"] == "HTTPS"
    tls = f" ssl crt {outer_name(port)}.pem alpn h2,http/1.1" if secure else ""
    lines = [
        f"bind {address}:{port}{tls}",
        "no log",
        "option forwardfor",
        f"http-request set-header X-Forwarded-Proto {'https' if secure else 'http'}",
        f"http-request set-header X-Forwarded-Port {port}",
        f"timeout server {idle + 5}s",  # the inner one is to tell of it
        "http-reuse never",
        "option http-server-close",
        f"server inner unix@./{inner_name(port)}.sock",
    ]
    return [f"listen {outer_name(port)}", *(f"    {line}" for line in lines)]


def _inner(listener: State) -> list[str]:
    port = int(listener["port"])
    rules = sorted(listener["rules"], key=lambda rule: (rule["priority"] is None, rule["priority"] or 0))
    lines = [f"bind unix@./{inner_name(port)}.sock mode 600", "acl matched var(txn.rule) -m found"]
    for rule in rules:
        name = rule_name(listener, rule)
        acls = _conditions(name, rule["conditions"])
        lines += [f"acl {acl} {test}" for acl, test in acls.items()]
        lines.append(f"http-request set-var(txn.rule) str({name}) if {' '.join(['!matched', *acls])}")
    lines += [
        # The cookie counts when the rule that matched is sticky and forwards to the cookie's group.
        f"http-request set-var(txn.sticky) var(txn.rule),map({STICKINESS})",
        "http-request set-var(txn.cookie) req.cook(AWSALBTG) if { var(txn.sticky) -m found }",
        f"http-request set-var(txn.group) var(txn.rule),concat(/,txn.cookie),map({STICKINESS})"
        " if { var(txn.cookie) -m found }",
        "acl chosen var(txn.group) -m found",
    ]
    for rule in rules:
        name = rule_name(listener, rule)
        matched = f"{{ var(txn.rule) -m str {name} }}"
        if fixed := rule["fixed"]:
            answer = f"status {int(fixed['status'])} content-type {_quoted(fixed['content_type'])} file {name}.body"
            lines.append(f"http-request return {answer} if {matched}")
        else:
            choice = f"rand({RANDOM_RANGE}),map_ip({weights_file(name)})"
            lines.append(f"http-request set-var(txn.group) {choice} if {matched} !chosen")
    backend, group = "var(txn.group),field(1,:)", "var(txn.group),field(2,:)"
    expires = "%[date,add(txn.sticky),http_date]"
    waited = f"{{ date(0,ms),sub(txn.began) ge {CONNECT_SECONDS * 1000 - 50} }}"
    lines += [
        f"http-request return status 503 content-type text/html string {_NO_ANSWER} unless chosen",
        "http-request set-var(txn.began) date(0,ms)",
        f"use_backend %[{backend}]",
        "http-response set-var(txn.answered) bool(true)",
        f'http-response add-header Set-Cookie "AWSALBTG=%[{group}]; Expires={expires}; Path=/"'
        " if { var(txn.sticky) -m found }",
        # HAProxy says 503 when it gets no connection to a target; AWS says 502, and 504 when it waited for one.
        "acl answered var(txn.answered) -m found",
        "acl unconnected srv_id -m found",
        f"http-after-response set-status 504 if !answered unconnected {{ status 503 }} {waited}",
        "http-after-response set-status 502 if !answered unconnected { status 503 }",
        "http-after-response set-header Server awselb/2.0 if !answered",
    ]
    return [f"frontend {inner_name(port)}", *(f"    {line}" for line in lines)]


def _conditions(name: str, conditions: State) -> dict[str, str]:
    tests = {}
    if conditions.get("paths"):
        tests[f"{name}-path"] = f"path -m reg {_patterns(conditions['paths'])}"
    if conditions.get("hosts"):
        tests[f"{name}-host"] = f"req.hdr(host),host_only -m reg -i {_patterns(conditions['hosts'])}"
    for number, header in enumerate(conditions.get("headers") or []):
        if not re.fullmatch(r"[A-Za-z0-9!#$%&*+.^_|~-]+", header["name"]):
            raise ValueError(f"{header['name']!r} is no name of an HTTP header")
        tests[f"{name}-header{number}"] = f"req.fhdr({header['name']}) -m reg -i {_patterns(header['values'])}"
    return tests


def _patterns(values: Iterable[str]) -> str:
    """Return regular expressions for values in which * stands for any characters and ? for one."""
    wild = {"*": ".*", "?": "."}
    return " ".join(_quoted(f"^{''.join(wild.get(c) or re.escape(c) for c in value)}$") for value in values)


def _quoted(text: str) -> str:
    """Return text as one word of HAProxy's configuration; raises ValueError for characters that have no place in it."""
    if not text.isprintable():
        raise ValueError(f"unprintable characters in {text!r}")
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _backend(number: int, backend: Backend) -> list[str]:
    lines = [f"backend {backend_name(number)}", "    balance roundrobin"]
    if seconds := backend.stickiness_seconds:
        lines += [f"    cookie AWSALB insert dynamic maxidle {int(seconds)}s", "    dynamic-cookie-key lab"]
    for index, slot in enumerate(backend.slots):
        # A free slot needs an address, and no two the same where cookies are made from them.
        place = f"{slot.address}:{slot.port}" if slot.address else f"127.0.0.1:{index + 1}"
        lines.append(f"    server {slot_name(index)} {place}{'' if slot.traffic == 'on' else ' disabled'}")
    return lines
