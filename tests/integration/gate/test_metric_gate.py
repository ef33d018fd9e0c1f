"""The gate on real sources."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.gate import cloudwatch, loop
from ansible_collections.techcorp.rag_admin.plugins.modules import metric_gate

from lab.aws.data_plane import group_id
from tests.lab.account import Account, until

from .conftest import NODES, Balancer, Exporter

Gate = Callable[..., dict[str, Any]]


def probe_of(balancer: Balancer, **options: Any) -> dict[str, Any]:
    return {"url": f"http://app.example:{balancer.port}/health", "addresses": list(NODES), **options}


class TestProbe:
    def test_good_passes_and_every_node_was_asked_under_its_name(self, gate: Gate, balancer: Balancer) -> None:
        balancer.share = dict.fromkeys(NODES, 0.5)
        result = gate(probe=probe_of(balancer), duration="1")
        assert result["verdict"] == "passed" and result["probe"]["failed"] == 0
        assert {node["sent"] for node in result["probe"]["nodes"].values()} == {result["probe"]["sent"] / 2}
        assert set(result["probe"]["colors"]) == {"blue", "green"}
        assert balancer.hosts == {f"app.example:{balancer.port}"}

    @pytest.mark.parametrize(
        ("failure", "kind"),
        [(502, "HTTP 502"), (503, "HTTP 503"), ("reset", "ConnectionResetError"), ("hang", "TimeoutError")],
    )
    def test_what_the_new_version_cannot_count_itself(
        self, gate: Gate, balancer: Balancer, failure: Any, kind: str
    ) -> None:
        balancer.share = dict.fromkeys(NODES, 0.1)
        balancer.failure = lambda color: failure if color == "green" else None
        with pytest.raises(Failure) as caught:
            gate(probe=probe_of(balancer, timeout=0.5), duration="20")
        details = caught.value.details
        assert details["verdict"] == "failed" and details["waited"] < 10
        assert any(kind in error or error.startswith("RemoteDisconnected") for error in details["probe"]["errors"])

    def test_nobody_listens(self, gate: Gate, balancer: Balancer) -> None:
        balancer.close()
        with pytest.raises(Failure, match="probe") as caught:
            gate(probe=probe_of(balancer), duration="5")
        assert caught.value.details["probe"]["errors"] == {"ConnectionRefusedError: Connection refused": 10}
        with pytest.raises(Failure, match=r"readable.*ConnectionRefusedError"):
            gate(probe=probe_of(balancer), preflight=True)

    def test_an_answer_of_5xx_is_readable(self, gate: Gate, balancer: Balancer) -> None:
        balancer.failure = lambda _color: 503
        assert gate(probe=probe_of(balancer), preflight=True)["verdict"] == "not_evaluated"

    def test_a_certificate_that_is_not_trusted_is_unreadable_at_once(
        self, gate: Gate, authority: tuple[Balancer, Path]
    ) -> None:
        balancer, ca_path = authority
        probe = {**probe_of(balancer), "url": f"https://app.example:{balancer.port}/"}
        with pytest.raises(Failure, match="not trusted") as caught:
            gate(probe=probe, duration="30")
        assert caught.value.details["verdict"] == "unreadable"
        assert gate(probe={**probe, "ca_path": str(ca_path)}, duration="0")["verdict"] == "passed"
        wrong = {**probe, "url": f"https://other.example:{balancer.port}/", "ca_path": str(ca_path)}
        with pytest.raises(Failure, match="not trusted"):
            gate(probe=wrong, duration="30")
        assert gate(probe={**wrong, "validate_certs": False}, duration="0")["verdict"] == "passed"


class TestConvergence:
    def test_waits_for_the_slowest_node_and_only_then_begins(self, gate: Gate, balancer: Balancer) -> None:
        began = time.monotonic()

        def share(_color: str) -> None:
            for number, node in enumerate(NODES):
                balancer.share[node] = 1.0 if time.monotonic() - began > 1 + number else 0.0

        balancer.failure = share
        result = gate(probe=probe_of(balancer, expect_color="green"), converge_timeout=20, duration="1")
        assert result["converged_after"] >= 2 and result["waited"] >= result["converged_after"] + 1

    def test_a_node_that_never_moves_is_named(self, gate: Gate, balancer: Balancer) -> None:
        balancer.share[NODES[0]] = 1.0
        with pytest.raises(Failure, match=rf"{NODES[1]}: 0% green of the last 20, not 100%") as caught:
            gate(probe=probe_of(balancer, expect_color="green"), converge_timeout=2)
        assert caught.value.details["verdict"] == "failed"

    def test_a_share(self, gate: Gate, balancer: Balancer) -> None:
        balancer.share = dict.fromkeys(NODES, 0.3)
        share = {"color": "green", "percent": 30}
        assert gate(probe=probe_of(balancer, expect_share=share), converge_timeout=20)["verdict"] == "passed"

    def test_bad_is_not_waited_for(self, gate: Gate, balancer: Balancer) -> None:
        balancer.failure = lambda _color: 502
        with pytest.raises(Failure, match="to pass") as caught:
            gate(probe=probe_of(balancer, expect_color="green"), converge_timeout=60)
        assert caught.value.details["waited"] < 2


def query(text: str, **options: Any) -> dict[str, Any]:
    return {"checks": [{"name": "it", "query": text, "threshold": 1, **options}]}


class TestPrometheus:
    @pytest.mark.parametrize(
        "text", ["sum(up{job='self'})", "scalar(sum(up{job='self'}))", "sum(up) - sum(up @ $start)", "vector(0)"]
    )
    def test_numbers(self, gate: Gate, prometheus: str, text: str) -> None:
        assert gate(prometheus_url=prometheus, duration="2", grace=5, **query(text))["verdict"] == "passed"

    @pytest.mark.parametrize("text", ["sum(no_such_metric)", "vector(0) / 0", "scalar(no_such_metric)"])
    def test_nothing_and_nan_are_no_data(self, gate: Gate, prometheus: str, text: str) -> None:
        with pytest.raises(Failure, match="no value") as caught:
            gate(prometheus_url=prometheus, duration="1", **query(text))
        assert caught.value.details["verdict"] == "no_data"

    @pytest.mark.parametrize(
        ("text", "said"), [("sum(", "HTTP 400.*parse"), ("prometheus_http_requests_total", "series")]
    )
    def test_queries_that_mean_no_number_fail_at_once_and_in_the_preflight(
        self, gate: Gate, prometheus: str, text: str, said: str
    ) -> None:
        for options in ({"duration": "60"}, {"preflight": True}):
            with pytest.raises(Failure, match=said) as caught:
                gate(prometheus_url=prometheus, **options, **query(text))
            assert caught.value.details["verdict"] == "unreadable" and caught.value.details["waited"] < 5

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
    def test_nobody_there(self, gate: Gate, url: str) -> None:
        with pytest.raises(Failure, match=url):
            gate(prometheus_url=url, preflight=True, **query("up"))
        with pytest.raises(Failure) as caught:
            gate(prometheus_url=url, duration="1", **query("up"))
        assert caught.value.details["verdict"] == "unreadable"

    def test_something_else_there(self, gate: Gate, balancer: Balancer) -> None:
        with pytest.raises(Failure, match="is the URL right"):
            gate(prometheus_url=f"http://127.0.0.1:{balancer.port}", preflight=True, **query("up"))

    def test_the_first_errors_of_a_new_version_count(self, gate: Gate, prometheus: str, exporter: Exporter) -> None:
        """A series of errors appears with its first ones. The documented query sees them, increase() does not."""
        examples = yaml.safe_load(metric_gate.EXAMPLES)
        documented = examples[0]["techcorp.rag_admin.metric_gate"]["checks"][0]
        assert documented["name"] == "errors"
        increase = 'sum(increase(http_requests_total{status="500"}[$window])) or vector(0)'
        blind = {"name": "increase", "query": increase, "threshold": 0, "failure_limit": 99}
        requests = 'http_requests_total{color="green",status="%s"} %s\n'
        exporter.text = ""

        def serve() -> None:
            time.sleep(2.5)
            exporter.text = requests % (200, 95) + requests % (500, 5)

        threading.Thread(target=serve).start()
        with pytest.raises(Failure, match="errors: 5% is not ≤ 1%") as caught:
            gate(prometheus_url=prometheus, duration="30", checks=[blind, documented])
        checks = {check["name"]: check for check in caught.value.details["checks"]}
        assert checks["errors"]["samples"] == 100 and not checks["increase"]["value"]


class TestCloudWatch:
    @pytest.fixture
    def groups(self, aws: Account, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(loop, "_CLOUDWATCH_INTERVAL", 0.5)
        monkeypatch.setattr(cloudwatch, "_PUBLISHED_AFTER", 0.0)
        aws.control.settings(metrics_period=1)
        yield aws.balancer()
        aws.control.settings(metrics_period=60)

    def checks(self, groups: Any, **options: Any) -> dict[str, Any]:
        dimensions = {"LoadBalancer": groups.arn, "TargetGroup": groups.groups[0]}
        metric = {"dimensions": dimensions, "period": 1}
        check = {
            "name": "errors",
            "source": "cloudwatch",
            "metric": {"name": "HTTPCode_Target_5XX_Count", **metric},
            "samples_metric": {"name": "RequestCount", **metric},
            "ratio": True,
            "threshold": 0.01,
            "min_samples": 20,
            "unit": "ratio",
            **options,
        }
        return {"checks": [check, {**check, "name": "again"}]}

    def serve(self, aws: Account, groups: Any, good: int, bad: int) -> None:
        """Count requests to the first group from now on, spread over the next seconds."""
        fixed = {"group": group_id(groups.groups[0]), "target": "10.0.0.1:80", "origin": "target", "reason": "--"}
        fixed |= {"listener": groups.listener, "seconds": 0.1}
        for second in (1, 2):
            lines = [{**fixed, "status": 200, "at": time.time() + second}] * good
            aws.control.requests(lines + [{**fixed, "status": 500, "at": time.time() + second}] * bad)

    def test_no_requests_are_no_data(self, gate: Gate, groups: Any) -> None:
        with pytest.raises(Failure) as caught:
            gate(duration="1", grace=2, **self.checks(groups))
        assert caught.value.details["verdict"] == "no_data", caught.value

    def test_no_errors_are_zero_when_there_were_requests(self, gate: Gate, groups: Any, aws: Account) -> None:
        self.serve(aws, groups, good=30, bad=0)
        result = gate(duration="3", grace=10, **self.checks(groups))
        assert result["checks"][0]["value"] == 0 and result["checks"][0]["samples"] >= 30

    def test_errors_are_caught_and_all_checks_asked_for_in_one_call(
        self, gate: Gate, groups: Any, aws: Account
    ) -> None:
        self.serve(aws, groups, good=28, bad=2)
        aws.control.mark()
        with pytest.raises(Failure, match=r"6\.67% is not ≤ 1%") as caught:
            gate(duration="30", **self.checks(groups))
        asked = [entry["action"] for entry in aws.control.journal(service="cloudwatch")]
        polls = sum(caught.value.details["checks"][0]["history"].values())
        assert set(asked) == {"GetMetricData"} and len(asked) <= polls

    def test_a_missing_permission_is_named_and_not_waited_for(self, gate: Gate, groups: Any, aws: Account) -> None:
        with (
            aws.control.faulty("deny", service="cloudwatch", action="GetMetricData"),
            pytest.raises(Failure, match="cloudwatch:GetMetricData"),
        ):
            gate(duration="60", **self.checks(groups))


def test_progress_is_shown_while_it_waits(run_ansible: Callable[..., Any], balancer: Balancer) -> None:
    ran = run_ansible("metric_gate", label="10%", duration="2", interval=0.5, probe=probe_of(balancer))
    lines = [line for line in ran.shown.splitlines() if line.startswith("gate 10%")]
    assert not ran.failed and len(lines) >= 2 and lines[-1].startswith("gate 10%  2 of 2 s  probe 0%")


def test_check_mode_waits_for_nothing(run_module: Callable[..., Any], balancer: Balancer) -> None:
    ran = run_module("metric_gate", check=True, duration="10m", probe=probe_of(balancer))
    assert ran.result["verdict"] == "not_evaluated" and not ran.result["changed"] and ran.seconds < 60


def test_crashes_at_a_tenth_of_the_traffic_are_caught_each_time_and_good_passes_each_time(
    gate: Gate, balancer: Balancer
) -> None:
    """A fifth of green's requests ends in the load balancer's 502; green has 10 %.

    600 requests miss that once in 180,000 times, so the check asks for so many; the first 502 is enough to fail.
    """
    balancer.share = dict.fromkeys(NODES, 0.1)
    check: dict[str, Any] = {
        "name": "probe",
        "source": "probe",
        "measure": "failed_ratio",
        "threshold": 0,
        "unit": "ratio",
    }
    check["min_samples"] = 600
    options = {"checks": [check], "probe": probe_of(balancer, requests=20), "interval": 0.05, "grace": 120}
    assert gate(**options)["verdict"] == "passed"
    balancer.failure = lambda color: 502 if color == "green" and random.random() < 0.2 else None
    for _ in range(20):
        with pytest.raises(Failure) as caught:
            gate(**options)
        assert caught.value.details["verdict"] == "failed"


def test_a_gate_whose_playbook_was_killed_ends(balancer: Balancer, tmp_path: Path) -> None:
    """An orphan would go on to probe, and to renew the lease of a rollout that nobody runs."""
    gate_task = {"duration": "10m", "interval": 0.3, "probe": probe_of(balancer)}
    task = {"name": "Watch", "techcorp.rag_admin.metric_gate": gate_task}
    play = [{"name": "Watch", "hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", str(tmp_path / "play.yml")]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until(lambda: balancer.requests > 20, 30)
    finally:
        process.kill()
        process.wait()

    def is_quiet() -> bool:
        before = balancer.requests
        time.sleep(1.5)
        return balancer.requests == before

    until(is_quiet, 20)
