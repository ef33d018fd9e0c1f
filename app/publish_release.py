#!/usr/bin/env python3
"""Publish a release to S3, once and for all.

    python app/publish_release.py dist/rag-admin-1.1.0.tar.gz --bucket techcorp-rag-admin-releases

puts the tarball and its ``.sha256`` under ``rag-admin/1.1.0/``. A version that was published stays what it is: the same
content again is fine and changes nothing, other content under the same version is refused.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import tarfile
import time
from pathlib import Path

import boto3
import botocore.exceptions

PART = 1 << 20  # bytes


class PublishError(Exception):
    """The release was not published; the message says what to do."""


def object_key(release: Path) -> str:
    """The key that a tarball goes under, from the name and version inside it.

    :raises PublishError: when the file is not a release, or its file name says something else.
    """
    try:
        with tarfile.open(release) as tar:
            content = json.load(tar.extractfile("release.json"))
            name, version = content["name"], content["version"]
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise PublishError(f"{release}: expected a tarball with a release.json, found: {error}") from None
    if release.name != f"{name}-{version}.tar.gz":
        raise PublishError(f"expected the file name {name}-{version}.tar.gz, found {release.name}")
    return f"{name}/{version}/{release.name}"


def put_once(s3, bucket: str, key: str, body: bytes, content_type: str) -> bool:
    """Create an object unless it exists with the same content.

    :param s3: boto3 S3 client.
    :returns: whether it was created.
    :raises PublishError: when the key holds other content.
    """
    digest = hashlib.sha256(body)
    for attempt in range(5):
        try:
            s3.put_object(
                Bucket=bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                IfNoneMatch="*",
            )
            return True
        except botocore.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "PreconditionFailed":
                break
            if code != "ConditionalRequestConflict":  # somebody else is writing this key at this moment
                raise
            time.sleep(0.2 * 2**attempt)
    else:
        raise PublishError(f"s3://{bucket}/{key}: others keep writing it; try again")

    # Compared by content: a checksum in the metadata would only say what somebody claimed.
    there = hashlib.sha256()
    for part in s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(PART):
        there.update(part)
    if there.digest() != digest.digest():
        raise PublishError(
            f"s3://{bucket}/{key} was published with other content (sha256 {there.hexdigest()}, "
            f"this file {digest.hexdigest()}); a version never changes, so build this one under a new version"
        )
    return False


def publish(s3, release: Path, bucket: str) -> dict:
    """Publish a tarball and its checksum.

    :param s3: boto3 S3 client.
    :returns: ``{"changed": bool, "bucket": …, "key": …, "sha256": …}``.
    :raises PublishError: when it is not a release, or the version exists with other content.
    """
    key = object_key(release)
    body = release.read_bytes()
    sha256 = hashlib.sha256(body).hexdigest()
    # The tarball first: whoever finds the checksum finds the tarball too, and the next run finishes an interrupted one.
    created = put_once(s3, bucket, key, body, "application/gzip")
    created |= put_once(s3, bucket, f"{key}.sha256", f"{sha256}  {release.name}\n".encode(), "text/plain")
    return {"changed": created, "bucket": bucket, "key": key, "sha256": sha256}


def main(argv: list[str] | None = None) -> int:
    """Command line; prints JSON. Region, keys and endpoint come from the usual AWS variables and files."""
    parser = argparse.ArgumentParser(description="Publish a release of an application to S3.")
    parser.add_argument("release", type=Path, metavar="FILE", help="tarball made by build_release.py")
    parser.add_argument("--bucket", required=True)
    options = parser.parse_args(argv)
    try:
        print(json.dumps(publish(boto3.client("s3"), options.release, options.bucket)))
    except (PublishError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError) as error:
        print(f"publish_release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
