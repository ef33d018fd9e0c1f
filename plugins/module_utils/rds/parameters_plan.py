# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to change in a parameter group, from what is; pure, so that check mode and the real run cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_values as values
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds.parameters_values import Parameter

# RDS's limit, of ModifyDBParameterGroup and of ResetDBParameterGroup.
MOST_A_CALL = 20


@dataclass(frozen=True)
class Change:
    """A parameter's new value; ``after`` is None where it gets its default again."""

    parameter: Parameter
    after: str | None

    def told(self) -> dict:
        """The change as the module returns it."""
        return {
            "name": self.parameter.name,
            "before": self.parameter.value,
            "after": self.after,
            "apply_type": "static" if self.parameter.static else "dynamic",
            "apply_method": self.parameter.method,
        }

    def to_boto(self) -> dict:
        """The change as RDS takes it."""
        value = {} if self.after is None else {"ParameterValue": self.after}
        return {"ParameterName": self.parameter.name, "ApplyMethod": self.parameter.method, **value}


def translate(settings: dict, parameters: dict) -> dict:
    """What the settings of a definition are on RDS, by the parameters' names.

    :param settings: values in PostgreSQL's own units; a name's case makes no difference, as in PostgreSQL.
    :param parameters: :class:`Parameter` by name.
    :raises Failure: naming everything that is wrong.
    """
    known = {name.lower(): parameter for name, parameter in parameters.items()}
    translated: dict = {}
    refused = []
    for name, given in settings.items():
        parameter = known.get(str(name).lower())
        try:
            if parameter is None:
                raise ValueError("RDS has no such parameter in this family")
            if parameter.name in translated:
                raise ValueError("it is given twice")
            translated[parameter.name] = values.wanted(parameter, given)
        except ValueError as error:
            refused.append({"name": str(name), "value": None if given is None else str(given), "reason": str(error)})
    if refused:
        raise Failure(
            "settings that RDS takes",
            f"{len(refused)} of {len(settings)} that it does not: "
            + "; ".join(f"{each['name']}: {each['reason']}" for each in refused),
            "Nothing was changed. Correct them in the definition.",
            refused=refused,
        )
    return translated


def plan(translated: dict, parameters: dict, purge: bool) -> list:
    """The changes, in the order in which they are made: what takes effect at once comes last.

    :param translated: as :func:`translate` returns it.
    :param purge: whether what somebody has set and ``translated`` does not name gets its default again.
    """
    changes = [
        Change(parameters[name], text)
        for name, text in translated.items()
        if not values.same(parameters[name], parameters[name].value, text)
    ]
    if purge:
        changes += [
            Change(parameter, None)
            for name, parameter in parameters.items()
            if parameter.source == "user" and name not in translated
        ]
    return sorted(
        changes, key=lambda change: (not change.parameter.static, change.after is None, change.parameter.name)
    )


def batches(changes: list) -> list:
    """The calls that make the changes, ``(method, changes)``, as few as RDS allows."""
    calls = []
    for method, chosen in (
        ("ModifyDBParameterGroup", [change for change in changes if change.after is not None]),
        ("ResetDBParameterGroup", [change for change in changes if change.after is None]),
    ):
        calls += [(method, chosen[start : start + MOST_A_CALL]) for start in range(0, len(chosen), MOST_A_CALL)]
    return calls


def waiting(instances: list, group: str, changes: list, parameters: dict) -> list:
    """Which instances run with old values until they are restarted, and why, once the changes are made.

    :param instances: those that use the group, as RDS describes them before the changes.
    """
    new = sorted(change.parameter.name for change in changes if change.parameter.static)
    # RDS does not say which ones an instance waits for. These are the ones that it can be.
    old = sorted(name for name, parameter in parameters.items() if parameter.static and parameter.source == "user")
    found = []
    for instance in instances:
        [used] = [each for each in instance["DBParameterGroups"] if each["DBParameterGroupName"] == group]
        waited = used.get("ParameterApplyStatus") == "pending-reboot"
        reasons = []
        if new:
            reasons.append(f"static parameters changed: {', '.join(new)}")
        if waited:
            reasons.append("it waited before: a static parameter was changed, or the group was given to it")
        if reasons:
            names = sorted({*new, *(old if waited else ())})
            found.append(
                {"instance": instance["DBInstanceIdentifier"], "settings": names, "reason": "; ".join(reasons)}
            )
    return sorted(found, key=lambda each: each["instance"])


def plan_tags(current: dict, wanted, purge: bool) -> tuple:
    """Tags to set and keys to remove. AWS's own are left alone; None wants them all as they are."""
    if wanted is None:
        return {}, []
    wanted = {str(key): str(value) for key, value in wanted.items()}
    added = {key: value for key, value in wanted.items() if current.get(key) != value}
    removed = [key for key in sorted(current) if purge and key not in wanted and not key.startswith("aws:")]
    return added, removed
