"""What Prometheus scrapes and with which labels."""

from __future__ import annotations

import json
import time

ASK = """python3 -c "
import sys, urllib.request
print(urllib.request.urlopen('http://127.0.0.1:9090' + sys.argv[1]).read().decode())" %s"""


def ask(host, path):
    return json.loads(host.check_output(ASK, path))["data"]


def targets(host):
    return [
        target for target in ask(host, "/api/v1/targets")["activeTargets"] if target["labels"]["job"] != "prometheus"
    ]


def test_targets_carry_the_labels_of_the_inventory(host):
    labels = {target["labels"]["host"]: target["labels"] for target in targets(host)}
    assert set(labels) == {"prometheus-bookworm", "prometheus-trixie"}
    for found in labels.values():
        assert (found["color"], found["version"], found["env"]) == ("blue", "1.1.0", "test")


def test_targets_are_up(host):
    for _attempt in range(20):
        if all(target["health"] == "up" for target in targets(host)):
            return
        time.sleep(0.5)
    raise AssertionError(targets(host))


def test_rules_are_loaded(host):
    groups = ask(host, "/api/v1/rules")["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == ["TargetDown"]


def test_new_targets_need_no_reload(host):
    """What tasks/targets.yml writes, Prometheus reads by itself."""
    loaded = "prometheus_config_last_reload_success_timestamp_seconds"
    before = ask(host, f"/api/v1/query?query={loaded}")["result"][0]["value"][1]
    path = "/etc/prometheus/targets/prometheus-of-all.json"
    host.check_output("sed s/1.1.0/1.2.0/ %s > /root/new.json && mv /root/new.json %s", path, path)
    try:
        for _attempt in range(20):
            if {target["labels"]["version"] for target in targets(host)} == {"1.2.0"}:
                break
            time.sleep(0.5)
        else:
            raise AssertionError(targets(host))
    finally:
        host.check_output("sed -i s/1.2.0/1.1.0/ %s", path)
    assert ask(host, f"/api/v1/query?query={loaded}")["result"][0]["value"][1] == before


def test_it_starts_at_boot(host):
    assert host.service("prometheus").is_enabled
