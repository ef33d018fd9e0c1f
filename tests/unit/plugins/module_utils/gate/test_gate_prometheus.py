from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import prometheus


def answer(kind: str, result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


@pytest.mark.parametrize(
    ("kind", "result", "value"),
    [
        ("scalar", [1.0, "2.5"], 2.5),
        ("vector", [{"metric": {}, "value": [1.0, "0"]}], 0.0),
        ("vector", [{"metric": {}, "value": [1.0, "+Inf"]}], float("inf")),
        ("vector", [{"metric": {}, "value": [1.0, "NaN"]}], None),
        ("scalar", [1.0, "NaN"], None),
        ("vector", [], None),
    ],
)
def test_numbers(kind: str, result: Any, value: float | None) -> None:
    assert prometheus.parse(answer(kind, result), "q") == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not Prometheus'"),
        (b"[]", "not Prometheus'"),
        (b"{}", "not Prometheus'"),
        (answer("matrix", []), "found a matrix"),
        (answer("string", [1, "x"]), "found a string"),
        (answer("vector", [{"value": [1, "1"]}] * 2), r"2 series.*sum\(\)"),
    ],
)
def test_answers_that_are_no_number_cannot_heal(body: bytes, said: str) -> None:
    with pytest.raises(prometheus.QueryFailed, match=said) as caught:
        prometheus.parse(body, "q")
    assert caught.value.permanent


def test_placeholders() -> None:
    query = 'increase(x{a="b$"}[$window]) - x @ $start - $probed'
    assert prometheus.fill_in(query, 7.2, 1769846400.5, 12) == 'increase(x{a="b$"}[8s]) - x @ 1769846400.500 - 12'
