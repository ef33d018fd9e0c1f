"""The lab's AWS for modules that are run as Ansible runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract import tree

from tests.lab.account import REGION, Account

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a module returned, whether it failed, how many seconds it took with its start, and all that it said."""

    result: dict[str, Any]
    failed: bool
    seconds: float
    shown: str


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The lab's AWS without a data plane, health checks ten times as often as AWS allows."""
    command = [sys.executable, "-m", "lab.aws", "--port=0", "--data-plane=none", "--set=health_check_scale=0.1"]
    command.append(f"--state-dir={tmp_path_factory.mktemp('lab')}")
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    break
            else:
                pytest.fail("the lab's AWS did not start")
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield found[0]
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def account(endpoint: str) -> Account:
    """The account behind it."""
    return Account(endpoint)


@pytest.fixture
def aws(account: Account) -> Iterator[Account]:
    """The account, its journal marked, without faults afterwards."""
    account.control.mark()
    yield account
    account.control.clear_faults()


@pytest.fixture(scope="session")
def run_module(endpoint: str) -> Callable[..., Ran]:
    """Run a module as Ansible runs it on a host, without the second that Ansible takes to get there."""
    environment = _environment(endpoint)
    environment["PYTHONPATH"] = os.environ["ANSIBLE_COLLECTIONS_PATH"]

    def run(name: str, /, check: bool = False, **options: Any) -> Ran:
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check}})
        module = f"ansible_collections.techcorp.rag_admin.plugins.modules.{name}"
        done, seconds = _timed([sys.executable, "-m", module], environment, arguments)
        assert done.stdout.strip().startswith("{"), done.stdout + done.stderr
        result = json.loads(done.stdout)
        undocumented = result.keys() - tree.documentation(tree.module(name))["RETURN"].keys() - tree.COMMON_RETURN
        assert not undocumented, f"{name} returns keys that its RETURN does not tell: {sorted(undocumented)}"
        return Ran(result, bool(result.get("failed")), seconds, done.stdout + done.stderr)

    return run


@pytest.fixture(scope="session")
def run_ansible(endpoint: str) -> Callable[..., Ran]:
    """Run a module on the controller with everything that Ansible does around it."""
    ansible = [str(Path(sys.executable).with_name("ansible")), "localhost", "-i", "localhost,", "-c", "local"]
    ansible += ["-e", f"ansible_python_interpreter={sys.executable}"]

    def run(name: str, **options: Any) -> Ran:
        command = [*ansible, "-m", f"techcorp.rag_admin.{name}", "-a", json.dumps(options)]
        done, seconds = _timed(command, _environment(endpoint))
        found = re.search(r"localhost \| (CHANGED|SUCCESS|FAILED!) => (\{.*\})", done.stdout, re.DOTALL)
        assert found, done.stdout + done.stderr
        return Ran(json.loads(found[2]), found[1] == "FAILED!", seconds, done.stdout + done.stderr)

    return run


@pytest.fixture
def run_playbook(endpoint: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run tasks in a playbook on the controller and return what they registered."""

    def run(tasks: list[dict[str, Any]]) -> dict[str, Any]:
        kept = tmp_path / "registered.json"
        names = [task["register"] for task in tasks if "register" in task]
        content = "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} | to_json }}"
        keep = {"name": "Keep", "ansible.builtin.copy": {"content": content, "dest": str(kept), "mode": "0600"}}
        play = [{"name": "Run", "hosts": "localhost", "gather_facts": False, "tasks": [*tasks, keep]}]
        (tmp_path / "play.yml").write_text(json.dumps(play))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
        command += ["-e", f"ansible_python_interpreter={sys.executable}", str(tmp_path / "play.yml")]
        done, _seconds = _timed(command, _environment(endpoint))
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(kept.read_text())

    return run


def _environment(endpoint: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return environment | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab-secret-access-key",
        "AWS_REGION": REGION,
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }


def _timed(command: list[str], environment: dict[str, str], given: str = "") -> tuple[Any, float]:
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, input=given, capture_output=True, text=True, timeout=300
    )
    return done, time.monotonic() - began
