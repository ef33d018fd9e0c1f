"""A load balancer node on a real HAProxy: what its clients, its targets and its log see."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.alb import config
from lab.alb.node import Node, NodeError
from lab.alb.runtime import RuntimeFailure
from tests.lab.alb_fixtures import (
    HOST,
    PORT,
    Backend,
    address,
    backends,
    certificate,
    eventually,
    group,
    nodes,
    rule,
    state,
)


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Backend]]:
    """A blue and a green target."""
    with backends("blue", "green") as found:
        yield found


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[tuple[Node, list[dict[str, Any]]]]:
    """One node and its events."""
    with nodes(tmp_path) as ([node], events):
        yield node, events


def both(pair: list[Backend], blue: int, green: int, **rule_options: Any) -> dict[str, Any]:
    groups = {backend.color: group(backend.target()) for backend in pair}
    return state([rule({"blue": blue, "green": green}, **rule_options)], groups)


class Client(http.client.HTTPConnection):
    """A keep-alive connection to the first node."""

    def __init__(self) -> None:
        super().__init__(address(0), PORT, timeout=20)

    def get(self, path: str = "/", **headers: str) -> http.client.HTTPResponse:
        self.request("GET", path, headers=headers)
        response = self.getresponse()
        response.text = response.read().decode()  # type: ignore[attr-defined]
        return response

    def color(self, path: str = "/", **headers: str) -> str | None:
        return self.get(path, **headers).headers["X-App-Color"]


def test_shares_follow_the_weights_and_0_gets_nothing(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    client = Client()
    for blue, green in ((100, 0), (70, 30), (1, 2), (0, 999)):
        node.apply(both(pair, blue, green))
        count = 1200
        share = Counter(client.color() for _ in range(count))["green"] / count
        wanted = green / (blue + green)
        # Four standard deviations; none where all goes to one.
        assert abs(share - wanted) <= 4 * (wanted * (1 - wanted) / count) ** 0.5, (blue, green, share)
    assert node.reloads == 0


def test_a_rule_follows_a_map_change_with_its_next_request(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    client = Client()
    for turn in range(200):
        node.apply(both(pair, turn % 2, 1 - turn % 2))
        assert client.color() == ("blue" if turn % 2 else "green")


def test_an_attached_group_and_new_targets_need_no_reload(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    blue, green = pair
    node.apply(state([rule({"blue": 1})], {"blue": group(blue.target())}))
    client = Client()
    assert client.color() == "blue"
    node.apply(state([rule({"blue": 1, "green": 0})], {"blue": group(blue.target()), "green": group()}))
    node.apply(both(pair, 0, 1))
    assert client.color() == "green"
    node.apply(state([rule({"green": 1})], {"green": group(green.target())}))
    assert client.color() == "green"
    assert node.reloads == 0


def test_more_groups_and_targets_than_there_is_room_for(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    many = {f"g{number}": group(pair[1].target()) for number in range(20)}
    targets = [pair[1].target(), *({"address": address(8), "port": port, "traffic": "drain"} for port in range(1, 41))]
    rules = [rule({f"g{number}": 1}, priority=number + 1, paths=[f"/{number}"]) for number in range(20)]
    node.apply(state([*rules, rule({"many": 1})], many | {"many": group(*targets)}))
    client = Client()
    assert {client.color("/"), client.color("/19")} == {"green"}
    assert node.reloads == 1


def test_a_slot_given_to_another_target_leads_there(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    client = Client()
    for turn in range(40):  # more often than there are slots
        backend = pair[turn % 2]
        other = {"address": backend.address, "port": backend.port, "traffic": "on"}
        filler = [{"address": address(8), "port": 1 + turn * 20 + n, "traffic": "drain"} for n in range(14)]
        node.apply(state([rule({"g": 1})], {"g": group(other, *filler)}))
        assert client.color() == backend.color
        node.apply(state([rule({"g": 1})], {"g": group()}))


def test_group_stickiness_goes_over_weights(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    client = Client()
    assert client.get().headers["Set-Cookie"] is None
    node.apply(both(pair, 1, 0, stickiness_seconds=60))
    cookie = client.get().headers["Set-Cookie"]
    assert cookie.startswith("AWSALBTG=")
    assert "Expires=" in cookie
    assert "Path=/" in cookie
    cookie = cookie.partition(";")[0]
    node.apply(both(pair, 0, 1, stickiness_seconds=60))
    assert client.color() == "green"
    assert client.color(Cookie=cookie) == "blue"
    # Without stickiness, and for a group that the rule does not name, the cookie says nothing.
    node.apply(both(pair, 0, 1))
    assert client.color(Cookie=cookie) == "green"
    node.apply(state([rule({"green": 1}, stickiness_seconds=60)], {"green": group(pair[1].target())}))
    assert client.color(Cookie=cookie) == "green"
    assert node.reloads == 0


def test_target_stickiness_ends_with_draining(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    blue, green = pair

    def targets(*found: dict[str, Any]) -> dict[str, Any]:
        return state([rule({"g": 1})], {"g": group(*found, stickiness_seconds=60)})

    node.apply(targets(blue.target(), green.target()))
    client = Client()
    response = client.get()
    cookie, color = response.headers["Set-Cookie"].partition(";")[0], response.headers["X-App-Color"]
    assert cookie.startswith("AWSALB=")
    assert {client.color(Cookie=cookie) for _ in range(10)} == {color}
    node.apply(targets(*(each.target("drain" if each.color == color else "on") for each in pair)))
    assert {client.color(Cookie=cookie) for _ in range(10)} == {"blue", "green"} - {color}


def test_errors_are_those_of_an_application_load_balancer(
    plane: Any, pair: list[Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, events = plane
    monkeypatch.setattr(config, "CONNECT_SECONDS", 1)
    dead = {"address": address(8), "port": 1, "traffic": "on"}
    full = socket.create_server((address(8), 0), backlog=0)
    waiting = []
    for _ in range(4):  # until the kernel takes no more connections for it
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(full.getsockname())
    silent = {"address": address(8), "port": full.getsockname()[1], "traffic": "on"}
    paths = ("dead", "empty", "nothing", "silent", "half")
    rules = [rule({name: 1}, priority=number + 1, paths=[f"/{name}"]) for number, name in enumerate(paths)]
    rules[2] = rule({"blue": 0}, priority=3, paths=["/nothing"])
    groups = {
        "dead": group(dead),
        "empty": group(),
        "silent": group(silent),
        "half": group(dead, pair[0].target()),
        "blue": group(pair[0].target()),
    }
    node.apply(state([*rules, rule({"blue": 1})], groups) | {"idle_timeout_seconds": 1})
    client = Client()
    expected = {
        "/dead": (502, "lb", "dead", f"{address(8)}:1", "SC"),
        "/empty": (503, "lb", "empty", None, "SC"),
        "/nothing": (503, "lb", None, None, "LR"),
        "/reset": (502, "lb", "blue", pair[0].place, "SH"),
        "/hang": (504, "lb", "blue", pair[0].place, "sH"),
        "/silent": (504, "lb", "silent", f"{silent['address']}:{silent['port']}", "sC"),
        "/status/503": (503, "target", "blue", pair[0].place, "--"),
        "/status/404": (404, "target", "blue", pair[0].place, "--"),
        "/": (200, "target", "blue", pair[0].place, "--"),
    }
    for path, (status, origin, *_rest) in expected.items():
        response = client.get(path)
        assert response.status == status, path
        assert (response.headers["Server"] == "awselb/2.0") == (origin == "lb"), path
    eventually(lambda: len(events) == len(expected))
    keys = ("status", "origin", "group", "target", "reason")
    assert [tuple(event[key] for key in keys) for event in events] == list(expected.values())
    assert {event["listener"] for event in events} == {f"arn:listener/{PORT}"}
    assert events[4]["seconds"] == pytest.approx(1, abs=0.3)
    # Nothing is tried again on another target.
    assert Counter(client.get("/half").status for _ in range(20)) == {200: 10, 502: 10}
    for each in [full, *waiting]:
        each.close()


def test_rules_are_matched_in_their_order(plane: Any, pair: list[Backend]) -> None:
    node, events = plane
    quoted = '/it\'s_"quoted"_$HOME_\\_%20'
    fixed = {"status": 404, "body": "gone\n% %[src] 'x'\n", "content_type": "text/plain"}
    rules = [
        rule({"blue": 1}),
        rule({"green": 1}, priority=20, paths=["/a*"]),
        rule(fixed=fixed, priority=10, paths=["/a/?/end", quoted]),
        rule(
            {"green": 1},
            priority=30,
            hosts=["*.Test.example"],
            headers=[{"name": "X-Kind", "values": ["beta*", "x y"]}],
        ),
    ]
    node.apply(state(rules, {backend.color: group(backend.target()) for backend in pair}))
    client = Client()
    assert client.color("/b") == "blue"
    assert client.color("/a/12/end") == "green"
    answer = client.get("/a/1/end?x=1")
    assert (answer.status, answer.text, answer.headers["Content-Type"]) == (404, fixed["body"], "text/plain")
    assert client.color("/A") == "blue"
    assert client.color("/", **{"X-Kind": "beta-2", "Host": "one.test.example:8443"}) == "green"
    assert client.color("/", **{"X-Kind": "X Y", "Host": "one.test.example"}) == "green"
    assert client.color("/", **{"X-Kind": "beta-2", "Host": "test.example"}) == "blue"
    assert client.color("/", Host="one.test.example") == "blue"
    eventually(lambda: len(events) == 8)
    assert (events[2]["status"], events[2]["origin"], events[2]["group"]) == (404, "lb", None)
    assert client.get(quoted).status == 404


def test_what_a_target_is_told_about_the_client(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    headers = json.loads(Client().get("/headers", **{"X-Forwarded-Proto": "gopher"}).text)  # type: ignore[attr-defined]
    assert headers["x-forwarded-for"].startswith("127.")
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"]) == ("http", str(PORT))
    assert headers["host"] == f"{address(0)}:{PORT}"


def test_draining_finishes_what_is_in_flight_and_takes_nothing_new(plane: Any, pair: list[Backend]) -> None:
    node, events = plane
    blue, green = pair

    def targets(*found: dict[str, Any]) -> dict[str, Any]:
        return state([rule({"g": 1})], {"g": group(*found)})

    node.apply(targets(blue.target()))
    client = Client()
    statuses = []
    slow = [threading.Thread(target=lambda s=s: statuses.append(Client().get(f"/sleep/{s}").status)) for s in (0.5, 30)]
    for each in slow:
        each.start()
    time.sleep(0.2)
    node.apply(targets(blue.target("drain"), green.target()))
    assert {client.color() for _ in range(10)} == {"green"}
    slow[0].join()
    assert statuses == [200]
    # The deregistration delay is over: what is still there is cut, as AWS does.
    node.apply(targets(green.target()))
    slow[1].join(5)
    assert statuses == [200, 502]
    eventually(lambda: events[-1]["target"] == blue.place)
    assert node.reloads == 0


def test_a_target_that_only_goes_away_finishes_what_it_has(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    statuses = []
    slow = threading.Thread(target=lambda: statuses.append(Client().get("/sleep/0.6").status))
    slow.start()
    time.sleep(0.2)
    node.apply(state([rule({"green": 1})], {"green": group(pair[1].target())}))
    assert Client().color() == "green"
    slow.join()
    assert statuses == [200]


def test_tls_with_http2_and_a_new_certificate(plane: Any, pair: list[Backend], tmp_path: Path) -> None:
    node, _events = plane
    groups = {"blue": group(pair[0].target())}
    for turn in range(2):
        public, pem = certificate()
        (tmp_path / "ca.pem").write_text(public)
        node.apply(state([rule({"blue": 1})], groups, pem))
        to = ["--cacert", str(tmp_path / "ca.pem"), "--resolve", f"{HOST}:{PORT}:{address(0)}"]
        said = subprocess.run(
            ["curl", "-sS", "--http2", "-w", "%{http_version}", *to, f"https://{HOST}:{PORT}/headers"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert said.endswith("}2")
        assert '"x-forwarded-proto": "https"' in said
        assert node.reloads == turn
    assert (tmp_path / "n0" / f"port-{PORT}.pem").stat().st_mode & 0o077 == 0


def test_listeners_come_and_go(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply({"listeners": [], "groups": {}})
    one = both(pair, 1, 0)
    node.apply(one)
    assert Client().color() == "blue"
    two = state([rule({"green": 1})], one["groups"], port=PORT + 1)
    node.apply({"listeners": one["listeners"] + two["listeners"], "groups": one["groups"]})
    second = Client()
    second.port = PORT + 1
    assert second.color() == "green"
    node.apply({"listeners": [], "groups": {}})
    with pytest.raises(ConnectionRefusedError):
        Client().get()


def test_a_taken_address_is_named_and_the_node_goes_on(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    one = both(pair, 1, 0)
    taken = rf"cannot listen on {address(0)}:{PORT}: another process"
    with socket.create_server((address(0), PORT)), pytest.raises(NodeError, match=taken):
        node.apply(one)
    node.apply(one)
    two = state([rule({"green": 1})], one["groups"], port=PORT + 1)
    wanted = {"listeners": one["listeners"] + two["listeners"], "groups": one["groups"]}
    with socket.create_server((address(0), PORT + 1)):
        with pytest.raises(NodeError, match=rf"{address(0)}:{PORT + 1}"):
            node.apply(wanted)
        assert Client().color() == "blue"
        node.apply(both(pair, 0, 1))
        assert Client().color() == "green"
    node.apply(wanted)
    assert Client().color() == "blue"


def test_a_second_node_is_no_silent_partner_of_the_first(plane: Any, pair: list[Backend], tmp_path: Path) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    other = Node("other", address(0), tmp_path / "other", lambda _event: None)
    with pytest.raises(NodeError, match="another process listens"):
        other.apply(both(pair, 0, 1))
    other.close()
    with socket.socket() as partner, pytest.raises(OSError, match="in use"):
        partner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        partner.bind((address(0), PORT))


def test_a_state_that_makes_no_sense_changes_nothing(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    broken = state([rule({"blue": 1})], {"blue": group(pair[0].target())}, pem="no certificate")
    with pytest.raises(NodeError, match="refuses its configuration"):
        node.apply(broken)
    assert Client().color() == "blue"
    node.apply(both(pair, 0, 1))
    assert Client().color() == "green"


@pytest.mark.parametrize("victim", ["master", "worker", "everything"])
def test_it_survives_being_killed(plane: Any, pair: list[Backend], victim: str) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))
    node.apply(both(pair, 0, 1))
    master, (worker, _old) = node._process.pid, node._master.workers()
    for pid in {"master": [master], "worker": [worker], "everything": [master, worker]}[victim]:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: node.restarts == 1)
    assert Client().color() == "green"
    node.apply(both(pair, 1, 0))
    assert Client().color() == "blue"


def test_a_worker_that_does_not_answer_commands_is_replaced(plane: Any, pair: list[Backend]) -> None:
    node, _events = plane
    node.apply(both(pair, 1, 0))

    def refuse(*_arguments: Any) -> None:
        raise RuntimeFailure("refused")

    node._master.replace_map = refuse
    node.apply(both(pair, 0, 1))
    assert (node.reloads, Client().color()) == (1, "green")


def test_close_leaves_nothing(tmp_path: Path, pair: list[Backend]) -> None:
    with nodes(tmp_path) as ([node], _events):
        node.apply(both(pair, 1, 0))
        slow = Client()
        slow.request("GET", "/sleep/20")
        time.sleep(0.1)
        node.apply(both(pair, 1, 0, priority=None) | {"idle_timeout_seconds": 30})  # a reload, with an old worker
        assert len(processes(tmp_path)) == 3
        began = time.monotonic()
        node.close()
        assert time.monotonic() - began < 3
        assert processes(tmp_path) == []
        with pytest.raises(ConnectionError):
            slow.getresponse()
        with pytest.raises(NodeError, match="is closed"):
            node.apply(both(pair, 1, 0))


@pytest.mark.parametrize("removed", [False, True])
def test_it_takes_over_from_a_killed_lab(tmp_path: Path, pair: list[Backend], removed: bool) -> None:
    first = Node("first", address(0), tmp_path / "n", lambda _event: None)
    first.apply(both(pair, 1, 0))
    orphan = first._process.pid
    first._process = None  # as if the process that owned it had been killed
    if removed:
        shutil.rmtree(tmp_path / "n")
    second = Node("second", address(0), tmp_path / "n", lambda _event: None)
    second.apply(both(pair, 0, 1))
    assert Client().color() == "green"
    assert orphan not in processes(tmp_path)
    second.close()
    first.close()
    assert processes(tmp_path) == []


def test_a_long_path_for_its_files(tmp_path: Path, pair: list[Backend]) -> None:
    node = Node("deep", address(0), tmp_path / ("d" * 120) / "n", lambda _event: None)
    node.apply(both(pair, 1, 0))
    node.apply(both(pair, 0, 1))
    assert Client().color() == "green"
    node.close()


def processes(directory: Path) -> list[int]:
    found = subprocess.run(["pgrep", "-x", "haproxy"], capture_output=True, text=True, check=False).stdout.split()
    places = {}
    for pid in found:
        with suppress(FileNotFoundError):
            places[int(pid)] = Path(f"/proc/{pid}/cwd").readlink()
    return [pid for pid, place in places.items() if place.is_relative_to(directory)]
