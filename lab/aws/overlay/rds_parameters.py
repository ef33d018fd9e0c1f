"""Parameter groups of RDS for PostgreSQL: the catalogue, what may be set to what, and who still waits for a reboot.

Families without a catalogue (lab.aws.catalogue) are refused. Codes and texts marked "ours" are those that nobody has
published; the refusal itself is documented.
"""

from __future__ import annotations

import ast
import copy
import math
import re
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from moto.core.responses import ActionResult
from moto.rds.exceptions import DBParameterGroupNotFoundError, RDSClientError
from moto.rds.models import DBInstance, DBParameterGroup, RDSBackend
from moto.rds.responses import RDSResponse

from lab.aws import catalogue
from lab.aws.core import Lab

MODIFIED = 20
PAGES = range(20, 101)
NAME = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*")
RANGE = re.compile(r"(-?[\d.]+(?:e[+-]?\d+)?)-(-?[\d.]+(?:e[+-]?\d+)?)")
VARIABLES = ("AllocatedStorage", "DBInstanceClassMemory", "DBInstanceVCPU", "EndPointPort", "TrueIfReplica")
FUNCTIONS: dict[str, Callable[..., float]] = {
    "greatest": max,
    "least": min,
    "sum": lambda *numbers: sum(numbers),
}
# The group that an instance started with last, and how many changes that need a restart it had had by then.
_started: WeakKeyDictionary[Any, tuple[str, int]] = WeakKeyDictionary()


def install(_lab: Lab) -> None:
    """Replace what moto does with parameter groups, and tell which instances wait for a reboot."""
    RDSResponse.create_db_parameter_group = _create(RDSResponse.create_db_parameter_group)
    RDSResponse.describe_db_parameter_groups = _describe_groups(RDSResponse.describe_db_parameter_groups)
    RDSResponse.delete_db_parameter_group = _delete(RDSResponse.delete_db_parameter_group)
    RDSResponse.describe_db_parameters = _describe_parameters
    RDSResponse.describe_engine_default_parameters = _describe_defaults
    RDSResponse.modify_db_parameter_group = _modify
    RDSResponse.reset_db_parameter_group = _reset
    DBInstance.db_parameter_group_status_list = property(_statuses)
    begin, change, reboot = DBInstance.__init__, RDSBackend.modify_db_instance, RDSBackend.reboot_db_instance

    def init(self: Any, *positional: Any, **named: Any) -> None:
        begin(self, *positional, **named)
        _check_family(self, self.db_parameter_group_name)
        started(self)

    def modify_db_instance(self: Any, db_instance_identifier: str, db_kwargs: Any) -> Any:
        if name := db_kwargs.get("db_parameter_group_name"):
            _check_family(self.describe_db_instances(db_instance_identifier)[0], name)
        return change(self, db_instance_identifier, db_kwargs)

    def reboot_db_instance(self: Any, db_instance_identifier: str) -> Any:
        instance = reboot(self, db_instance_identifier)
        started(instance)
        return instance

    DBInstance.__init__ = init
    RDSBackend.modify_db_instance = modify_db_instance
    RDSBackend.reboot_db_instance = reboot_db_instance


def started(instance: Any) -> None:
    """Note that an instance has started and now runs with all values of its group."""
    _started[instance] = _now(instance)


def parameters(group: Any) -> list[dict[str, Any]]:
    """Return what DescribeDBParameters says of a group; raises KeyError for a family without a catalogue."""
    found = []
    for name, parameter in catalogue.parameters(group.family).items():
        own = group.parameters.get(name)
        found.append({**parameter, **own, "Source": "user"} if own else parameter)
    return found


def values(group: Any, memory: int, processors: int = 2) -> dict[str, str]:
    """Return a group's values as a server has them, in the parameters' own units and with formulas worked out.

    memory: what DBInstanceClassMemory stands for, in bytes.
    """
    known = {"DBInstanceClassMemory": memory, "DBInstanceVCPU": processors, "EndPointPort": 5432}
    found = {}
    for parameter in parameters(group):
        value = parameter.get("ParameterValue")
        if value is not None:
            found[parameter["ParameterName"]] = str(evaluate(value, known)) if is_formula(value) else value
    return found


def is_formula(value: str) -> bool:
    """Whether a value is a formula."""
    return "{" in value


def evaluate(formula: str, known: dict[str, int]) -> int:
    """Work a formula out, each step rounded down to an integer; raises ValueError for what is none."""
    text = re.sub(r"\$?\{([^{}]*)\}", r"(\1)", formula)
    try:
        return int(_worked_out(ast.parse(text, mode="eval").body, known))
    except (SyntaxError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"not a formula: {formula}") from error


