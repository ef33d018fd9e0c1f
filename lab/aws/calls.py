"""Recognise AWS calls in HTTP requests, and write errors as each AWS protocol does."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

# Name in the signature -> name of the boto3 client.
SERVICES = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
    "email": "ses",
}
READ = re.compile(r"^(Describe|Get|List|Head|BatchGet|Search|Query|Scan|Select|Lookup|Simulate|Decode|Assume|Validate)")
# What names the resource that a call is about, most telling first.
RESOURCE_KEYS = (
    "RuleArn",
    "ListenerArn",
    "TargetGroupArn",
    "RuleArns.member.1",
    "ListenerArns.member.1",
    "TargetGroupArns.member.1",
    "LoadBalancerArn",
    "LoadBalancerArns.member.1",
    "ResourceArns.member.1",
    "Names.member.1",
    "SecretId",
    "CertificateArn",
    "Name",
    "TargetDBSnapshotIdentifier",
    "TargetDBInstanceIdentifier",
    "DBInstanceIdentifier",
    "DBSnapshotIdentifier",
    "DBParameterGroupName",
)
# What of an S3 request the journal keeps, besides bucket and key.
S3_HEADERS = ("If-Match", "If-None-Match", "Range")
S3_QUERY = ("prefix", "versionId", "uploadId", "partNumber")
# Services that came from the query protocol and still tell that protocol's error codes.
QUERY_CODES = ("cloudwatch", "sqs")
# Services whose parameters carry no secrets: the journal keeps them.
TOLD = ("elbv2", "cloudwatch")


@dataclass
class Call:
    """One AWS call. `service` is the name of the boto3 client; `protocol` decides how errors look."""

    method: str
    path: str
    body: bytes
    environ: dict[str, Any] = field(repr=False)
    service: str = ""
    signing_name: str = ""
    region: str = ""
    action: str = ""
    protocol: str = "rest-json"
    resource: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def mutating(self) -> bool:
        """Whether the call changes something in the account."""
        return bool(self.action) and not READ.match(self.action)

    def header(self, name: str) -> str:
        """Return a request header, empty when absent."""
        return self.environ.get("HTTP_" + name.upper().replace("-", "_"), "")


@dataclass
class Response:
    """An HTTP answer; `cut` means that the connection is broken instead of answering."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    error: str = ""
    fault: int | None = None
    applied: bool = True
    cut: bool = False


def recognise(environ: dict[str, Any], body: bytes) -> Call:
    """Return the call that a request makes; what cannot be recognised has an empty action."""
    call = Call(environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/"), body, environ)
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    scope = re.search(r"Credential=[^/,]*/\d*/([^/]*)/([^/]*)/aws4_request", call.header("Authorization"))
    if not scope and (credential := query.get("X-Amz-Credential")):
        scope = re.fullmatch(r"[^/]*/\d*/([^/]*)/([^/]*)/aws4_request", credential[0])
    call.region, call.signing_name = scope.groups() if scope else ("", "s3")
    call.service = SERVICES.get(call.signing_name, call.signing_name)
    if target := call.header("X-Amz-Target"):
        call.protocol, call.action = "json", target.rpartition(".")[2]
        _json_parameters(call)
    elif operation := re.fullmatch(r"/service/[^/]+/operation/([^/]+)", call.path):
        call.protocol, call.action = "cbor", operation[1]
    elif environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        _query_parameters(call)
    elif call.service == "s3":
        _s3_parameters(call, query)
    else:
        call.action = _rest_action(call)
    call.resource = call.resource or next((call.parameters[k] for k in RESOURCE_KEYS if k in call.parameters), "")
    if call.service not in (*TOLD, "s3"):
        call.parameters = {}
    return call


def error(call: Call, code: str, message: str, status: int) -> Response:
    """Return an error as the call's protocol has it."""
    request_id = "00000000-0000-0000-0000-000000000000"
    if call.service == "s3":
        text = (
            f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
            f"<RequestId>{request_id}</RequestId></Error>"
        )
        kind = "application/xml"
    elif call.protocol == "query" and call.service == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        kind = "text/xml"
    elif call.protocol == "query":
        blame = "Sender" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "Receiver"
        text = (
            f"<ErrorResponse><Error><Type>{blame}</Type><Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        kind = "text/xml"
    else:
        text = json.dumps({"__type": code, "message": message})
        kind = "application/x-amz-json-1.1" if call.protocol == "json" else "application/json"
    body = text.encode()
    headers = [("Content-Type", kind), ("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", code)]
    if call.protocol == "cbor":
        body = b"\xa2" + b"".join(map(_cbor_text, ("__type", code, "message", message)))
        headers[0] = ("Content-Type", "application/cbor")
        headers.append(("smithy-protocol", "rpc-v2-cbor"))
    if call.service in QUERY_CODES:
        headers.append(("x-amzn-query-error", f"{code};Sender"))
    return Response(status, headers, b"" if call.method == "HEAD" else body, error=code, applied=False)


def error_code(call: Call, response: Response) -> str:
    """Return the error code of an answer, empty for success."""
    if response.error or response.status < HTTPStatus.BAD_REQUEST:
        return response.error
    if found := re.search(rb"<Code>([^<]+)</Code>", response.body):
        return found[1].decode(errors="replace")
    with_type = {name.lower(): value for name, value in response.headers}
    if name := with_type.get("x-amzn-errortype"):
        return name.partition(":")[0]
    if found := re.search(rb'"__type"\s*:\s*"([^"]+)"', response.body):
        return found[1].decode(errors="replace").rpartition("#")[2]
    return str(response.status)


def _cbor_text(text: str) -> bytes:
    data = text.encode()
    return b"\x79" + len(data).to_bytes(2, "big") + data


def _query_parameters(call: Call) -> None:
    call.protocol = "query"
    fields = parse_qs(call.body.decode(errors="replace"), keep_blank_values=True)
    call.parameters = {name: values[0] for name, values in fields.items()}
    call.action = call.parameters.pop("Action", "")
    version = call.parameters.pop("Version", "")
    if call.service == "elbv2" and version != "2015-12-01":
        call.service = "elb"


def _json_parameters(call: Call) -> None:
    try:
        parameters = json.loads(call.body or b"{}")
    except ValueError:
        return
    if isinstance(parameters, dict):
        call.parameters = {name: value for name, value in parameters.items() if isinstance(value, str)}


def _s3_parameters(call: Call, query: dict[str, list[str]]) -> None:
    call.protocol = "rest-xml"
    bucket, _slash, key = unquote(call.path).lstrip("/").partition("/")
    call.resource = f"{bucket}/{key}" if key else bucket
    call.parameters = {name: call.header(name) for name in S3_HEADERS if call.header(name)}
    call.parameters |= {name: query[name][0] for name in S3_QUERY if name in query}
    call.action = _rest_action(call)


def _rest_action(call: Call) -> str:
    from moto.core.request import Request

    try:
        operation, _parameters = _router(call.service).match(Request(dict(call.environ)))
    except Exception:  # whatever a stranger sent: moto answers it
        return ""
    return operation.name


@functools.cache
def _router(service: str) -> Any:
    from moto.core.routing import get_service_router

    return get_service_router(service)
