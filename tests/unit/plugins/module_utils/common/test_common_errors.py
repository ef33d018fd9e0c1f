"""Failures say what was expected, what was found and what to do."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common import errors
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)


def refusal(code, status=400):
    answer = {"Error": {"Code": code, "Message": "because"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "ModifyRule")


def explained(exception):
    return errors.from_aws(exception, "elasticloadbalancing:ModifyRule", "arn:rule", "us-west-2")


def test_failure_has_three_parts_and_details():
    failure = errors.Failure("a", "b", "Do c.", key=1)
    failure.add("Then d.", other=2)
    assert str(failure) == "Expected a; found b. Do c. Then d."
    assert failure.details == {"key": 1, "other": 2}


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"])
def test_a_missing_permission_is_named(code):
    failure = explained(refusal(code, 403))
    assert str(failure).startswith("Expected the permission elasticloadbalancing:ModifyRule on arn:rule; found ")
    assert (failure.transient, failure.refused) == (False, True)


@pytest.mark.parametrize(
    ("exception", "words"),
    [
        (NoCredentialsError(), "valid AWS credentials"),
        (refusal("ExpiredToken"), "valid AWS credentials"),
        (refusal("RuleNotFound"), "arn:rule to exist in us-west-2"),
        (refusal("Throttling"), "throttled every attempt"),
        (
            EndpointConnectionError(endpoint_url="http://x"),
            "whether this machine reaches the AWS endpoint of us-west-2",
        ),
        (refusal("ValidationError"), "because"),
    ],
)
def test_what_a_failed_call_means(exception, words):
    assert words in str(explained(exception))


@pytest.mark.parametrize(
    ("exception", "transient", "refused"),
    [
        (refusal("Throttling"), True, True),
        (refusal("ThrottlingException"), True, True),
        (refusal("RequestThrottled"), True, True),
        (refusal("RequestLimitExceeded", 503), True, True),
        (refusal("SlowDown", 503), True, True),
        (refusal("Whatever", 500), True, False),
        (refusal("ServiceUnavailable", 503), True, False),
        (refusal("ListenerNotFound"), False, True),
        (refusal("TooManyTargets"), False, True),
        (ReadTimeoutError(endpoint_url="http://x"), True, False),
        (ConnectTimeoutError(endpoint_url="http://x"), True, True),
        (NoCredentialsError(), False, True),
    ],
)
def test_what_may_be_tried_again_and_what_was_certainly_not_done(exception, transient, refused):
    failure = explained(exception)
    assert (failure.transient, failure.refused) == (transient, refused)
    assert errors.is_aws(exception)
    assert errors.is_transient(exception) is transient


def test_is_unreachable():
    assert errors.is_unreachable(EndpointConnectionError(endpoint_url="http://x"))
    assert not errors.is_unreachable(refusal("Throttling"))
    assert not errors.is_aws(ValueError())


def test_error_code():
    assert errors.error_code(refusal("X")) == "X"
    assert errors.error_code(NoCredentialsError()) == "NoCredentialsError"


def test_arn_parts():
    assert errors.arn_parts("arn:aws-cn:elasticloadbalancing:cn-north-1:1:targetgroup/x/1") == {
        "service": "elasticloadbalancing",
        "region": "cn-north-1",
        "account": "1",
        "resource": "targetgroup/x/1",
    }
    with pytest.raises(errors.Failure, match="an ARN"):
        errors.arn_parts("blue")


def test_require_region():
    arn = "arn:aws:elasticloadbalancing:{}:1:targetgroup/x/1"
    errors.require_region([arn.format("us-west-2")], "us-west-2")
    with pytest.raises(errors.Failure, match=r"found .* in us-east-1. Set region to us-east-1"):
        errors.require_region([arn.format("us-west-2"), arn.format("us-east-1")], "us-west-2")
