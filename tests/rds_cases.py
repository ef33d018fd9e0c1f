"""Values of settings as people write them, reduced to numbers on the way to a host and on the way to RDS.

Both renderings are read by tables of this file and by what a real server said of the setting, never by the code that
wrote them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import units
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_values as values

from lab.aws import catalogue

SIZES = {
    "B": 1,
    "kB": 1024,
    "8kB": 8192,
    "MB": 1024**2,
    "GB": 1024**3,
    "TB": 1024**4,
    "us": 1,
    "ms": 1000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
MEMORY, TIME = ("B", "kB", "MB", "GB", "TB"), ("us", "ms", "s", "min", "h", "d")
SETTINGS = {
    family: {
        setting["name"].lower(): setting
        for setting in catalogue.settings(version)
        if catalogue.parameters(family).get(setting["name"].lower(), {}).get("IsModifiable")
    }
    for family, version in catalogue.FAMILIES.items()
}


def case(chance: random.Random) -> tuple[str, str, Any]:
    """Return a family, a setting's name, and a value for it as a definition may have it."""
    family = chance.choice(sorted(SETTINGS))
    name = chance.choice(sorted(SETTINGS[family]))
    setting = SETTINGS[family][name]
    allowed = catalogue.parameters(family)[name].get("AllowedValues", "")
    if setting["vartype"] == "bool":
        return family, name, chance.choice([True, False, "on", "off", "yes", "no", 1, 0])
    if setting["vartype"] in ("enum", "string"):
        return family, name, chance.choice(allowed.split(",")) if allowed else chance.choice(["app", "UTC", "a, b"])
    low, high = (Decimal(limit) for limit in limits(allowed))
    return family, name, _number(chance, setting, low, high)


def mismatch(family: str, name: str, value: Any, spoil: Callable[[str], str] = str) -> str | None:
    """Return what is different between both renderings of a value, None when they mean the same."""
    setting = SETTINGS[family][name]
    described = values.from_boto(catalogue.parameters(family)[name])
    on_rds = spoil(values.wanted(described, value))
    on_host = units.render_host(units.quantity(value, setting["vartype"], setting.get("unit")), setting.get("unit"))
    kind = setting["vartype"]
    if kind == "bool":
        same = {"on": "1", "off": "0"}[on_host] == on_rds
    elif kind in ("enum", "string"):
        same = on_host.replace(" ", "").lower() == on_rds.replace(" ", "").lower()
    else:
        same = _reduced(on_host, setting.get("unit")) == Decimal(on_rds) * SIZES.get(setting.get("unit"), 1)
    return None if same else f"{family} {name}: {value!r} is {on_host} on a host and {on_rds} on RDS"


def limits(allowed: str) -> tuple[str, str]:
    """Return both ends of a range as RDS writes it, such as ``-1-100``."""
    low, _dash, high = allowed[1:].partition("-")
    return allowed[0] + low, high


def _number(chance: random.Random, setting: dict[str, Any], low: Decimal, high: Decimal) -> Any:
    whole, unit = setting["vartype"] == "integer", setting.get("unit")
    if low <= -1 and chance.random() < 0.1:
        return chance.choice([-1, "-1"])
    if low <= 0 and chance.random() < 0.1:
        return chance.choice([0, "0"])
    low, high = max(low, Decimal(1 if whole else "0.001")), min(high, Decimal(10) ** chance.randint(1, 9))
    high = max(low, high)
    if not unit:
        number = chance.randint(int(low), int(high)) if whole else round(chance.uniform(float(low), float(high)), 3)
        number = number if low <= Decimal(str(number)) <= high else low
        return chance.choice([number, str(number)])
    kinds = MEMORY if unit.lstrip("8") in MEMORY else TIME
    space = chance.choice(["", " "])
    larger = [
        each for each in kinds if SIZES[each] >= SIZES[unit] and low * SIZES[unit] <= SIZES[each] <= high * SIZES[unit]
    ]
    if larger and chance.random() < 0.7:
        size = chance.choice(larger)
        most = int(high * SIZES[unit] // SIZES[size])
        if size != unit and most > 1 and chance.random() < 0.3:
            return f"{chance.randint(1, most - 1)}.5{space}{size}"
        return f"{chance.randint(1, most)}{space}{size}"
    count = chance.randint(int(low), int(high)) if whole else low
    if unit == "8kB":
        return f"{count * 8}{space}kB"
    return f"{count}{space}{unit}"


def _reduced(text: str, unit: str | None) -> Decimal:
    """A number as a host has it, in bytes or microseconds; without a unit it is in the setting's own."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzBGMT")
    # 1e-05 ends in digits: what was cut off is the unit alone.
    return Decimal(number) * SIZES.get(text[len(number) :] or unit, 1)
