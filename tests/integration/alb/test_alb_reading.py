"""alb_traffic_info, alb_target_health and alb_targets as Ansible runs them, against the lab's AWS."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

from tests.lab.account import forward


@pytest.fixture(scope="module")
def web():
    """The port of a server on 127.0.0.1 whose health check passes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def info(run_module, balancer, listeners, **options):
    return run_module(
        "alb_traffic_info",
        load_balancer=balancer.name(),
        listeners=listeners,
        target_groups=balancer.group_names(),
        **options,
    )


def register(balancer, group, count, port=8000):
    targets = [{"Id": f"10.0.0.{n + 1}", "Port": port} for n in range(count)]
    balancer.account.elbv2.register_targets(TargetGroupArn=group, Targets=targets)


def test_what_the_load_balancer_does(run_module, balancer):
    register(balancer, balancer.blue, 2)
    result = info(run_module, balancer, [{"port": 80}, {"port": 80, "priorities": [10, 20]}], validate=True).result
    assert [item["arn"] for item in result["forwards"]] == balancer.arns
    assert [item["priority"] for item in result["forwards"]] == [None, 10, 20]
    assert result["forwards"][0]["weights"] == {balancer.blue: 1}
    assert (result["live_color"], result["consistent"], result["empty"]) == ("blue", True, False)
    blue, green = result["target_groups"]["blue"], result["target_groups"]["green"]
    assert (blue["total"], blue["attached"], blue["weight"], green["attached"], green["weight"]) == (
        2,
        True,
        1,
        False,
        0,
    )
    assert result["problems"] == [] and not result["changed"]
    assert [entry["action"] for entry in balancer.writes()] == ["RegisterTargets"]  # ours


def test_what_it_returns_can_be_put_back(run_module, balancer):
    result = info(run_module, balancer, [{"port": 80, "priorities": [10, 20]}]).result
    entries = [{"arn": item["arn"], "actions": item["actions"]} for item in result["forwards"]]
    assert run_module("alb_traffic", restore=entries).result["verified"]


def test_a_split_has_no_live_colour(run_module, balancer):
    balancer.write(balancer.listener, forward({balancer.blue: 50, balancer.green: 50}))
    result = info(run_module, balancer, [{"port": 80}, {"port": 80, "priorities": [10]}]).result
    assert (result["live_color"], result["consistent"]) == (None, False)
    assert result["target_groups"]["blue"]["weight"] is None


def test_an_empty_load_balancer_says_so(run_module, balancer):
    assert info(run_module, balancer, [{"port": 80}]).result["empty"]


def test_problems_are_found_together_and_only_fail_when_asked(run_module, balancer):
    account = balancer.account
    elsewhere = account.group(account.vpc(), Protocol="HTTPS")
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}
    balancer.write(balancer.rules[0], fixed)
    balancer.write(balancer.rules[1], forward({balancer.blue: 1, balancer.other: 1}))
    account.control.mark()
    options = {
        "load_balancer": balancer.name(),
        "listeners": [{"port": 80, "priorities": [10, 20, 30]}, {"port": 443}],
        "target_groups": {"blue": balancer.blue, "green": elsewhere},
    }
    read = run_module("alb_traffic_info", **options).result
    assert len(read["problems"]) == 6, read["problems"]
    ran = run_module("alb_traffic_info", validate=True, **options)
    assert ran.failed and ran.result["problems"] == read["problems"]
    for words in ("listener on port 443", "rule 30", "found fixed-response", "as well", "the VPC of", "HTTPS"):
        assert words in ran.result["msg"]
    assert balancer.writes() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"load_balancer": "nobody"}, "nobody to exist in us-west-2"),
        ({"region": "us-east-1"}, "to exist in us-east-1"),
        ({"target_groups": {"blue": "nobody"}}, "nobody to exist in us-west-2"),
    ],
)
def test_what_does_not_exist_is_named(run_module, balancer, options, words):
    given = {"load_balancer": balancer.name(), "listeners": [{"port": 80}], "target_groups": balancer.group_names()}
    ran = run_module("alb_traffic_info", **{**given, **options})
    assert ran.failed and words in ran.result["msg"]


def test_neither_rules_nor_targets_cost_calls(run_module, make_balancer):
    calls = {}
    for rules, targets in ((1, 2), (5, 2), (5, 100)):
        balancer = make_balancer(rules)
        register(balancer, balancer.blue, targets)
        register(balancer, balancer.green, targets)
        balancer.account.control.mark()
        listeners = [{"port": 80, "priorities": [10 * (n + 1) for n in range(rules)]}]
        result = info(run_module, balancer, listeners).result
        assert result["target_groups"]["green"]["total"] == targets
        planned = run_module(
            "alb_traffic", check=True, arns=balancer.rules, weights={balancer.blue: 9, balancer.green: 1}
        ).result
        calls[rules, targets] = len(balancer.account.control.journal())
        assert calls[rules, targets] == result["api_calls"]["read"] + planned["api_calls"]["read"]
    print(f"calls to read and plan by (rules, targets): {calls}")
    assert len(set(calls.values())) == 1


