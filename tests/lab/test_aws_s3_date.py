"""The clock of S3."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError


def skew(aws: Any, response: dict[str, Any]) -> float:
    """Return how far the Date of an answer is ahead of this machine's clock, in seconds."""
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    return parsedate_to_datetime(headers["date"]).timestamp() - time.time()


def test_the_date_of_s3_answers_can_be_skewed(aws: Any) -> None:
    assert abs(skew(aws, aws.s3.list_buckets())) < 2
    aws.control.settings(s3_date_skew=-300)
    assert abs(skew(aws, aws.s3.list_buckets()) + 300) < 2
    assert abs(skew(aws, aws.ec2.describe_vpcs())) < 2
    try:
        aws.s3.get_object(Bucket="nowhere", Key="k")
    except ClientError as error:
        assert abs(skew(aws, error.response) + 300) < 2
