"""What an application and a stranger find."""

from __future__ import annotations

import pytest

CREDENTIAL = "it's a $ecret"


def connect(host, user="shop", password=CREDENTIAL, database="shop", mode="require", query="SELECT 1"):
    """Connect over the network as the host's own address, which is the one that is let in."""
    address = host.check_output("hostname -I").split()[0]
    target = f"postgresql://{user}@{address}/{database}?sslmode={mode}"
    return host.run("PGPASSWORD=%s psql -XAtq --dbname=%s --command=%s", password, target, query)


def test_application_connects_with_tls(host):
    result = connect(host, query="SELECT version(); CREATE TABLE t (x int); DROP TABLE t")
    assert result.succeeded, result.stderr


@pytest.mark.parametrize(
    "wrong",
    [{"password": "x"}, {"user": "postgres", "database": "postgres"}, {"database": "postgres"}, {"mode": "disable"}],
)
def test_others_do_not(host, wrong):
    result = connect(host, **wrong)
    assert result.failed
    assert "authentication failed" in result.stderr or "no pg_hba.conf entry" in result.stderr


def test_password_is_stored_as_scram(host):
    stored = host.check_output(
        "cd /; runuser -u postgres -- psql -XAtc \"SELECT rolpassword FROM pg_authid WHERE rolname = 'shop'\""
    )
    assert stored.startswith("SCRAM-SHA-256$")


def test_role_has_no_more_rights_than_it_needs(host):
    rights = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'shop'"
    assert host.check_output(f'cd /; runuser -u postgres -- psql -XAtc "{rights}"') == "f|f|f"


def test_server_starts_at_boot(host):
    version = host.check_output("ls /etc/postgresql")
    service = host.service(f"postgresql@{version}-main")
    assert service.is_running
    assert service.is_enabled
