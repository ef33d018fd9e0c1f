# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures that say what was expected, what was found and what to do."""

from __future__ import annotations

import re

try:
    from botocore import exceptions as botocore_exceptions
except ImportError:
    botocore_exceptions = None  # AnsibleAWSModule reports the missing library.

PERMISSION_CODES = frozenset(
    ("AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "NotAuthorized", "403")
)
CREDENTIAL_CODES = frozenset(
    (
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    )
)
# The answer does not tell whether the call was carried out; the same call may be made again.
TRANSIENT_CODES = frozenset(
    (
        "500",
        "502",
        "503",
        "504",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "Unavailable",
    )
)
THROTTLING_CODES = frozenset(
    (
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    )
)
_ARN = re.compile(r"^arn:[\w-]+:(?P<service>[\w-]+):(?P<region>[\w-]*):(?P<account>\d*):(?P<resource>.+)$")


class Failure(Exception):
    """Stops a module. ``details`` become keys of its result."""

    def __init__(self, expected: str, found: str, todo: str, **details):
        super().__init__(f"Expected {expected}; found {found}. {todo}")
        self.details = details

    def add(self, sentence: str, **details) -> None:
        """Say what happened after the failure."""
        self.args = (f"{self.args[0]} {sentence}",)
        self.details.update(details)


class AwsFailure(Failure):
    """A call to AWS failed.

    :ivar code: AWS's error code, or the class name of the connection error.
    :ivar transient: whether the same call may succeed a moment later.
    :ivar refused: whether AWS certainly did not carry it out.
    """

    def __init__(self, expected: str, found: str, todo: str, code: str, transient: bool, refused: bool, **details):
        super().__init__(expected, found, todo, **details)
        self.code = code
        self.transient = transient
        self.refused = refused


def error_code(exception: Exception) -> str:
    """AWS's error code, or the class name when no answer came."""
    response = getattr(exception, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(exception).__name__)


def is_aws(exception: Exception) -> bool:
    """Whether botocore raised it, as an answer from AWS or for the lack of one."""
    kinds = (botocore_exceptions.ClientError, botocore_exceptions.BotoCoreError)
    return isinstance(exception, kinds)


def is_transient(exception: Exception) -> bool:
    """Whether the same call may succeed a moment later: throttling, a fault of the service, no or half an answer."""
    if isinstance(exception, botocore_exceptions.ClientError):
        status = exception.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error_code(exception)
        return code in THROTTLING_CODES or code in TRANSIENT_CODES or status >= 500 or status == 429
    return isinstance(exception, (botocore_exceptions.ConnectionError, botocore_exceptions.HTTPClientError))


def is_refused(exception: Exception) -> bool:
    """Whether AWS certainly did not carry the call out: it said so, or the call never left this machine."""
    if isinstance(exception, botocore_exceptions.ClientError):
        return not is_transient(exception) or error_code(exception) in THROTTLING_CODES
    unsent = (
        botocore_exceptions.EndpointConnectionError,
        botocore_exceptions.ConnectTimeoutError,
        botocore_exceptions.ProxyConnectionError,
        botocore_exceptions.NoCredentialsError,
        botocore_exceptions.PartialCredentialsError,
        botocore_exceptions.CredentialRetrievalError,
        botocore_exceptions.ParamValidationError,
    )
    return isinstance(exception, unsent)


def is_unreachable(exception: Exception) -> bool:
    """Whether no connection to the endpoint could be made."""
    return isinstance(exception, botocore_exceptions.EndpointConnectionError)


def from_aws(exception: Exception, action: str, resource: str, region: str) -> AwsFailure:
    """Say what a failed call means.

    :param action: IAM action, for example ``elasticloadbalancing:ModifyRule``.
    :param resource: what the call was about, an ARN or a name.
    """
    code = error_code(exception)
    answered = isinstance(exception, botocore_exceptions.ClientError)
    message = exception.response.get("Error", {}).get("Message", "") if answered else str(exception)
    found = f"{code} ({message})" if message else code
    expected, todo = (
        f"{action} on {resource} in {region} to succeed",
        "Read AWS's message, mend the cause and run again.",
    )
    if code in PERMISSION_CODES:
        expected = f"the permission {action} on {resource}"
        todo = f"Grant {action} to the identity that runs this, or run it as another one."
    elif code in CREDENTIAL_CODES or code in (
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
    ):
        expected = f"valid AWS credentials for {action}"
        todo = (
            "Set a profile or the AWS_* variables, renew expired ones, and see whether this machine's clock is right."
        )
    elif code in THROTTLING_CODES:
        todo = "AWS throttled every attempt: find what else calls this API in the account, or run again later."
    elif code.endswith(("NotFound", "NotFoundException", "NotFoundFault")) or code in ("NoSuchBucket", "NoSuchKey"):
        expected = f"{resource} to exist in {region}"
        todo = "Correct its name or ARN, or the region."
    elif not answered:
        todo = f"See whether this machine reaches the AWS endpoint of {region} and whether the region is right."
    return AwsFailure(
        expected, found, todo, code=code, transient=is_transient(exception), refused=is_refused(exception)
    )


def arn_parts(arn: str) -> dict:
    """``service``, ``region``, ``account`` and ``resource`` of an ARN.

    :raises Failure: when it is not an ARN.
    """
    match = _ARN.match(str(arn))
    if match is None:
        raise Failure("an ARN", repr(arn), "Give the ARN as alb_traffic_info returns it.")
    return match.groupdict()


def require_region(arns, region: str) -> None:
    """Refuse ARNs of another region before anything is called.

    :raises Failure: naming the first ARN that lies elsewhere.
    """
    for arn in arns:
        found = arn_parts(arn)["region"]
        if found != region:
            raise Failure(
                f"resources in {region}, the region of this task",
                f"{arn} in {found or 'no region'}",
                f"Set region to {found}, or name resources of {region}.",
            )
