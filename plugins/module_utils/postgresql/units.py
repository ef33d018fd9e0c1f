# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of PostgreSQL's settings: read as PostgreSQL reads them, written for a host or for RDS.

A canonical value is a number in the setting's base unit (that of ``pg_settings.unit``), a ``bool``, or a ``str``.
"""

from __future__ import annotations

import math
import re

# The order matters: PostgreSQL rounds a fraction to the next smaller unit.
MEMORY = {"TB": 1024**4, "GB": 1024**3, "MB": 1024**2, "kB": 1024, "B": 1}
TIME = {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
KINDS = (("memory", MEMORY), ("time", TIME))

_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*", re.DOTALL)
_OTHER_BASE = re.compile(r"\s*(0[0-7]+|0[xX][0-9a-fA-F]+)\s*")
_BASE = re.compile(r"(\d*)(\D+)")
_FORMULA = re.compile(r"[A-Za-z]+\(|\{")
_TRUE = {"on", "true", "yes", "1"}
_FALSE = {"off", "false", "no", "0"}
_MEANT = {
    **dict.fromkeys(("b", "byte", "bytes"), "B"),
    **dict.fromkeys(("k", "kb", "kib", "ki", "kilobytes"), "kB"),
    **dict.fromkeys(("m", "mb", "mib", "mi", "megabytes"), "MB"),
    **dict.fromkeys(("g", "gb", "gib", "gi", "gigabytes"), "GB"),
    **dict.fromkeys(("t", "tb", "tib", "ti", "terabytes"), "TB"),
    **dict.fromkeys(("usec", "µs", "μs", "microseconds"), "us"),
    **dict.fromkeys(("msec", "msecs", "millis", "milliseconds"), "ms"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
}


class UnitError(ValueError):
    """A value that PostgreSQL would refuse, or take for something else than was meant."""


def is_formula(value) -> bool:
    """Whether it is an expression of RDS such as ``{DBInstanceClassMemory/32768}``."""
    return isinstance(value, str) and _FORMULA.match(value.strip()) is not None


def quantity(value, vartype: str, unit: str | None):
    """Read a value of a definition.

    :param value: as YAML gives it. Memory and time need a unit, but for 0 and -1.
    :param vartype: ``bool``, ``integer``, ``real``, ``enum`` or ``string``, as in ``pg_settings``.
    :param unit: the base unit as in ``pg_settings``, for example ``8kB``, ``ms``, ``min`` or None.
    :return: the canonical value.
    :raises UnitError: naming the mistake.
    """
    if value is None:
        raise UnitError("nothing is not a value; leave the setting out, or write '' for an empty text")
    if vartype == "bool":
        return _boolean(value)
    if vartype in ("integer", "real"):
        return _number(value, vartype, unit)
    return _text(value, vartype)


def reported(text: str, vartype: str):
    """Read a value as ``pg_settings`` shows it: a bare number in the base unit, on or off."""
    if vartype == "bool":
        return _boolean(text)
    if vartype == "integer":
        # Modes of files are shown in octal.
        return int(text, 8) if _OTHER_BASE.fullmatch(text) else int(text)
    return float(text) if vartype == "real" else text


def render_base(canonical) -> str:
    """Write a canonical value as ``pg_settings`` shows it."""
    return render_host(canonical, None)


def equal(one, other) -> bool:
    """Whether two canonical values are the same; ``pg_settings`` shows six digits of a real number."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5)
    return type(one) is type(other) and one == other


def render_host(canonical, unit: str | None) -> str:
    """Write a canonical value as a person would write it in ``postgresql.conf``: ``256MB``, ``5min``, ``on``."""
    if isinstance(canonical, bool):
        return "on" if canonical else "off"
    if isinstance(canonical, str):
        return canonical
    if unit is None or canonical in (0, -1):
        return _plain(canonical)
    count, base, sizes = _base(unit)
    if isinstance(canonical, int):
        total = canonical * count * sizes[base]
        for name, size in sizes.items():
            if total % size == 0:
                return f"{total // size}{name}"
    return f"{_plain(canonical * count)}{base}"


def render_rds(canonical, rds_unit: str | None, unit: str | None = None) -> str:
    """Write a canonical value as an RDS parameter has it: a bare number in the parameter's unit, 0 or 1 for booleans.

    :param rds_unit: unit of the RDS parameter.
    :param unit: base unit of the canonical value, where it is another one.
    :raises UnitError: when the parameter's unit is too coarse for the value.
    """
    if isinstance(canonical, bool):
        return "1" if canonical else "0"
    if isinstance(canonical, str):
        return canonical
    if unit is None or unit == rds_unit or canonical in (0, -1):
        return _plain(canonical)
    count, base, sizes = _base(unit)
    rds_count, rds_base, rds_sizes = _base(rds_unit or "")
    if sizes is not rds_sizes:
        raise UnitError(f"{unit} cannot be converted to {rds_unit}")
    converted, rest = divmod(canonical * count * sizes[base], rds_count * rds_sizes[rds_base])
    if rest:
        raise UnitError(
            f"{render_host(canonical, unit)} is not a multiple of {rds_unit}, the unit of the RDS parameter"
        )
    return _plain(converted)


def _boolean(value) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise UnitError(f"{value!r} is not a boolean; write on or off")


