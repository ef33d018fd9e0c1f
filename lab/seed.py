"""The account as Terraform would have left it: network, load balancer, buckets, secret. Idempotent."""

from __future__ import annotations

import json
import secrets
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lab import certificates, settings

TAGS = [{"Key": "application", "Value": settings.APPLICATION}, {"Key": "environment", "Value": "demo"}]


def seed() -> None:
    """Make what is missing in the lab's account, and leave alone what is there."""
    certificates.ensure()
    load_balancer(settings.APPLICATION, settings.LOAD_BALANCER_BLOCK)
    bucket(settings.RELEASES_BUCKET)
    bucket(settings.ROLLOUTS_BUCKET, versioned=True)
    bucket(settings.BACKUPS_BUCKET)
    database_secret(settings.DATABASE_SECRET, next(host.address for host in settings.HOSTS if host.name == "db-1"))


def client(service: str) -> Any:
    """Return a client for a service of the lab's account."""
    return boto3.client(
        service,
        region_name=settings.REGION,
        aws_access_key_id=settings.AWS_ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings.AWS_ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=settings.AWS_ENDPOINT,
        config=Config(retries={"max_attempts": 3, "mode": "standard"}, s3={"addressing_style": "path"}),
    )


def load_balancer(name: str, block: int) -> None:
    """Make a load balancer on a block of addresses, its HTTPS listener, and its groups `<name>-blue` and `-green`."""
    elbv2 = client("elbv2")
    vpc, subnets, security_group = _network(client("ec2"))
    certificate = _certificate(client("acm"))
    balancer = _existing(lambda: elbv2.describe_load_balancers(Names=[name])["LoadBalancers"], "LoadBalancerNotFound")
    if not balancer:
        balancer = elbv2.create_load_balancer(
            Name=name,
            Type="application",
            Scheme="internet-facing",
            Subnets=subnets,
            SecurityGroups=[security_group],
            Tags=[*TAGS, {"Key": "lab:block", "Value": str(block)}],
        )["LoadBalancers"][0]
    groups = {color: _target_group(elbv2, f"{name}-{color}", vpc) for color in ("blue", "green")}
    listeners = elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    if not any(listener["Port"] == settings.LISTENER_PORT for listener in listeners):
        forward = {"TargetGroups": [{"TargetGroupArn": groups["blue"], "Weight": 100}]}
        elbv2.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"],
            Protocol="HTTPS",
            Port=settings.LISTENER_PORT,
            SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
            Certificates=[{"CertificateArn": certificate}],
            DefaultActions=[{"Type": "forward", "ForwardConfig": forward}],
            Tags=TAGS,
        )


def bucket(name: str, versioned: bool = False) -> None:
    """Make a bucket."""
    s3 = client("s3")
    if name not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": settings.REGION})
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def database_secret(name: str, address: str) -> None:
    """Make the secret with which the application reaches the database on a host."""
    # Kept with the lab: when the AWS server starts anew, a database that still runs knows the same password.
    if not settings.DATABASE_PASSWORD.exists():
        settings.DATABASE_PASSWORD.touch(mode=0o600)
        settings.DATABASE_PASSWORD.write_text(secrets.token_urlsafe(24))
    value = {
        "engine": "postgres",
        "host": address,
        "port": 5432,
        "dbname": "rag_admin",
        "username": "rag_admin",
        "password": settings.DATABASE_PASSWORD.read_text(),
    }
    try:
        client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(value), Tags=TAGS)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceExistsException":
            raise


def _network(ec2: Any) -> tuple[str, list[str], str]:
    mine = [{"Name": "tag:application", "Values": [settings.APPLICATION]}]

    def tagged(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": [*TAGS, {"Key": "Name", "Value": settings.APPLICATION}]}]

    if found := ec2.describe_vpcs(Filters=mine)["Vpcs"]:
        vpc = found[0]["VpcId"]
    else:
        # A subnet of the VPC holds the hosts' real addresses: targets of type ip must lie in it, as on AWS.
        vpc = ec2.create_vpc(CidrBlock="10.213.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    blocks = {f"{settings.REGION}a": str(settings.SUBNET), f"{settings.REGION}b": "10.213.0.0/24"}
    found = {subnet["CidrBlock"]: subnet["SubnetId"] for subnet in ec2.describe_subnets(Filters=mine)["Subnets"]}
    subnets = [
        found.get(block)
        or ec2.create_subnet(
            VpcId=vpc, CidrBlock=block, AvailabilityZone=zone, TagSpecifications=tagged("subnet")
        )["Subnet"]["SubnetId"]
        for zone, block in blocks.items()
    ]  # fmt: skip
    if groups := ec2.describe_security_groups(Filters=mine)["SecurityGroups"]:
        return vpc, subnets, groups[0]["GroupId"]
    group = ec2.create_security_group(
        GroupName=settings.APPLICATION,
        Description="The load balancer of rag-admin",
        VpcId=vpc,
        TagSpecifications=tagged("security-group"),
    )["GroupId"]
    return vpc, subnets, group


def _certificate(acm: Any) -> str:
    """Import the lab's certificate, again when it was made anew; return its ARN."""
    name = certificates.NAMES[0]
    pem = certificates.SERVER_CERTIFICATE.read_bytes()
    known = {}
    for summary in acm.list_certificates()["CertificateSummaryList"]:
        if summary["DomainName"] == name:
            arn = summary["CertificateArn"]
            if acm.get_certificate(CertificateArn=arn)["Certificate"].strip() == pem.decode().strip():
                return arn
            known = {"CertificateArn": arn}
    return acm.import_certificate(
        Certificate=pem,
        PrivateKey=certificates.SERVER_KEY.read_bytes(),
        CertificateChain=settings.CA_CERTIFICATE.read_bytes(),
        **known,
    )["CertificateArn"]


def _target_group(elbv2: Any, name: str, vpc: str) -> str:
    if found := _existing(lambda: elbv2.describe_target_groups(Names=[name])["TargetGroups"], "TargetGroupNotFound"):
        return found["TargetGroupArn"]
    arn = elbv2.create_target_group(
        Name=name,
        Protocol="HTTP",
        ProtocolVersion="HTTP1",
        Port=8000,
        VpcId=vpc,
        TargetType="ip",
        HealthCheckProtocol="HTTP",
        HealthCheckPath="/ready",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2,
        UnhealthyThresholdCount=2,
        Matcher={"HttpCode": "200"},
        Tags=TAGS,
    )["TargetGroups"][0]["TargetGroupArn"]
    attributes = [{"Key": "deregistration_delay.timeout_seconds", "Value": "10"}]
    elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=attributes)
    return arn


def _existing(describe: Any, absent: str) -> dict[str, Any] | None:
    try:
        return next(iter(describe()), None)
    except ClientError as error:
        if error.response["Error"]["Code"] == absent:
            return None
        raise


if __name__ == "__main__":
    seed()
