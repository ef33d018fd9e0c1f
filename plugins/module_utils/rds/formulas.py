# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions that RDS works out when an instance starts, such as ``LEAST({DBInstanceClassMemory/9531392},5000)``.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_ParamValuesRef.html: variables, ``*`` and ``/``, whose
results are cut to integers, the functions GREATEST, LEAST and SUM, and log to the base 2.
"""

from __future__ import annotations

import math
import re

VARIABLES = ("AllocatedStorage", "DBInstanceClassMemory", "DBInstanceVCPU", "EndPointPort", "TrueIfReplica")
FUNCTIONS = {"GREATEST": max, "LEAST": min, "SUM": lambda *numbers: sum(numbers)}

_TOKEN = re.compile(r"\s*([A-Za-z]+|-?\d+|\$?\{|[}(),*/])")


class FormulaError(ValueError):
    """An expression that RDS would refuse, or that asks for more memory than there is."""


def normal(text: str) -> str:
    """An expression without what makes no difference."""
    return re.sub(r"\s+|\$(?=\{)", "", text)


def evaluate(text: str, values: dict) -> int:
    """Work an expression out.

    :param values: what the variables stand for; those that it lacks stand for 1.
    :raises FormulaError: naming what is wrong in it.
    """
    tokens = _tokens(text)
    try:
        number = _term(tokens, values, text)
    except ZeroDivisionError:
        raise FormulaError(f"{text!r} divides by 0") from None
    if tokens:
        raise FormulaError(f"{text!r} goes on after its end: {' '.join(tokens)!r}")
    return int(number)


def _tokens(text: str) -> list:
    found, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise FormulaError(f"{text!r} has {text[position:].strip()[0]!r}, which RDS's expressions have not")
        found.append(match[1])
        position = match.end()
    return found


def _take(tokens: list, text: str, *wanted: str) -> str:
    token = tokens.pop(0) if tokens else "nothing"
    if wanted and token not in wanted:
        raise FormulaError(f"{text!r} has {token!r} where {' or '.join(map(repr, wanted))} was expected")
    return token


def _term(tokens: list, values: dict, text: str):
    """A number, ``{…}``, or a function of such."""
    token = _take(tokens, text)
    if re.fullmatch(r"-?\d+", token):
        return int(token)
    if token in ("{", "${"):
        number = _product(tokens, values, text)
        _take(tokens, text, "}")
        return number
    if token.upper() not in FUNCTIONS:
        raise FormulaError(f"{text!r} has {token!r} where a number, {{…}}, GREATEST, LEAST or SUM was expected")
    _take(tokens, text, "(")
    numbers = [_term(tokens, values, text)]
    while _take(tokens, text, ",", ")") == ",":
        numbers.append(_term(tokens, values, text))
    return FUNCTIONS[token.upper()](*numbers)


def _product(tokens: list, values: dict, text: str, whole: bool = True):
    """What stands in braces: factors with ``*`` and ``/``, each step cut to an integer where ``whole``."""
    number = _factor(tokens, values, text)
    while tokens and tokens[0] in ("*", "/"):
        operator, other = tokens.pop(0), _factor(tokens, values, text)
        number = number * other if operator == "*" else number / other
        number = int(number) if whole else number
    return number


def _factor(tokens: list, values: dict, text: str):
    token = _take(tokens, text)
    if re.fullmatch(r"\d+", token):
        return int(token)
    if token.lower() == "log":
        _take(tokens, text, "(")
        number = _product(tokens, values, text, whole=False)
        _take(tokens, text, ")")
        return math.log2(number) if number > 0 else 0
    if token not in VARIABLES:
        raise FormulaError(f"{text!r} has {token!r}, which is no variable of RDS: {', '.join(VARIABLES)}")
    return values.get(token, 1)
