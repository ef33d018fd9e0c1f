"""The pure part of the load balancer: which random numbers, backends and slots stand for what."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.alb import config
from lab.alb.access_log import parse
from tests.lab.alb_fixtures import group, rule, state

NAMES = ("blue", "green", "red", "grey", "gold")
LAYOUT = config.lay_out((), {name: group() for name in NAMES})


def forward(*weights: int) -> list[dict]:
    return [{"group": name, "weight": weight} for name, weight in zip(NAMES, weights, strict=False)]


def target(number: int, traffic: str = "on") -> dict:
    return {"address": f"10.0.0.{number}", "port": 80, "traffic": traffic}


def numbers(lines: list[str]) -> dict[str, list[range]]:
    found: dict[str, list[range]] = {}
    for line in lines:
        network, choice = line.split()
        low = int(IPv4Network(network).network_address)
        found.setdefault(choice.partition(":")[2], []).append(range(low, low + IPv4Network(network).num_addresses))
    return found


@given(st.lists(st.integers(0, 999), min_size=1, max_size=5).filter(any))
def test_each_number_goes_to_one_group_and_each_group_has_its_share(weights: list[int]) -> None:
    found = numbers(config.weights(forward(*weights), LAYOUT))
    ranges = sorted((each for group in found.values() for each in group), key=lambda each: each.start)
    assert ranges[0].start == 0
    assert ranges[-1].stop == config.RANDOM_RANGE
    assert all(before.stop == after.start for before, after in pairwise(ranges))
    for name, weight in zip(NAMES, weights, strict=False):
        share = sum(len(each) for each in found.get(name, [])) / config.RANDOM_RANGE
        assert share == pytest.approx(weight / sum(weights), abs=1e-6)
        assert (share > 0) == (weight > 0)


def test_no_number_is_given_away_when_all_weights_are_0() -> None:
    assert config.weights(forward(0, 0), LAYOUT) == []


def test_a_target_keeps_its_slot() -> None:
    slots = config.assign((), [target(1), target(2)])
    after = config.assign(slots, [target(2, "drain"), target(3)])
    assert after[0] == config.Slot("10.0.0.1", 80, "off")
    assert after[1] == config.Slot("10.0.0.2", 80, "drain")
    assert after[2] == config.Slot("10.0.0.3", 80, "on")
    assert config.assign(after, [target(1)])[0] == config.Slot("10.0.0.1", 80, "on")


def test_a_slot_is_not_given_away_in_the_change_that_frees_it() -> None:
    full = config.assign((), [target(number) for number in range(config.SMALLEST_POOL)])
    after = config.assign(full, [target(100)])
    assert len(after) == 2 * config.SMALLEST_POOL
    assert after[config.SMALLEST_POOL] == config.Slot("10.0.0.100", 80, "on")
    # The next change has the freed ones, the unused first.
    later = config.assign(after, [target(number) for number in range(100, 131)])
    assert len(later) == 2 * config.SMALLEST_POOL
    assert later[0].address == "10.0.0.116"


def test_a_group_keeps_its_backend_and_gets_it_back() -> None:
    both = config.lay_out((), {"blue": group(target(1)), "green": group(target(2))})
    alone = config.lay_out(both, {"green": group(target(2))})
    assert [backend.group for backend in alone[:2]] == ["blue", "green"]
    assert [slot.traffic for slot in alone[0].slots if slot.address] == ["off"]
    assert config.lay_out(alone, {"blue": group(target(1)), "green": group(target(2))}) == both


def test_backends_of_groups_that_are_gone_are_used_last() -> None:
    layout = config.lay_out((), {"old": group()})
    many = {f"g{number}": group() for number in range(config.SMALLEST_LAYOUT)}
    assert layout[0].group == "old"
    layout = config.lay_out(layout, many)
    assert len(layout) == config.SMALLEST_LAYOUT
    assert layout[0].group == f"g{config.SMALLEST_LAYOUT - 1}"
    assert len(config.lay_out(layout, many | {"more": group()})) == 2 * config.SMALLEST_LAYOUT


def test_commands_of_a_change() -> None:
    before = config.lay_out((), {"blue": group(target(1), target(2), target(3, "drain"))})
    after = config.lay_out(before, {"blue": group(target(2, "drain"), target(4))})
    assert config.enabling(before, after) == ["set server b0/s3 addr 10.0.0.4 port 80", "set server b0/s3 state ready"]
    assert config.disabling(before, after) == [
        "set server b0/s0 state maint",
        "set server b0/s1 state maint",
        "shutdown sessions server b0/s2",
    ]


def test_weights_groups_and_targets_are_no_structure() -> None:
    def structure(weights: dict[str, int], **groups: dict) -> dict[str, str]:
        wanted = state([rule(weights, stickiness_seconds=weights["blue"] or None)], groups)
        return config.structure(wanted, config.lay_out((), groups), "127.0.0.1", 1)

    one = structure({"blue": 1}, blue=group(target(1)))
    assert one == structure({"blue": 0, "green": 2}, blue=group(target(1, "drain")), green=group(target(3)))
    assert one != structure({"blue": 1}, blue=group(target(1), stickiness_seconds=60))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (state([rule({"a b": 1})], {"a b": group()}), "id must be made of"),
        (state([rule({}, paths=["/a\nb"])], {}), "unprintable"),
        (state([rule({}, headers=[{"name": "x) -m", "values": ["1"]}])], {}), "no name of an HTTP header"),
        (state([rule({})], {}, pem=""), None),
    ],
)
def test_what_cannot_be_told_to_haproxy_is_refused(wanted: dict, words: str | None) -> None:
    if words is None:
        wanted["listeners"][0]["protocol"] = "HTTPS"
        words = "no certificate with a private key"
    with pytest.raises(ValueError, match=words):
        config.files(wanted, config.lay_out((), wanted["groups"]), "127.0.0.1", 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "request port-80 b0 blue-1 s0 10.0.0.1:8000 200 -- 12 20 1",
            {
                "group": "blue-1",
                "target": "10.0.0.1:8000",
                "status": 200,
                "origin": "target",
                "reason": "--",
                "seconds": 0.012,
            },
        ),
        (
            "request port-80 b0 blue-1 s0 -:- 502 SC -1 3 -",
            {
                "group": "blue-1",
                "target": "10.0.0.9:80",
                "status": 502,
                "origin": "lb",
                "reason": "SC",
                "seconds": 0.003,
            },
        ),
        (
            "request port-80 b0 blue-1 s0 10.0.0.1:8000 -1 CH -1 500 -",
            {
                "group": "blue-1",
                "target": "10.0.0.1:8000",
                "status": 460,
                "origin": "lb",
                "reason": "CH",
                "seconds": 0.5,
            },
        ),
        (
            "request port-80 port-80 - <NOSRV> -:- 503 LR -1 0 -",
            {"group": None, "target": None, "status": 503, "origin": "lb", "reason": "LR", "seconds": 0.0},
        ),
        ("Proxy port-80 started.", None),
        ("request port-81 b0 blue-1 s0 10.0.0.1:8000 200 -- 12 20 1", None),
    ],
)
def test_log_lines(line: str, expected: dict | None) -> None:
    def slots(_backend: str, slot: str) -> str | None:
        return "10.0.0.9:80" if slot == "s0" else None

    event = parse(line, 5.0, {"port-80": "arn"}, slots)
    assert event == (expected and expected | {"listener": "arn", "at": 5.0})