def wait(run_module, group, **options):
    return run_module("alb_target_health", target_groups=[group], **{"interval": 2, "timeout": 30, **options})


def test_healthy_targets_are_waited_for(run_module, balancer, web):
    register_local(balancer, balancer.blue, web)
    began = time.monotonic()
    ran = wait(run_module, balancer.blue)
    assert ran.result["stable"] and ran.result["groups"][balancer.blue]["healthy"] == 1
    reads = len(balancer.account.control.journal(action="DescribeTargetHealth"))
    assert reads == ran.result["polls"] == ran.result["api_calls"]["read"]
    assert (reads - 1) / (time.monotonic() - began) <= 0.5


def register_local(balancer, group, port):
    balancer.account.elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": port}])


def test_an_unattached_group_fails_early(run_module, balancer, web):
    register_local(balancer, balancer.green, web)
    ran = wait(run_module, balancer.green)
    assert ran.failed and "Attach it at weight 0 first" in ran.result["msg"]
    assert ran.seconds < 6


def test_a_group_attached_at_weight_0_becomes_healthy(run_module, balancer, web):
    register_local(balancer, balancer.green, web)
    run_module("alb_traffic", arns=[balancer.listener], weights={balancer.blue: 100, balancer.green: 0})
    assert wait(run_module, balancer.green).result["stable"]


def test_an_empty_group_fails_at_once(run_module, balancer):
    ran = wait(run_module, balancer.blue)
    assert ran.failed and "Register targets first" in ran.result["msg"]
    assert len(balancer.account.control.journal(action="DescribeTargetHealth")) == 1


def test_unhealthy_targets_end_the_wait_with_their_reason(run_module, balancer, web):
    register_local(balancer, balancer.blue, web)
    register_local(balancer, balancer.blue, 1)
    ran = wait(run_module, balancer.blue, timeout=6)
    assert ran.failed and "127.0.0.1:1 unhealthy Target.FailedHealthChecks" in ran.result["msg"]
    enough = wait(run_module, balancer.blue, min_healthy_percent=50)
    assert enough.result["stable"]


def test_check_mode_reads_once_and_claims_nothing(run_module, balancer):
    ran = run_module("alb_target_health", check=True, target_groups=[balancer.green])
    assert not ran.failed and ran.result["stable"] is False
    assert len(balancer.account.control.journal()) == 1


def targets(run_module, balancer, *numbers, check=False, **options):
    given = [{"id": f"10.0.0.{n}", "port": 8000} for n in numbers]
    return run_module("alb_targets", check=check, target_group=balancer.group_names()["blue"], targets=given, **options)


def test_targets_are_registered_with_one_call(run_module, balancer):
    predicted = targets(run_module, balancer, 1, 2, 3, check=True)
    assert predicted.result["changed"] and balancer.writes() == []
    real = targets(run_module, balancer, 1, 2, 3)
    assert real.result["calls"] == predicted.result["calls"]
    assert [entry["action"] for entry in balancer.writes()] == ["RegisterTargets"]
    assert not targets(run_module, balancer, 3, 2).result["changed"]
    purged = targets(run_module, balancer, 3, 2, purge=True)
    assert purged.result["deregistered"] == [{"id": "10.0.0.1", "port": 8000}]
    assert [entry["action"] for entry in balancer.writes()] == ["RegisterTargets", "DeregisterTargets"]


def test_a_draining_target_is_registered_again_and_not_drained_twice(run_module, balancer):
    balancer.account.elbv2.modify_target_group_attributes(
        TargetGroupArn=balancer.blue, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "4"}]
    )
    targets(run_module, balancer, 1, 2)
    assert targets(run_module, balancer, 1, state="absent").result["changed"]
    assert not targets(run_module, balancer, 1, state="absent").result["changed"]
    assert targets(run_module, balancer, 1).result["changed"]
    balancer.account.control.mark()
    gone = targets(run_module, balancer, 1, 2, state="absent", wait=True)
    assert gone.result["targets"] == [] and 4 <= gone.seconds < 12
    assert len(balancer.writes()) == 1


def test_what_serves_is_not_purged(run_module, balancer):
    targets(run_module, balancer, 1, 2)
    refused = targets(run_module, balancer, 1, purge=True, forwards=balancer.arns)
    assert refused.failed and f"weight 1 on {balancer.listener}" in refused.result["msg"]
    assert [entry["action"] for entry in balancer.writes()] == ["RegisterTargets"]


def test_who_lost_the_lease_neither_changes_targets_nor_waits(run_module, balancer, record):
    assert targets(run_module, balancer, 1, fence=record.fence).result["changed"]
    lost = record.fence
    record.begin(force=True)
    balancer.account.control.mark()
    for ran in (
        targets(run_module, balancer, 2, fence=lost),
        run_module("alb_target_health", target_groups=[balancer.blue], fence=lost),
    ):
        assert ran.failed and ran.result["owner"] and ran.result["lease_lost"], ran.result
        assert ran.seconds < 30
    assert balancer.writes() == []
