"""What runs, what it may do, and who can read the secret."""

from __future__ import annotations

import json
import time

import pytest

ASK = 'python3 -c "import sys, urllib.request; r = urllib.request.urlopen(sys.argv[1]); print(dict(r.headers))" %s'


@pytest.fixture
def pid(host):
    return host.check_output("systemctl show --property=MainPID --value rag-admin")


@pytest.fixture
def password(host):
    return json.loads(host.file("/etc/rag-admin/database").content_string)["password"]


def test_serves_the_version_that_was_gone_back_to(host):
    headers = host.check_output(ASK, "http://127.0.0.1:8000/ready")
    assert "'X-App-Version': '1.0.0'" in headers
    assert "'X-App-Color': 'blue'" in headers
    assert host.check_output(ASK, "http://127.0.0.1:9102/metrics")


def test_service_starts_at_boot(host):
    assert host.service("rag-admin").is_running
    assert host.service("rag-admin").is_enabled


def test_links_and_releases(host):
    assert host.file("/opt/rag-admin/current").linked_to == "/opt/rag-admin/releases/1.0.0"
    assert host.file("/opt/rag-admin/previous").linked_to == "/opt/rag-admin/releases/1.1.0"
    assert sorted(host.file("/opt/rag-admin/releases").listdir()) == ["1.0.0", "1.1.0"]
    assert not [name for name in host.check_output("ls -A /opt/rag-admin").split() if name.startswith(".download")]


def test_environment_arrives_as_it_was_written(host, pid):
    environment = host.check_output("tr '\\0' '\\n' </proc/%s/environ", pid).splitlines()
    assert 'SHOP_MOTTO=50% "off" $HOME \\o/' in environment


def test_secret_is_for_root_and_the_service_only(host, pid, password):
    assert host.file("/etc/rag-admin/database").mode == 0o600
    assert host.file("/etc/rag-admin").mode == 0o700
    for path in ("/etc/rag-admin/database", "/run/credentials/rag-admin.service/database"):
        assert host.run("runuser -u nobody -- cat %s", path).failed
    assert password not in host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert password not in host.check_output("tr '\\0' '\\n' </proc/%s/environ", pid)
    for place in ("systemctl show rag-admin", "journalctl --no-pager --quiet", "cat /var/log/rag-admin/*"):
        assert password not in host.check_output(place), place


def test_secret_lies_nowhere_else(host, password):
    found = host.run("grep -rlsF %s /etc /opt /tmp /var/tmp /var/log /root /usr/local", password).stdout.split()
    assert found == ["/etc/rag-admin/database"]


def test_service_is_confined(host, pid):
    status = dict(
        line.split(":\t", 1) for line in host.file(f"/proc/{pid}/status").content_string.splitlines() if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["CapBnd"], 16) == 0
    mounts = dict(line.split()[4:6] for line in host.file(f"/proc/{pid}/mountinfo").content_string.splitlines())
    assert mounts["/"].startswith("ro,")
    assert mounts["/var/log/rag-admin"].startswith("rw,")
    exposure = host.run("systemd-analyze security --no-pager rag-admin").stdout.split("Overall exposure level for ")[-1]
    assert float(exposure.split(": ")[1].split()[0]) < 2.0, exposure


def test_systemd_waits_longer_than_the_application(host):
    assert host.check_output("systemctl show --property=TimeoutStopUSec --value rag-admin") == "1min 15s"


def test_logs_are_rotated_and_written_on(host):
    log = "/var/log/rag-admin/rag-admin.log"
    assert host.file("/var/log/rag-admin").mode == 0o750
    host.check_output("logrotate --force /etc/logrotate.d/rag-admin")
    assert host.file(log).size == 0
    host.check_output(ASK, "http://127.0.0.1:8000/")
    for _attempt in range(20):
        if host.file(log).size:
            break
        time.sleep(0.2)
    assert host.file(log).size
    assert host.file(log).user == "rag-admin"
