"""The journal of calls."""

from __future__ import annotations

import http.client
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.aws.calls import recognise
from tests.lab.account import forward


def test_every_call_is_written_down_with_what_became_of_it(aws: Any) -> None:
    balancer = aws.balancer()
    aws.control.mark()
    aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({balancer.groups[1]: 7})])
    aws.elbv2.describe_listeners(ListenerArns=[balancer.listener])
    with suppress(ClientError):
        aws.elbv2.modify_listener(ListenerArn=balancer.listener, DefaultActions=[forward({balancer.groups[1]: -7})])
    calls = aws.control.journal(service="elbv2")
    assert [(call["action"], call["mutating"], call["error"], call["status"]) for call in calls] == [
        ("ModifyListener", True, "", 200),
        ("DescribeListeners", False, "", 200),
        ("ModifyListener", True, "ValidationError", 400),
    ]
    assert {call["resource"] for call in calls} == {balancer.listener}
    assert calls[0]["parameters"]["DefaultActions.member.1.ForwardConfig.TargetGroups.member.1.Weight"] == "7"
    assert calls[0]["seconds"] > 0
    assert aws.control.journal(calls[0]["seq"], mutating=True) == [calls[2]]


def test_calls_of_other_protocols_are_named_too(aws: Any) -> None:
    aws.s3.create_bucket(Bucket="journal", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    aws.control.mark()
    aws.s3.put_object(Bucket="journal", Key="a/b c", Body=b"x", IfNoneMatch="*")
    aws.s3.get_object(Bucket="journal", Key="a/b c")
    aws.s3.head_object(Bucket="journal", Key="a/b c")
    aws.s3.list_objects_v2(Bucket="journal", Prefix="a/")
    aws.secretsmanager.create_secret(Name="journal/secret", SecretString="hidden")
    aws.cloudwatch.list_metrics(Namespace="AWS/ApplicationELB")
    calls = aws.control.journal()
    assert [(call["service"], call["action"], call["mutating"], call["resource"]) for call in calls] == [
        ("s3", "PutObject", True, "journal/a/b c"),
        ("s3", "GetObject", False, "journal/a/b c"),
        ("s3", "HeadObject", False, "journal/a/b c"),
        ("s3", "ListObjectsV2", False, "journal"),
        ("secretsmanager", "CreateSecret", True, "journal/secret"),
        ("cloudwatch", "ListMetrics", False, ""),
    ]
    assert calls[0]["parameters"] == {"If-None-Match": "*"}
    assert "hidden" not in str(calls)


def test_a_presigned_request_is_a_call_too(aws: Any) -> None:
    import urllib.request

    aws.s3.create_bucket(Bucket="presigned", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    aws.s3.put_object(Bucket="presigned", Key="x", Body=b"x")
    url = aws.s3.generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "x"})
    aws.control.mark()
    urllib.request.urlopen(url).read()
    assert [(call["action"], call["resource"]) for call in aws.control.journal()] == [("GetObject", "presigned/x")]


NONSENSE = [
    ("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"\xff\xfe"),
    ("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=Nonsense&Version=2015-12-01"),
    ("POST", "/", {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "a.b.c"}, b"{"),
    ("GET", "/%00/..//%ff?x=%zz&&=", {}, b""),
    ("GET", "/", {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/d/e"}, b""),
    ("GET", "/", {"Authorization": "AWS4-HMAC-SHA256 Credential=a/1/us-west-2/nonsense/aws4_request"}, b""),
    ("PUT", "/", {"Content-Length": "-1"}, b""),
    ("DELETE", "/lab/journal", {}, b""),
    ("GET", "/lab/journal?since=x", {}, b""),
    ("POST", "/lab/settings", {}, b"[1]"),
    ("POST", "/lab/requests", {}, b'[{"x": 1}]'),
]


@pytest.mark.lab_only
def test_nonsense_is_answered_and_harms_nothing(aws: Any) -> None:
    for method, path, headers, body in NONSENSE:
        connection = http.client.HTTPConnection(aws.endpoint.partition("//")[2], timeout=5)
        connection.request(method, path, body, headers)
        assert 200 <= connection.getresponse().status < 600, (method, path)
        connection.close()
    aws.elbv2.describe_load_balancers()


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[]", b'{"Name": 1}'])
def test_what_cannot_be_parsed_has_no_parameters(body: bytes) -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "HTTP_X_AMZ_TARGET": "secretsmanager.ListSecrets"}
    call = recognise(environ, body)
    assert (call.action, call.resource) == ("ListSecrets", "")
