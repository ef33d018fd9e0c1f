"""The Date header of S3's answers comes from AWS's clock, which need not agree with the caller's."""

from __future__ import annotations

import time

from werkzeug.http import http_date

from lab.aws.calls import Call, Response
from lab.aws.core import Lab, Proceed


def install(lab: Lab) -> None:
    """Put a Date, ahead of this machine's clock by the setting s3_date_skew, into every answer of S3."""

    def date(call: Call, proceed: Proceed) -> Response:
        response = proceed(call)
        if call.service == "s3":
            kept = [entry for entry in response.headers if entry[0].lower() != "date"]
            response.headers = [*kept, ("Date", http_date(time.time() + lab.settings.s3_date_skew))]
        return response

    lab.layer(date)
