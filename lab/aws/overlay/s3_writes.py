"""Conditional writes of S3: atomic under races, and only the conditions that S3 knows.

moto compares and writes in two steps, so that now and then several of a crowd of writers with `If-None-Match: *` win
(seen with bodies of 8 MB). The lock that every call takes makes the two steps one.
"""

from __future__ import annotations

from lab.aws import calls
from lab.aws.calls import Call, Response
from lab.aws.core import Lab, Proceed

WRITES = ("PutObject", "CompleteMultipartUpload")


def install(lab: Lab) -> None:
    """Refuse the conditions that S3 does not implement, which moto ignores."""

    def check(call: Call, proceed: Proceed) -> Response:
        if call.service == "s3" and call.action in WRITES:
            condition, match = call.header("If-None-Match"), call.header("If-Match")
            if condition not in ("", "*") or match == "*" or (condition and match):
                message = "A header you provided implies functionality that is not implemented."
                return calls.error(call, "NotImplemented", message, 501)
        return proceed(call)

    lab.layer(check)
