# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record in S3: one object, written only on top of the very version that was read."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.aws import Aws
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import (
    PERMISSION_CODES,
    AwsFailure,
    Failure,
)
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import clock
from ansible_collections.techcorp.rag_admin.plugins.module_utils.rollout import record as records

_LOST_CODES = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_MISSING_CODES = ("NoSuchKey", "404")
_REGION_CODES = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "301",
    "307",
)


class CasLost(Exception):
    """Somebody else wrote the record between our reading and our writing."""


@dataclass(frozen=True)
class Place:
    """Where the record is."""

    bucket: str
    key: str

    @property
    def url(self) -> str:
        """``s3://bucket/key``"""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Stored:
    """A record as read: None and no ETag when there is none; ``now`` is S3's time (ours if it did not say)."""

    record: dict | None
    etag: str | None
    now: datetime


def read(aws: Aws, place: Place) -> Stored:
    """Read the record.

    :raises Failure: when it cannot be read, or is none.
    """
    try:
        answer = aws.read("get_object", place.url, Bucket=place.bucket, Key=place.key)
        body = answer["Body"].read()
    except AwsFailure as failure:
        if failure.code not in _MISSING_CODES:
            raise _explained(failure, aws, place) from failure
        return Stored(None, None, _time(aws, getattr(failure.__cause__, "response", {})))
    return Stored(records.parse(body, place.url), answer["ETag"], _time(aws, answer))


def write(aws: Aws, place: Place, record: dict, etag: str | None) -> None:
    """Store the record if it is still as it was read (None: if there still is none).

    :raises CasLost: when it is not.
    :raises Failure: when it cannot be written. Whether it was may then be unknown.
    """
    _put(aws, place, records.serialise(record), {"IfMatch": etag} if etag else {"IfNoneMatch": "*"})


def archive(aws: Aws, place: Place, record: dict) -> None:
    """Keep a record that is about to make room for a new rollout. Done twice, it changes nothing."""
    history = Place(place.bucket, f"{place.key.removesuffix('.json')}.history/{record['rollout_id']}.json")
    with contextlib.suppress(CasLost):
        _put(aws, history, records.serialise(record), {"IfNoneMatch": "*"})


def _put(aws, place, body, condition):
    try:
        aws.write(
            "put_object",
            place.url,
            Bucket=place.bucket,
            Key=place.key,
            Body=body,
            ContentType="application/json",
            **condition,
        )
    except AwsFailure as failure:
        if failure.code in _LOST_CODES:
            raise CasLost from failure
        raise _explained(failure, aws, place) from failure


def _time(aws, answer):
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return clock.from_http_date(headers.get("date")) or clock.from_epoch(aws.retry.clock.time())


def _explained(failure, aws, place) -> Failure:
    """The same failure, with what is particular to S3."""
    response = getattr(failure.__cause__, "response", None) or {}
    if failure.code in _REGION_CODES:
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region") or "another region"
        return Failure(
            f"bucket {place.bucket} in {aws.region}",
            f"it in {region}",
            "Set region to the bucket's, or name a bucket of this region.",
        )
    if failure.code == "NoSuchBucket":
        return Failure(
            f"a bucket {place.bucket} for rollout records",
            "none of that name",
            "Correct the name, or create it with versioning on (playbooks/infrastructure.yml).",
        )
    if failure.code in PERMISSION_CODES:
        return Failure(
            f"s3:GetObject and s3:PutObject on objects of bucket {place.bucket}, and s3:ListBucket on it",
            f"{failure.code} from {_action(failure)} on {place.url}",
            f"Grant {_action(failure)} to whoever runs this; without s3:ListBucket a missing object is denied too.",
        )
    return failure


def _action(failure) -> str:
    operation = getattr(failure.__cause__, "operation_name", "GetObject")
    return f"s3:{operation}"
