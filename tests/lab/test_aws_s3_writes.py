"""Conditional writes of S3, and large objects."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError


def make_bucket(aws: Any, name: str) -> None:
    """Make a bucket."""
    aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})


def race(aws: Any, writers: int, **condition: str) -> list[str]:
    """Return the outcome of each of several writers that start together."""
    client = aws.client("s3", max_pool_connections=writers)
    start = threading.Barrier(writers)
    body = os.urandom(1 << 20)  # large enough that a write takes a while

    def write(_number: int) -> str:
        start.wait()
        try:
            client.put_object(Bucket="races", Body=body, **condition)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "written"

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(write, range(writers)))


@pytest.mark.lab_only  # stock moto fails this, but not every time
def test_exactly_one_of_a_crowd_creates_or_replaces_an_object(aws: Any) -> None:
    make_bucket(aws, "races")
    for number in range(5):
        outcomes = race(aws, 20, Key=str(number), IfNoneMatch="*")
        assert sorted(outcomes) == ["PreconditionFailed"] * 19 + ["written"]
        etag = aws.s3.head_object(Bucket="races", Key=str(number))["ETag"]
        aws.s3.put_object(Bucket="races", Key=str(number), Body=b"other", IfMatch=etag)
        with pytest.raises(ClientError, match="PreconditionFailed"):
            aws.s3.put_object(Bucket="races", Key=str(number), Body=b"third", IfMatch=etag)


def test_conditions_that_s3_does_not_know_are_refused(aws: Any) -> None:
    make_bucket(aws, "conditions")
    with pytest.raises(ClientError, match="NotImplemented"):
        aws.s3.put_object(Bucket="conditions", Key="k", Body=b"x", IfNoneMatch='"d41d8cd98f00b204e9800998ecf8427e"')


@pytest.mark.lab_only
def test_a_compare_and_swap_needs_the_object(aws: Any) -> None:
    make_bucket(aws, "missing")
    with pytest.raises(ClientError, match="NoSuchKey"):
        aws.s3.put_object(Bucket="missing", Key="k", Body=b"x", IfMatch='"x"')


@pytest.mark.lab_only
def test_a_release_of_30_mb_goes_up_and_down_quickly(aws: Any, tmp_path: Any) -> None:
    make_bucket(aws, "large")
    content = os.urandom(30 << 20)
    (tmp_path / "release").write_bytes(content)
    started = time.monotonic()
    with (tmp_path / "release").open("rb") as file:
        aws.s3.put_object(Bucket="large", Key="release", Body=file, IfNoneMatch="*")
    assert aws.s3.get_object(Bucket="large", Key="release")["Body"].read() == content
    part = aws.s3.get_object(Bucket="large", Key="release", Range="bytes=10-19")
    assert part["Body"].read() == content[10:20]
    assert time.monotonic() - started < 5
    aws.s3.upload_file(str(tmp_path / "release"), "large", "in-parts")
    assert aws.s3.head_object(Bucket="large", Key="in-parts")["ContentLength"] == len(content)