def _worked_out(node: ast.AST, known: dict[str, int]) -> float:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_worked_out(operand, known)
        case ast.Name(id=name) if name in VARIABLES:
            return known.get(name, 0)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return int(_worked_out(left, known) * _worked_out(right, known))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return int(_worked_out(left, known) / _worked_out(right, known))
        case ast.Call(func=ast.Name(id="log"), args=[ast.BinOp(left=left, op=ast.Div(), right=right)]):
            # Of the quotient itself, before it is rounded down.
            return math.log2(_worked_out(left, known) / _worked_out(right, known) or 1)
        case ast.Call(func=ast.Name(id=name), args=arguments) if name.lower() in FUNCTIONS:
            return FUNCTIONS[name.lower()](*(_worked_out(argument, known) for argument in arguments))
    raise ValueError("neither a number nor a variable of RDS")


def _create(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def create_db_parameter_group(self: Any) -> Any:
        name, family = self.params["DBParameterGroupName"], self.params["DBParameterGroupFamily"]
        if not NAME.fullmatch(name) or len(name) > 255:
            raise _invalid(f"The parameter DBParameterGroupName is not a valid identifier: {name}")  # ours
        if family not in catalogue.FAMILIES:
            raise _invalid(f"ParameterGroupFamily {family} is not valid")  # ours
        self.params["DBParameterGroupName"] = name.lower()
        return original(self)

    return create_db_parameter_group


def _describe_groups(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def describe_db_parameter_groups(self: Any) -> Any:
        if self.params.get("DBParameterGroupName"):
            self.params["DBParameterGroupName"] = _group(self).name
        return original(self)

    return describe_db_parameter_groups


def _delete(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def delete_db_parameter_group(self: Any) -> Any:
        group = _group(self, writable=True)
        if any(instance.db_parameter_group_name == group.name for instance in self.backend.databases.values()):
            raise RDSClientError(
                "InvalidDBParameterGroupState",
                f"One or more database instances are still members of this parameter group {group.name}, "
                "so the group cannot be deleted",
            )
        self.params["DBParameterGroupName"] = group.name
        return original(self)

    return delete_db_parameter_group


def _describe_parameters(self: Any) -> Any:
    group = _group(self)
    if group.family not in catalogue.FAMILIES:
        return ActionResult({"Parameters": []})
    source = self.params.get("Source")
    if source not in (None, "user", "system", "engine-default"):
        raise _invalid(f"Source must be one of user, system, engine-default, not {source}")  # ours
    found = [entry for entry in parameters(group) if source in (None, entry["Source"])]
    page, marker = _page(self, found)
    return ActionResult({"Parameters": page, "Marker": marker})


def _describe_defaults(self: Any) -> Any:
    family = self.params["DBParameterGroupFamily"]
    if family not in catalogue.FAMILIES:
        raise _invalid(f"ParameterGroupFamily {family} is not valid")  # ours
    page, marker = _page(self, list(catalogue.parameters(family).values()))
    described = {"DBParameterGroupFamily": family, "Parameters": page, "Marker": marker}
    return ActionResult({"EngineDefaults": described})


def _modify(self: Any) -> Any:
    group, changes = _group(self, writable=True), _changes(self)
    known = catalogue.parameters(group.family)
    for change in changes:
        parameter = _checked(change, known)
        _check_value(parameter, change.get("ParameterValue"))
    for change in changes:
        _set(group, known[change["ParameterName"]], change)
    return ActionResult({"DBParameterGroupName": group.name})


def _reset(self: Any) -> Any:
    group, changes = _group(self, writable=True), _changes(self)
    known = catalogue.parameters(group.family)
    if self.params.get("ResetAllParameters"):
        if changes:
            raise RDSClientError(
                "InvalidParameterCombination", "ResetAllParameters excludes a list of Parameters"
            )  # ours
        changes = [{"ParameterName": name, "ApplyMethod": "pending-reboot"} for name in group.parameters]
    elif not changes:
        raise _invalid("Parameters to reset must be given, or ResetAllParameters")  # ours
    for change in changes:
        _checked(change, known)
    for change in changes:
        if group.parameters.pop(change["ParameterName"], None) is not None:
            _note(group, change)
    return ActionResult({"DBParameterGroupName": group.name})


def _changes(self: Any) -> list[dict[str, str]]:
    changes = [change.original_dict() for change in self.params.get("Parameters") or []]
    if len(changes) > MODIFIED:
        raise _invalid(f"At most {MODIFIED} parameters can be modified in a single request")  # ours
    return changes


def _checked(change: dict[str, str], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name, method = change.get("ParameterName", ""), change.get("ApplyMethod")
    if name not in known:
        raise _invalid(f"Could not find parameter with name: {name}")
    if not known[name]["IsModifiable"]:
        raise _invalid(f"The parameter {name} cannot be modified.")
    if method not in ("immediate", "pending-reboot"):
        raise _invalid(f"Invalid apply method: {method}")  # ours
    if method == "immediate" and known[name]["ApplyType"] == "static":
        raise RDSClientError(
            "InvalidParameterCombination", f"cannot use immediate apply method for static parameter: {name}"
        )
    return known[name]


def _check_value(parameter: dict[str, Any], value: str | None) -> None:
    kind, allowed, name = parameter["DataType"], parameter.get("AllowedValues"), parameter["ParameterName"]
    if not value:
        raise _invalid(f"The parameter {name} must be provided with a value")  # ours
    refusal = _invalid(f"Invalid parameter value: {value} for: {name} allowed values are: {allowed}")
    if kind == "integer" and (is_formula(value) or "(" in value):
        try:
            evaluate(value, {"DBInstanceClassMemory": 8 << 30, "DBInstanceVCPU": 2, "EndPointPort": 5432})
        except ValueError:
            raise refusal from None
    elif kind in ("integer", "float"):
        form = r"-?\d+" if kind == "integer" else r"-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
        if not re.fullmatch(form, value) or not _in_ranges(float(value), allowed or ""):
            raise refusal
    elif kind == "list" and allowed:
        if not {entry.strip() for entry in value.split(",")} <= set(allowed.split(",")):
            raise refusal
    elif allowed and value not in allowed.split(","):
        raise refusal


def _in_ranges(number: float, allowed: str) -> bool:
    for part in allowed.split(","):
        if found := RANGE.fullmatch(part):
            if float(found[1]) <= number <= float(found[2]):
                return True
        elif part and float(part) == number:
            return True
    return False


def _set(group: Any, parameter: dict[str, Any], change: dict[str, str]) -> None:
    name = parameter["ParameterName"]
    if group.parameters.get(name, {}).get("ParameterValue") == change["ParameterValue"]:
        return  # another ApplyMethod alone is not kept
    group.parameters[name] = {key: change[key] for key in ("ParameterName", "ParameterValue", "ApplyMethod")}
    _note(group, change)


def _note(group: Any, change: dict[str, str]) -> None:
    if change["ApplyMethod"] == "pending-reboot":
        group.restarts_needed = getattr(group, "restarts_needed", 0) + 1


def _group(self: Any, writable: bool = False) -> Any:
    name = self.params["DBParameterGroupName"].lower()
    family = name.removeprefix("default.")
    groups = self.backend.db_parameter_groups
    if name not in groups and name.startswith("default.") and family in catalogue.FAMILIES:
        groups[name] = DBParameterGroup(self.backend, name, f"Default parameter group for {family}", family)
    if name not in groups:
        raise DBParameterGroupNotFoundError(name)
    if writable and name.startswith("default."):
        message = f"The default parameter group {name} cannot be modified or deleted"
        raise RDSClientError("InvalidDBParameterGroupState", message)  # ours
    return groups[name]


def _page(self: Any, entries: list[Any]) -> tuple[list[Any], str | None]:
    size, marker = int(self.params.get("MaxRecords") or 100), self.params.get("Marker")
    if size not in PAGES:
        raise _invalid(f"Invalid value {size} for MaxRecords. Must be between 20 and 100")
    if marker and (not marker.isdigit() or int(marker) >= len(entries)):
        raise _invalid(f"Invalid marker: {marker}")  # ours
    start = int(marker or 0)
    end = start + size
    return entries[start:end], str(end) if end < len(entries) else None


def _check_family(instance: Any, name: str | None) -> None:
    group = instance.backend.db_parameter_groups.get(name or "")
    major = str(instance.engine_version).partition(".")[0]
    if instance.engine == "postgres" and group is not None and group.family != f"postgres{major}":
        raise RDSClientError(
            "InvalidParameterCombination",
            f"The parameter group {name} with DBParameterGroupFamily {group.family} can't be used for this instance. "
            f"Use a parameter group with DBParameterGroupFamily postgres{major}.",
        )


def _statuses(instance: Any) -> Iterable[Any]:
    groups = [copy.copy(group) for group in instance.db_parameter_groups()]
    for group in groups:
        behind = _started.get(instance) != _now(instance)
        group.ParameterApplyStatus = "pending-reboot" if behind else "in-sync"
    return groups


def _now(instance: Any) -> tuple[str, int]:
    name = instance.db_parameter_group_name or ""
    group = instance.backend.db_parameter_groups.get(name)
    return name, getattr(group, "restarts_needed", 0)


def _invalid(message: str) -> RDSClientError:
    return RDSClientError("InvalidParameterValue", message)
