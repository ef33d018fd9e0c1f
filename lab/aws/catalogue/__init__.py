"""The parameters that RDS for PostgreSQL offers, by family.

Names, types, units, ranges and choices are those of real servers (pg_settings-*.json, written by make.py). What RDS
makes of them is in rds.json, after its documentation and published descriptions of parameter groups. Which parameters
RDS offers, and which of them may be modified, differs a little from family to family; here it does not.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

FAMILIES = {"postgres15": 15, "postgres17": 17}
TYPES = {"bool": "boolean", "integer": "integer", "real": "float", "enum": "string", "string": "string"}


@functools.cache
def parameters(family: str) -> dict[str, dict[str, Any]]:
    """Return a family's parameters by name, as DescribeEngineDefaultParameters has them; raises KeyError for others.

    They come in the order in which RDS lists them, which takes no notice of underscores.
    """
    facts = _read("rds.json")
    found = [
        _described(setting, facts)
        for setting in settings(FAMILIES[family])
        if setting["category"] not in facts["held_back_categories"]
        and setting["context"] != "internal"
        and setting["name"].lower() not in facts["held_back"]
    ]
    # Dynamic ones that nobody has set are said to be applied at a reboot, too.
    found = [{**each, "ApplyMethod": "pending-reboot"} for each in [*found, *facts["extra"]]]
    return {each["ParameterName"]: each for each in sorted(found, key=lambda each: order(each["ParameterName"]))}


@functools.cache
def settings(version: int) -> tuple[dict[str, Any], ...]:
    """Return what pg_settings of a real server of that major version says: name, vartype, unit, min, max, …"""
    return tuple(_read(f"pg_settings-{version}.json"))


def pg_settings(version: int) -> dict[str, dict[str, Any]]:
    """Return the same by name, with the columns' own names and without what cannot be set."""
    columns = {"min_val": "min", "max_val": "max", "boot_val": "boot"}
    plain = ("vartype", "unit", "context", "enumvals", "category", "short_desc")
    return {
        one["name"]: {name: one.get(columns.get(name, name)) for name in (*plain, *columns)}
        for one in settings(version)
        if one["context"] != "internal"
    }


def order(name: str) -> str:
    """Return what RDS sorts a name by."""
    return name.replace("_", "")


def _described(setting: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    name, kind = setting["name"].lower(), setting["vartype"]
    unit = None if name in facts["unit_not_told"] else setting.get("unit")
    allowed = {"bool": "0,1", "enum": ",".join(filter(None, setting.get("enumvals", ()))), "string": None}
    described = {
        "ParameterName": name,
        "ParameterValue": facts["system_values"].get(name, facts["engine_values"].get(name)),
        "Description": (f"({unit}) " if unit else "") + setting["short_desc"],
        "Source": "system" if name in facts["system_values"] else "engine-default",
        "ApplyType": "static" if setting["context"] == "postmaster" else "dynamic",
        "DataType": "list" if name in facts["lists"] else TYPES[kind],
        "AllowedValues": facts["allowed"].get(name) or allowed.get(kind, f"{setting.get('min')}-{setting.get('max')}"),
        "IsModifiable": name not in facts["not_modifiable"],
    }
    return {key: said for key, said in described.items() if said is not None}


def _read(name: str) -> Any:
    return json.loads((Path(__file__).parent / name).read_text())
