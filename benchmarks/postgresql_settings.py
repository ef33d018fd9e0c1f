"""What do 60 settings cost on a host, at first and when nothing changes?

    python -m benchmarks.postgresql_settings

Beside community.postgresql.postgresql_set in a loop, in the same run, over SSH with pipelining, with the same settings.
The start of Ansible and the gathering of facts are left out. Connections and reloads are counted in the server's log.
The host is made for it and removed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks import support
from benchmarks.support import Figure
from lab import playbooks, settings

HOST = "bench-settings-1"
VERSION, DISTRIBUTION = 15, "bookworm"
RUNS = ("Ours, first run", "Ours, unchanged run", "Theirs, first run", "Theirs, unchanged run")
FASTER = 20
SSH = ("-i", str(settings.SSH_KEY), "-o", f"UserKnownHostsFile={settings.KNOWN_HOSTS}", "-o", "BatchMode=yes")
LOG = f"/var/log/postgresql/postgresql-{VERSION}-main.log"
DEFINITION = {
    "shared_buffers": "192MB", "effective_cache_size": "1GB", "maintenance_work_mem": "96MB", "work_mem": "6MB",
    "wal_buffers": "8MB", "max_connections": "120", "max_wal_size": "2GB", "min_wal_size": "256MB",
    "checkpoint_completion_target": "0.85", "checkpoint_timeout": "10min", "wal_compression": "on",
    "random_page_cost": "1.1", "effective_io_concurrency": "100", "default_statistics_target": "200",
    "max_worker_processes": "9", "max_parallel_workers": "6", "max_parallel_workers_per_gather": "3",
    "max_parallel_maintenance_workers": "3", "autovacuum": "on", "autovacuum_max_workers": "4",
    "autovacuum_naptime": "30s", "autovacuum_vacuum_cost_delay": "1.5ms", "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02", "autovacuum_work_mem": "-1", "log_min_duration_statement": "1s",
    "log_checkpoints": "on", "log_connections": "on", "log_disconnections": "off", "log_lock_waits": "on",
    "log_temp_files": "0", "log_autovacuum_min_duration": "10s", "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_statement": "ddl", "log_error_verbosity": "verbose", "log_rotation_age": "1d", "log_rotation_size": "100MB",
    "log_parameter_max_length": "1kB", "deadlock_timeout": "2s", "lock_timeout": "30s", "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "10min", "tcp_keepalives_idle": "60s", "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "5", "jit": "off", "synchronous_commit": "on", "wal_level": "logical",
    "max_wal_senders": "12", "max_replication_slots": "12", "wal_keep_size": "512MB", "hot_standby_feedback": "on",
    "bgwriter_delay": "100ms", "bgwriter_lru_maxpages": "200", "bgwriter_lru_multiplier": "3", "temp_buffers": "16MB",
    "track_io_timing": "on", "track_activity_query_size": "4kB", "idle_session_timeout": "1h",
    "vacuum_cost_limit": "400",
}  # fmt: skip


def main() -> int:
    """Make the host, run the playbook, print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.postgresql_settings", description=__doc__.splitlines()[0]
    )
    parser.parse_args()
    support.OUTPUT.mkdir(parents=True, exist_ok=True)
    try:
        address = set_up()
        support.say("the same settings, twice by each")
        return support.show("60 settings on a host", measure(address))
    finally:
        support.command(*support.LAB, "host", "down", HOST)


def set_up() -> str:
    """Have a host with a server that logs connections; return its address."""
    command = [*support.LAB, "host", "up", HOST, "--distribution", DISTRIBUTION]
    address = subprocess.run(command, cwd=settings.ROOT, check=True, capture_output=True, text=True).stdout.split()[1]
    support.say("install PostgreSQL")
    packages = f"postgresql-{VERSION} python3-psycopg2 acl"
    main_conf = f"/etc/postgresql/{VERSION}/main/postgresql.conf"
    support.command(
        "ssh",
        *SSH,
        f"root@{address}",
        f"DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends {packages} &&"
        f" echo log_connections=on >> {main_conf} && pg_ctlcluster {VERSION} main restart",
    )
    return address


def measure(address: str) -> list[Figure]:
    """Run the playbook and say what it showed."""
    inventory = support.OUTPUT / "settings.json"
    host = {
        "ansible_host": address,
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": " ".join(SSH),
    }
    inventory.write_text(json.dumps({"all": {"hosts": {HOST: host}}}))
    variables = {
        "definition": DEFINITION, "log": LOG, "folder": f"/etc/postgresql/{VERSION}/main", "version": VERSION,
    }  # fmt: skip
    began, took = {}, {}

    def note(event: dict) -> None:
        name = event.get("task", {}).get("name", "")
        if event["_event"] == "v2_playbook_on_task_start":
            began[name] = support.at(event)
        elif event["_event"] == "v2_runner_on_ok":
            took[name] = support.at(event) - began[name]

    ran = playbooks.run(
        "benchmarks/playbooks/postgresql_settings.yml",
        variables,
        inventory=str(inventory),
        environment={"ANSIBLE_PIPELINING": "true"},
        on_event=note,
        log=support.OUTPUT / "postgresql_settings.jsonl",
    )
    support.require(ran, "the comparison")
    figures = []
    for run in RUNS:
        log = ran.of(f"Log of {run[0].lower()}{run[1:]}")["stdout"]
        connections, reloads = log.count("connection authorized"), log.count("received SIGHUP")
        figures.append(Figure(f"{run}: seconds", f"{took[run]:.2f}"))
        if run.startswith("Ours"):
            figures.append(Figure.equal(f"{run}: connections", connections, 1))
            figures.append(Figure.equal(f"{run}: reloads", reloads, int("first" in run)))
            figures.append(Figure.equal(f"{run}: changed", ran.of(run)["changed"], "first" in run))
        else:
            changed = sum(item["changed"] for item in ran.of(run)["results"])
            figures.append(Figure(f"{run}: connections", connections))
            figures.append(Figure(f"{run}: reloads", reloads))
            figures.append(Figure(f"{run}: settings reported as changed", changed))
    for kind in ("first", "unchanged"):
        times = took[f"Theirs, {kind} run"] / took[f"Ours, {kind} run"]
        figures.append(Figure(f"times as fast, {kind} run", f"{times:.1f}", f"≥ {FASTER}", times >= FASTER))
    return figures


if __name__ == "__main__":
    sys.exit(main())
