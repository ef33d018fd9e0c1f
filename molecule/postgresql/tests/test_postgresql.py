"""What an application and a stranger find."""

from __future__ import annotations

import json
import time

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


def sql(host, query, database="postgres"):
    return host.check_output("cd /; runuser -u postgres -- psql -XAtd %s -c %s", database, query)


def logs(host, kind):
    version = host.check_output("ls /etc/postgresql")
    return host.check_output(f"ls -d /var/log/postgresql/{version}-main/*.{kind}").split()


def test_role_is_a_member_of_what_was_declared(host):
    assert sql(host, "SELECT pg_has_role('shop', 'pg_monitor', 'MEMBER')") == "t"


def test_extension_is_there(host):
    assert sql(host, "SELECT extname FROM pg_extension WHERE extname = 'amcheck'", "shop") == "amcheck"


def test_pages_have_checksums(host):
    assert sql(host, "SHOW data_checksums") == "on"


def test_settings_are_worked_out_and_the_extra_ones_win(host):
    found = sql(host, "SELECT name, setting FROM pg_settings WHERE name IN ('shared_buffers', 'max_connections')")
    assert found.splitlines() == ["max_connections|90", f"shared_buffers|{512 * 1024 // 8 // 4}"]


def test_certificate_is_the_hosts_own_and_its_key_is_secret(host):
    directory = f"/etc/postgresql/{host.check_output('ls /etc/postgresql')}/main"
    assert sql(host, "SHOW ssl_cert_file") == f"{directory}/server.crt"
    names = host.check_output("openssl x509 -noout -ext subjectAltName -in %s/server.crt", directory)
    assert f"IP Address:{host.check_output('hostname -I').split()[0]}" in names
    assert host.file(f"{directory}/server.key").mode == 0o600


def test_refused_rules_never_lay_on_the_disk(host):
    assert sql(host, "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == "0"
    assert "reject" not in host.check_output("cat /etc/postgresql/*/main/pg_hba.conf")


def test_slow_statements_and_connections_are_logged_in_both_formats(host):
    mark = f"mark_{time.time_ns()}"
    assert connect(host, query=f"SELECT pg_sleep(1.1) AS {mark}").succeeded
    time.sleep(0.5)
    rows = host.check_output("cat %s", logs(host, "csv")[-1])
    assert f"AS {mark}" in rows
    assert "connection authorized: user=shop" in rows
    entries = [json.loads(line) for line in host.check_output("cat %s", logs(host, "json")[-1]).splitlines()]
    assert any(mark in entry["message"] and "duration" in entry["message"] for entry in entries)


def test_rotation_begins_a_file_of_a_new_name_and_old_ones_go(host):
    before = logs(host, "csv")
    time.sleep(1)  # names tell seconds
    sql(host, "SELECT pg_rotate_logfile()")
    time.sleep(1)
    after = logs(host, "csv")
    assert before == after[:-1]
    old = f"{after[0].rpartition('/')[0]}/postgresql-2020-01-01_000000.csv"
    host.check_output("touch --date=2020-01-01 %s", old)
    host.check_output("systemd-tmpfiles --clean")
    assert logs(host, "csv") == after
