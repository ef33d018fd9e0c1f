# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of parameters: what a setting in PostgreSQL's own units is on RDS, and whether two values are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import units
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import formulas

# Parameters whose unit RDS's descriptions do not tell, with PostgreSQL's.
_UNITS_NOT_TOLD = {
    "auto_explain.log_min_duration": "ms",
    "pg_prewarm.autoprewarm_interval": "s",
    "temp_file_limit": "kB",
}
# Sizes that lie in memory, as opposed to those of files.
_IN_MEMORY = frozenset(
    (
        "autovacuum_work_mem",
        "effective_cache_size",
        "logical_decoding_work_mem",
        "maintenance_work_mem",
        "min_dynamic_shared_memory",
        "shared_buffers",
        "temp_buffers",
        "wal_buffers",
        "work_mem",
    )
)
_UNIT = re.compile(r"\((\d*(?:B|kB|MB|GB|TB|us|ms|s|min|h|d))\)\s")
_RANGE = re.compile(r"(-?[\d.]+(?:[eE][+-]?\d+)?)-(-?[\d.]+(?:[eE][+-]?\d+)?)")
_VARTYPES = {"boolean": "bool", "integer": "integer", "float": "real"}
_WORDS = {True: ("on", "1", "true"), False: ("off", "0", "false")}
# Memory of the smallest and of the largest classes, in bytes.
_CLASSES = (1 << 30, 8 << 30, 64 << 30, 4 << 40)


@dataclass(frozen=True)
class Parameter:
    """A parameter as RDS describes it.

    :ivar value: as RDS writes it; None when it leaves the value to PostgreSQL.
    :ivar source: ``user`` when somebody has set it, else ``system`` or ``engine-default``.
    :ivar kind: RDS's data type: ``boolean``, ``integer``, ``float``, ``string`` or ``list``.
    :ivar allowed: ranges and words, comma-separated; empty when anything is.
    :ivar unit: as in ``pg_settings``, None for plain numbers.
    """

    name: str
    value: str | None
    source: str
    static: bool
    kind: str
    allowed: str
    modifiable: bool
    unit: str | None

    @property
    def method(self) -> str:
        """How a change is applied. RDS does not keep the method, so it is always derived and never compared."""
        return "pending-reboot" if self.static else "immediate"


def from_boto(described: dict) -> Parameter:
    """One entry of DescribeDBParameters."""
    name = described["ParameterName"]
    unit = _UNIT.match(described.get("Description", ""))
    return Parameter(
        name=name,
        value=described.get("ParameterValue"),
        source=described.get("Source", "engine-default"),
        static=described.get("ApplyType") == "static",
        kind=described.get("DataType", "string"),
        allowed=described.get("AllowedValues", ""),
        modifiable=described.get("IsModifiable", False),
        unit=unit[1] if unit else _UNITS_NOT_TOLD.get(name),
    )


def wanted(parameter: Parameter, given) -> str:
    """What a value of the definition is on RDS.

    :param given: in PostgreSQL's own units, or one of RDS's expressions.
    :raises ValueError: naming the mistake.
    """
    if not parameter.modifiable:
        raise ValueError("RDS does not let it be modified")
    if given is None or given == "" or given == []:
        raise ValueError("RDS has no empty value; leave the setting out, and with purge it gets its default again")
    if parameter.kind != "string" and units.is_formula(given):
        return _formula(parameter, given)
    if parameter.kind == "list":
        return _list(parameter, given)
    vartype = _VARTYPES.get(parameter.kind)
    if vartype is None:
        return _text(parameter, given)
    quantity = units.quantity(given, vartype, parameter.unit)
    text = units.render_rds(quantity, parameter.unit)
    if not isinstance(quantity, bool):
        _require_range(parameter, quantity, text)
    return text


def same(parameter: Parameter, value: str | None, other: str | None) -> bool:
    """Whether two values, as RDS writes them, mean the same: ``1`` is ``1.0``, and a list's order says nothing."""
    if value is None or other is None:
        return value is other
    if units.is_formula(value) or units.is_formula(other):
        return formulas.normal(value).lower() == formulas.normal(other).lower()
    return _reduced(parameter, value) == _reduced(parameter, other)


def _reduced(parameter: Parameter, value: str):
    text = value.strip().lower()
    if parameter.kind in ("integer", "float"):
        try:
            return float(text)
        except ValueError:
            return text
    if parameter.kind == "boolean":
        return text in _WORDS[True]
    if parameter.kind == "list":
        return frozenset(item.strip() for item in text.split(","))
    return text if parameter.allowed else value.strip()


def _formula(parameter: Parameter, given: str) -> str:
    if parameter.kind != "integer":
        raise ValueError(f"{given!r} is an expression, which RDS takes for integers only")
    results = {memory: _worked_out(given, memory) for memory in _CLASSES}
    for memory, number in results.items():
        size = number * _bytes(parameter.unit) if parameter.name in _IN_MEMORY else 0
        if size > memory:
            raise ValueError(
                f"{given!r} is {size * 100 // memory} % of the instance's memory, because DBInstanceClassMemory is in "
                f"bytes and the parameter in units of {parameter.unit}"
            )
    if not any(_allowed(parameter, number) for number in results.values()):
        raise ValueError(f"{given!r} is outside {parameter.allowed} whatever the instance class")
    return formulas.normal(given)


def _worked_out(given: str, memory: int) -> int:
    return formulas.evaluate(given, {"DBInstanceClassMemory": memory, "DBInstanceVCPU": 2, "EndPointPort": 5432})


def _bytes(unit: str | None) -> int:
    return int(units.quantity(f"1{unit.lstrip('0123456789')}", "real", "B")) * int(re.sub(r"\D", "", unit) or 1)


def _list(parameter: Parameter, given) -> str:
    entries = given if isinstance(given, (list, tuple)) else str(given).split(",")
    entries = list(dict.fromkeys(str(entry).strip() for entry in entries))
    if parameter.allowed:
        words = {word.lower(): word for word in parameter.allowed.split(",")}
        for entry in entries:
            if entry.lower() not in words:
                raise ValueError(f"{entry!r} is not one of those that RDS has: {parameter.allowed}")
        entries = [words[entry.lower()] for entry in entries]
    return ",".join(entries)


def _text(parameter: Parameter, given) -> str:
    if not parameter.allowed:
        return units.quantity(given, "string", None)
    words = {word.strip().lower(): word.strip() for word in parameter.allowed.split(",")}
    text = str(given).strip().lower()
    choices = _WORDS[given] if isinstance(given, bool) else (text,)
    for choice in choices:
        if choice in words:
            return words[choice]
    raise ValueError(f"{choices[0]!r} is not one of those that RDS has: {parameter.allowed}")


def _require_range(parameter: Parameter, number, text: str) -> None:
    if not _allowed(parameter, number):
        unit = f" in units of {parameter.unit}" if parameter.unit else ""
        raise ValueError(f"{text} is outside what RDS allows{unit}: {parameter.allowed}")


def _allowed(parameter: Parameter, number) -> bool:
    if not parameter.allowed:
        return True
    for part in parameter.allowed.split(","):
        limits = _RANGE.fullmatch(part.strip())
        if limits and float(limits[1]) <= number <= float(limits[2]):
            return True
        if not limits and part.strip() == units.render_rds(number, None):
            return True
    return False
