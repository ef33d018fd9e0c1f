# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rds_parameters does."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws, CallLog, Connector
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure, Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.retries import NORMAL
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_api as api
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_plan as plan
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rds import parameters_values as values

_FAMILIES = ("postgres", "aurora-postgresql")


def run(connect: Connector, params: dict, check_mode: bool) -> dict:
    """The module's result.

    :raises Failure: when a setting is wrong, the group is another than was meant or is in use, or a call fails.
    """
    name = params["name"].lower()  # as RDS stores it
    if name.startswith("default."):
        raise Failure("a group of your own", name, "RDS's default groups cannot be changed: give the group a name.")
    rds = connect("rds", NORMAL)
    group = api.describe_group(rds, name)
    log = connect.log if check_mode else None
    if params["state"] == "absent":
        return _absent(rds, name, group, log)
    _require_family(name, group, params["family"])
    family = group["DBParameterGroupFamily"] if group else params["family"]
    parameters = _parameters(rds, group, family)
    changes = plan.plan(plan.translate(params["settings"], parameters), parameters, params["purge"])
    tags = api.list_tags(rds, group["DBParameterGroupArn"]) if group and params["tags"] is not None else {}
    added, removed = plan.plan_tags(tags, params["tags"], params["purge_tags"])
    instances = api.describe_instances(rds, name) if group else []
    result = {
        "changed": bool(group is None or changes or added or removed),
        "diff": _diff(name, group, family, params["description"], changes, tags, added, removed),
        "name": name,
        "family": family,
        "changes": [change.told() for change in changes],
        "pending_reboot": plan.waiting(instances, name, changes, parameters),
    }
    if group is None:
        if log:
            log.plan("CreateDBParameterGroup", name)
        else:
            group = api.create_group(rds, name, family, params["description"], added)
        added = {}
    _tag(rds, group, added, removed, log)
    _apply(rds, name, plan.batches(changes), log)
    return {**result, "arn": group["DBParameterGroupArn"] if group else None}


def _absent(rds: Aws, name: str, group, log) -> dict:
    users = [instance["DBInstanceIdentifier"] for instance in api.describe_instances(rds, name)] if group else []
    if users:
        raise Failure(
            f"a group {name} that no DB instance uses",
            f"it in use by {', '.join(sorted(users))}",
            "Give these instances another group first.",
        )
    family = group["DBParameterGroupFamily"] if group else None
    if group and log:
        log.plan("DeleteDBParameterGroup", name)
    elif group:
        api.delete_group(rds, name)
    before = {"family": family, "description": group["Description"]} if group else {}
    return {
        "changed": group is not None,
        "diff": {"before": before, "after": {}},
        "name": name,
        "family": family,
        "arn": group["DBParameterGroupArn"] if group else None,
        "changes": [],
        "pending_reboot": [],
    }


def _require_family(name: str, group, family) -> None:
    if group is None and not family:
        raise Failure(
            f"family, because there is no group {name} yet", "none", "Give one such as postgres15: engine and version."
        )
    found = group["DBParameterGroupFamily"] if group else family
    if family and found != family:
        raise Failure(
            f"a group {name} of the family {family}",
            f"one of the family {found}",
            "A group's family cannot be changed: choose another name, and give the new group to the DB instance when "
            "its engine is upgraded.",
        )
    if not found.startswith(_FAMILIES):
        raise Failure(
            "a family of PostgreSQL", found, "Settings of other engines have other units: name another group."
        )


def _parameters(rds: Aws, group, family: str) -> dict:
    try:
        described = (
            api.describe_parameters(rds, group["DBParameterGroupName"]) if group else api.describe_defaults(rds, family)
        )
    except AwsFailure as failure:
        if failure.code == "InvalidParameterValue" and group is None:
            raise Failure(
                f"a parameter group family that RDS has in {rds.region}",
                family,
                "Give one such as postgres15: the engine and its major version.",
            ) from failure
        raise
    return {parameter.name: parameter for parameter in map(values.from_boto, described)}


def _tag(rds: Aws, group, added: dict, removed: list, log) -> None:
    arn = group["DBParameterGroupArn"] if group else None
    if removed and log:
        log.plan("RemoveTagsFromResource", arn)
    elif removed:
        api.remove_tags(rds, arn, removed)
    if added and log:
        log.plan("AddTagsToResource", arn)
    elif added:
        api.add_tags(rds, arn, added)


def _apply(rds: Aws, name: str, batches: list, log: CallLog | None) -> None:
    done: list = []
    for number, (method, changes) in enumerate(batches):
        if log:
            log.plan(method, name)
            continue
        call = api.modify_group if method == "ModifyDBParameterGroup" else api.reset_group
        try:
            call(rds, name, [change.to_boto() for change in changes])
        except AwsFailure as failure:
            left = [change.parameter.name for _method, rest in batches[number:] for change in rest]
            unsure = "" if failure.refused else f" Whether the first {len(changes)} of these were is not known."
            failure.add(
                f"{len(done)} changes were made before, {len(left)} were not.{unsure} Run again to make the rest.",
                applied=done,
                not_applied=left,
            )
            raise
        done += [change.parameter.name for change in changes]


def _diff(
    name: str, group, family: str, description: str, changes: list, tags: dict, added: dict, removed: list
) -> dict:
    after_tags = {key: value for key, value in {**tags, **added}.items() if key not in removed}
    kept = {"name": name, "family": family}
    before = {**kept, "description": group["Description"]} if group else {}
    after = {**kept, "description": group["Description"] if group else description}
    if tags or after_tags:
        before, after = {**before, **({"tags": tags} if group else {})}, {**after, "tags": after_tags}
    if changes:
        old = {change.parameter.name: change.parameter.value for change in changes}
        new = {change.parameter.name: change.after for change in changes}
        before, after = {**before, **({"settings": old} if group else {})}, {**after, "settings": new}
    return {"before": before, "after": after}