def _text(value, vartype: str) -> str:
    if isinstance(value, bool) and vartype == "enum":
        return "on" if value else "off"
    if isinstance(value, (list, tuple)) and vartype == "string":
        return ", ".join(str(item) for item in value)
    if isinstance(value, (bool, dict, list, tuple)):
        raise UnitError(f"{value!r} is not a text; write it in quotes")
    text = str(value)
    if "\n" in text or "\r" in text or "\0" in text:
        raise UnitError(f"{text!r} has more than one line")
    return text.strip() if vartype == "enum" else text


def _number(value, vartype: str, unit: str | None):
    if isinstance(value, (bool, dict, list, tuple)):
        raise UnitError(f"{value!r} is not a number{_with_example(unit)}")
    text = str(value)
    if unit is None and vartype == "integer" and (match := _OTHER_BASE.fullmatch(text)):
        return _in_range(int(match[1], 16 if match[1][:2].lower() == "0x" else 8), text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UnitError(f"{text!r} is not a number{_with_example(unit)}")
    number, suffix = float(match[1]), match[2]
    if not math.isfinite(number):
        raise UnitError(f"{text!r} is too large")
    if unit is not None:
        number = _with_unit(text, match[1], suffix, unit)
    elif suffix:
        raise UnitError(f"{text!r} has a unit, but the setting is a plain number; leave {suffix!r} out")
    if vartype == "real":
        # A fraction of the base unit is written in that unit again, and would be rounded then.
        return _rounded(number, _base(unit)[1], unit) if unit else number
    rounded = round(number)  # half to even, as PostgreSQL's rint()
    if rounded == 0 and number != 0:
        raise UnitError(f"{text!r} is less than the setting's unit {unit or 1} and would be rounded to 0")
    return _in_range(rounded, text)


def _with_unit(text: str, digits: str, suffix: str, unit: str) -> float:
    count, base, sizes = _base(unit)
    number = float(digits)
    if not suffix:
        if number in (0, -1):
            return number
        raise UnitError(
            f"{text!r} has no unit; PostgreSQL would take it for {digits} times {unit}. "
            f"Write the unit, for example {_example(unit)}"
        )
    if suffix not in sizes:
        raise UnitError(_bad_unit(text, suffix, sizes))
    if number < 0:
        raise UnitError(f"{text!r} is negative; only -1 without a unit has a meaning")
    if re.match(r"[+-]?0\d", digits):
        raise UnitError(f"{text!r} begins with 0, which PostgreSQL takes for an octal number; leave the 0 out")
    multiplier = _multiplier(sizes[suffix], count * sizes[base])
    number *= multiplier
    return _rounded(number, suffix, unit)


def _rounded(number: float, suffix: str, unit: str) -> float:
    """Round a number in the base unit to the next smaller unit than the one it was written in, as PostgreSQL does."""
    count, base, sizes = _base(unit)
    names = list(sizes)
    if suffix == names[-1]:
        return number
    smaller = _multiplier(sizes[names[names.index(suffix) + 1]], count * sizes[base])
    return round(number / smaller) * smaller


def _multiplier(size: int, base: int) -> float:
    # As PostgreSQL's own tables: a whole number, or one divided by a whole number.
    return float(size // base) if size >= base else 1.0 / (base // size)


def _base(unit: str) -> tuple:
    """Count, name and sizes of a unit as in ``pg_settings``: ``8kB`` is 8 times kB of memory."""
    match = _BASE.fullmatch(unit)
    for _kind, sizes in KINDS:
        if match and match[2] in sizes:
            return int(match[1] or 1), match[2], sizes
    raise UnitError(f"{unit!r} is not a unit of PostgreSQL")


def _bad_unit(text: str, suffix: str, sizes: dict) -> str:
    units = ", ".join(reversed(sizes))
    kind = "memory" if sizes is MEMORY else "time"
    other = TIME if sizes is MEMORY else MEMORY
    if suffix == "%":
        return f"{text!r} is a share, which PostgreSQL does not know; write a size in {units}"
    if suffix in other:
        return f"{text!r} has the unit {suffix!r}, but the setting is of {kind}: {units}"
    if not re.fullmatch(r"[^\W\d]+", suffix):
        return f"{text!r} is not a number with one unit of {kind}: {units}"
    meant = _meant(suffix, sizes)
    hint = f"; write {meant!r}" if meant else ""
    return f"{text!r} has the unit {suffix!r}, which PostgreSQL does not know for {kind} ({units}){hint}"


def _meant(suffix: str, sizes: dict) -> str | None:
    for name in sizes:
        if suffix.lower() == name.lower():
            return name
    if suffix.lower() == "m":
        return "MB" if sizes is MEMORY else "min"
    meant = _MEANT.get(suffix.lower())
    return meant if meant in sizes else None


def _example(unit: str) -> str:
    return "256MB" if _base(unit)[2] is MEMORY else "5min"


def _with_example(unit: str | None) -> str:
    return f"; write one with a unit such as {_example(unit)}" if unit else ""


def _in_range(number: int, text: str) -> int:
    if not -(2**31) <= number < 2**31:
        raise UnitError(f"{text!r} is beyond PostgreSQL's integers once it is in the setting's unit")
    return number


def _plain(number) -> str:
    if isinstance(number, float) and not number.is_integer():
        return format(number, ".17g") if float(format(number, ".15g")) != number else format(number, ".15g")
    return str(int(number))
