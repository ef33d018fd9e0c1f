"""playbooks/migrate.yml: what older versions use is taken away only when none of them can get traffic any more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import CHECKOUT
from tests.lab.account import REGION, Account, forward


class Deployment:
    """A load balancer that sends everything to green, where 1.1.0 is live; blue is still registered."""

    def __init__(self, account: Account, shop: Any, run_module: Any, folder: Path) -> None:
        self.account, self.shop, self.run_module, self.folder = account, shop, run_module, folder
        made = account.balancer(groups=2)
        self.blue, self.green, self.listener = *made.groups, made.listener
        self.name = made.arn.split("/")[-2]
        self.groups = {"blue": self.blue.split("/")[-2], "green": self.green.split("/")[-2]}
        for group, address in ((self.blue, "10.0.0.11"), (self.green, "10.0.0.21")):
            account.elbv2.modify_target_group_attributes(
                TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
            )
            account.elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": address, "Port": 8000}])
        account.s3.create_bucket(Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.key = {"bucket": self.name, "key": "shop/test.json"}
        self.begun = self._begin()

    def _begin(self) -> dict[str, Any]:
        traffic = self.run_module(
            "alb_traffic_info", load_balancer=self.name, listeners=[{"port": 80}], target_groups=self.groups
        ).result
        who = {"application": "shop", "environment": "test", "version": "1.1.0"}
        begun = self.run_module(
            "rollout", state="begun", steps=[{"weight": 100}], bake=0, traffic=traffic, **self.key, **who
        )
        assert not begun.failed, begun.result
        return begun.result

    def finish(self) -> None:
        """Move all traffic and close the record, as a rollout does."""
        self.account.elbv2.modify_listener(
            ListenerArn=self.listener, DefaultActions=[forward({self.blue: 0, self.green: 100})]
        )
        place = {"token": self.begun["token"], **self.key}
        for step in self.begun["steps"]:
            for state in ("intended", "verified"):
                position = {"step": step["index"], "state": state}
                self.run_module("rollout", state="recorded", event=state, position=position, **place)
        done = self.run_module("rollout", state="finished", outcome="succeeded", **place)
        assert not done.failed, done.result

    def migrate(self, *arguments: str) -> str:
        """Run the playbook; return what it printed."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        releases = self.folder / "app" / "releases"
        releases.mkdir(parents=True, exist_ok=True)
        if not (releases / "1.1.0").exists():
            (releases / "1.1.0").symlink_to(sys.prefix)
        variables = {
            "blue_green_application": "shop", "blue_green_environment": "test", "blue_green_load_balancer": self.name,
            "blue_green_listeners": [{"port": 80}], "blue_green_target_groups": self.groups,
            "blue_green_record_bucket": self.name, "app_name": "shop", "app_root": str(self.folder / "app"),
            "app_user": "root", "app_migrations": str(self.shop.folder / "schema"), "app_database_secret": "shop",
        }  # fmt: skip
        hosts = {name: {"hosts": {f"{name}-1": local}} for name in ("app_blue", "app_green")}
        inventory = {"all": {"hosts": {"localhost": local}, "vars": variables, "children": hosts}}
        (self.folder / "hosts.json").write_text(json.dumps(inventory))
        command = [Path(sys.executable).with_name("ansible-playbook"), "playbooks/migrate.yml"]
        command += ["-e", f"__app_credential_file={self.shop.database.file}"]  # a test writes nothing below /etc
        done = subprocess.run(
            [*command, "-i", self.folder / "hosts.json", *arguments],
            cwd=CHECKOUT, capture_output=True, text=True, timeout=300,
            env={**os.environ, "AWS_ENDPOINT_URL": self.account.endpoint, "AWS_ACCESS_KEY_ID": "lab",
                 "AWS_SECRET_ACCESS_KEY": "lab", "AWS_REGION": REGION, "ANSIBLE_NOCOLOR": "true"},
        )  # fmt: skip
        return f"status {done.returncode}\n{done.stdout}{done.stderr}"

    def revision(self) -> str:
        return self.shop.database.sql("SELECT version_num FROM alembic_version")


@pytest.fixture
def deployment(aws: Account, shop: Any, run_module: Any, tmp_path: Path) -> Deployment:
    return Deployment(aws, shop, run_module, tmp_path)


CONTRACT = ("-e", "migration_phase=contract")


@pytest.mark.slow
def test_contract_is_refused_until_the_old_colour_is_gone(deployment):
    deployment.shop.migrate(revision="5f1e")
    deployment.shop.migrate()
    said = deployment.migrate(*CONTRACT)
    assert "no rollout under way" in said, said
    assert deployment.revision() == "a02c"

    deployment.finish()
    said = deployment.migrate(*CONTRACT)
    assert "Expected no version but 1.1.0 to be registered before the contract phase" in " ".join(said.split()), said
    assert "status 2" in said
    assert deployment.revision() == "a02c"
    assert deployment.account.health(deployment.blue), "refusing must not take anything out of service"

    said = deployment.migrate(*CONTRACT, "-e", "blue_green_retire=true")
    assert "status 0" in said, said
    assert not deployment.account.health(deployment.blue)
    assert deployment.account.health(deployment.green)
    assert deployment.revision() == "07d9"
