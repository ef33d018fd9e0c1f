# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One function per call about parameter groups; the only place of rds_parameters that calls RDS."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import AwsFailure


def describe_group(aws: Aws, name: str):
    """The group of that name, or None."""
    try:
        return aws.read("describe_db_parameter_groups", name, DBParameterGroupName=name)["DBParameterGroups"][0]
    except AwsFailure as failure:
        if failure.code == "DBParameterGroupNotFound":
            return None
        raise


def describe_parameters(aws: Aws, name: str) -> list:
    """Every parameter of a group, set or not, in calls of 100 each."""
    return _all_pages(aws, "describe_db_parameters", name, "Parameters", DBParameterGroupName=name)


def describe_defaults(aws: Aws, family: str) -> list:
    """Every parameter that a new group of a family has, in calls of 100 each."""
    method, found, params = "describe_engine_default_parameters", [], {"DBParameterGroupFamily": family}
    while True:
        answer = aws.read(method, family, **params)["EngineDefaults"]
        found.extend(answer["Parameters"])
        if not answer.get("Marker"):
            return found
        params["Marker"] = answer["Marker"]


def describe_instances(aws: Aws, group: str) -> list:
    """Every DB instance that uses a group. RDS cannot search by it, so all instances of the region are read."""
    return [
        instance
        for instance in _all_pages(aws, "describe_db_instances", group, "DBInstances")
        if any(used["DBParameterGroupName"] == group for used in instance.get("DBParameterGroups", []))
    ]


def create_group(aws: Aws, name: str, family: str, description: str, tags: dict) -> dict:
    """Make a group and return it.

    An attempt whose answer was lost may have made it: one that is there by now, as it was to be, is it.
    """
    wanted = {"DBParameterGroupFamily": family, "Description": description}
    try:
        answer = aws.write(
            "create_db_parameter_group", name, DBParameterGroupName=name, Tags=_tags_to_boto(tags), **wanted
        )
        return answer["DBParameterGroup"]
    except AwsFailure as failure:
        if failure.code == "DBParameterGroupAlreadyExists":
            group = describe_group(aws, name)
            if group and all(group[key] == value for key, value in wanted.items()):
                return group
        raise


def delete_group(aws: Aws, name: str) -> None:
    """Delete a group, or find that it is gone: by an attempt whose answer was lost, or by somebody else."""
    try:
        aws.write("delete_db_parameter_group", name, DBParameterGroupName=name)
    except AwsFailure as failure:
        if failure.code != "DBParameterGroupNotFound":
            raise


def modify_group(aws: Aws, name: str, parameters: list) -> None:
    """Set at most 20 parameters."""
    aws.write("modify_db_parameter_group", name, DBParameterGroupName=name, Parameters=parameters)


def reset_group(aws: Aws, name: str, parameters: list) -> None:
    """Give at most 20 parameters their defaults again."""
    aws.write(
        "reset_db_parameter_group", name, DBParameterGroupName=name, Parameters=parameters, ResetAllParameters=False
    )


def list_tags(aws: Aws, arn: str) -> dict:
    """The tags of a group."""
    answer = aws.read("list_tags_for_resource", arn, ResourceName=arn)
    return {tag["Key"]: tag["Value"] for tag in answer["TagList"]}


def add_tags(aws: Aws, arn: str, tags: dict) -> None:
    """Set tags of a group."""
    aws.write("add_tags_to_resource", arn, ResourceName=arn, Tags=_tags_to_boto(tags))


def remove_tags(aws: Aws, arn: str, keys: list) -> None:
    """Remove tags of a group."""
    aws.write("remove_tags_from_resource", arn, ResourceName=arn, TagKeys=list(keys))


def _tags_to_boto(tags: dict) -> list:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _all_pages(aws: Aws, method: str, resource: str, key: str, **params) -> list:
    found: list = []
    while True:
        answer = aws.read(method, resource, **params)
        found.extend(answer[key])
        if not answer.get("Marker"):
            return found
        params["Marker"] = answer["Marker"]
