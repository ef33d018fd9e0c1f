"""One definition, one connection, one reload; whole or not at all; settled afterwards, also while a restart waits."""

from __future__ import annotations

import re

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import units

from tests.integration.postgresql.conftest import Cluster, Host

pytestmark = pytest.mark.lab
# What does not depend on the version is tried on one.
once = pytest.mark.parametrize("host", [17], indirect=True, ids=["PostgreSQL 17"])

SIXTY = {
    "shared_buffers": "192MB", "effective_cache_size": "1GB", "maintenance_work_mem": "96MB", "work_mem": "6MB",
    "wal_buffers": "8MB", "max_connections": 120, "max_wal_size": "2GB", "min_wal_size": "256MB",
    "checkpoint_completion_target": 0.85, "checkpoint_timeout": "10min", "wal_compression": True,
    "random_page_cost": "1.1", "effective_io_concurrency": 100, "default_statistics_target": 200,
    "max_worker_processes": 9, "max_parallel_workers": 6, "max_parallel_workers_per_gather": 3,
    "max_parallel_maintenance_workers": 3, "autovacuum": "on", "autovacuum_max_workers": 4,
    "autovacuum_naptime": "30s", "autovacuum_vacuum_cost_delay": "1.5ms", "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": 0.02, "autovacuum_work_mem": -1, "log_min_duration_statement": "1s",
    "log_checkpoints": True, "log_connections": "yes", "log_disconnections": False, "log_lock_waits": "on",
    "log_temp_files": 0, "log_autovacuum_min_duration": "10s", "log_line_prefix": "%m [%p] it's 'a' \\ ",
    "log_statement": "DDL", "log_destination": ["stderr", "csvlog"], "log_rotation_age": "1d",
    "log_rotation_size": "100MB", "log_file_mode": "0640", "deadlock_timeout": "2s", "lock_timeout": "30s",
    "statement_timeout": "0", "idle_in_transaction_session_timeout": "10min", "tcp_keepalives_idle": "60s",
    "tcp_keepalives_interval": "10s", "tcp_keepalives_count": 5, "jit": False, "synchronous_commit": True,
    "wal_level": "logical", "max_wal_senders": 12, "max_replication_slots": 12, "wal_keep_size": "512MB",
    "hot_standby_feedback": True, "bgwriter_delay": "100ms", "bgwriter_lru_maxpages": 200,
    "bgwriter_lru_multiplier": 3, "temp_buffers": "16MB", "track_io_timing": True, "track_activity_query_size": "4kB",
    "datestyle": "iso, dmy", "timezone": "UTC",
}  # fmt: skip


def test_sixty_settings_take_one_connection_and_one_reload(cluster: Cluster):
    assert len(SIXTY) == 60
    cluster.module({"log_connections": True})
    cluster.host.run(f"rm {cluster.path}")
    mark = int(cluster.host.run(f"wc -l < {cluster.log}"))
    result = cluster.module(SIXTY)
    log = cluster.host.run(f"tail -n +{mark + 1} {cluster.log}")
    assert log.count("connection authorized") == 1
    assert log.count("received SIGHUP") == 1
    assert len(result["changes"]) == 60
    # Those that a new server runs with already need none.
    waits = {each["name"]: each["running"] for each in result["pending_restart"]}
    assert waits == cluster.pending()
    assert waits["shared_buffers"] == "16384"
    assert cluster.show("work_mem") == "6MB"
    assert cluster.show("autovacuum_vacuum_cost_delay") == "1500us"
    assert cluster.show("checkpoint_completion_target") == "0.85"
    assert cluster.show("log_line_prefix") == "%m [%p] it's 'a' \\"
    assert cluster.show("log_file_mode") == "0640"
    assert cluster.show("max_connections") == "100"
    assert not cluster.module(SIXTY)["changed"], "while a restart waits"
    cluster.control("restart")
    again = cluster.module(SIXTY)
    assert not again["changed"]
    assert not again["pending_restart"]
    assert cluster.show("max_connections") == "120"
    assert cluster.show("wal_level") == "logical"


BAD = [
    ({"work_mem": "64mb"}, "work_mem: '64mb' has the unit 'mb'.* write 'MB'"),
    ({"work_mem": 65536}, "work_mem: '65536' has no unit"),
    ({"work_mme": "4MB"}, "work_mme: PostgreSQL 1[57] has no such setting; did you mean work_mem?"),
    ({"max_connections": 999999999}, "max_connections: '999999999' is not within 1 and 262143"),
    ({"wal_level": "full"}, "wal_level: 'full' is not one of minimal, replica, logical"),
    ({"block_size": 8192}, "block_size: cannot be set"),
    ({"Work_Mem": "4MB"}, "Work_Mem: is there twice"),
    ({"jit": "perhaps"}, "jit: 'perhaps' is not a boolean"),
    ({"primary_conninfo": "host=a password=b"}, "primary_conninfo: has a password in it"),
    # What only the server's own parser and files tell.
    ({"log_timezone": "Atlantis"}, 'parser to accept .*invalid value for parameter "log_timezone": "Atlantis"'),
    ({"datestyle": "iso, xyz"}, 'parser to accept .*invalid value for parameter "DateStyle"'),
    ({"shared_preload_libraries": ["nowhere"]}, "the libraries of shared_preload_libraries .*none called nowhere"),
]


def test_one_bad_entry_among_sixty_changes_nothing(cluster: Cluster):
    cluster.apply({"work_mem": "5MB"})
    before = cluster.state()
    for bad, said in BAD:
        refused = cluster.module({**SIXTY, **bad})
        assert refused["failed"]
        assert re.search(said, refused["msg"]), refused["msg"]
    assert cluster.module({**SIXTY, **bad}, check=True) == refused
    assert cluster.state() == before


def test_what_is_no_longer_declared_goes(cluster: Cluster):
    first = {"max_connections": 90, "work_mem": "5MB", "wal_buffers": "8MB", "max_locks_per_transaction": 65}
    assert {each["name"] for each in cluster.apply(first)["pending_restart"]} == first.keys() - {"work_mem"}
    cluster.control("restart")
    result = cluster.apply({"max_locks_per_transaction": 65})
    assert result["changes"][0] == {"name": "max_connections", "before": "90", "after": None}
    assert cluster.show("work_mem") == "4MB"
    waits = {each["name"]: (each["running"], each["stored"]) for each in result["pending_restart"]}
    # postgresql.conf says 100; nothing says wal_buffers, which the server works out then.
    assert waits == {"max_connections": ("90", "100"), "wal_buffers": ("1024", "-1")}
    cluster.control("restart")
    assert not cluster.apply({"max_locks_per_transaction": 65})["changed"]
    assert not cluster.module({"max_locks_per_transaction": 65})["pending_restart"]
    # Its own value stated: nothing to wait for, whatever the server makes of -1.
    assert not cluster.apply({"wal_buffers": -1, "max_locks_per_transaction": 65})["pending_restart"]
    assert cluster.apply({})["pending_restart"][0]["name"] == "max_locks_per_transaction"
    assert cluster.file() == ""


def test_a_flag_that_the_server_forgot_is_not_believed(cluster: Cluster):
    cluster.sql("ALTER SYSTEM SET max_prepared_transactions = 5")
    cluster.sql("SELECT pg_reload_conf()")
    waits = cluster.apply({"work_mem": "5MB"})["pending_restart"]
    assert [(each["name"], each["running"], each["stored"]) for each in waits] == [
        ("max_prepared_transactions", "0", "5")
    ]
    assert waits[0]["reason"].endswith("the definition does not have it.")
    cluster.sql("ALTER SYSTEM RESET max_prepared_transactions")
    cluster.sql("SELECT pg_reload_conf(), pg_sleep(0.3)")
    assert cluster.module({"work_mem": "5MB"})["pending_restart"] == []


@once
def test_what_would_have_no_effect_is_refused(cluster: Cluster):
    cluster.sql("ALTER SYSTEM SET work_mem = '7MB'")
    said = cluster.refuse({"work_mem": "5MB", "jit": False})
    assert f"work_mem in {cluster.data}/postgresql.auto.conf, line 3" in said
    assert "ALTER SYSTEM RESET" in said
    assert cluster.apply({"work_mem": "7168kB", "jit": False})["changed"]
    later = f"{cluster.folder}/conf.d/20-other.conf"
    cluster.host.run(f"echo jit=on > {later}")
    assert f"jit in {later}, line 1" in cluster.refuse({"jit": False})
    cluster.host.run(f"mv {later} {cluster.folder}/conf.d/05-other.conf")
    assert not cluster.module({"work_mem": "7168kB", "jit": False})["changed"]
    # Another's mistake would keep the server from taking anything.
    cluster.host.run(f"echo nonsense=1 > {cluster.folder}/conf.d/05-other.conf")
    assert 'unrecognized configuration parameter "nonsense"' in cluster.refuse({"work_mem": "7MB"})


@once
def test_a_run_that_was_killed_is_made_good(cluster: Cluster):
    cluster.apply({"work_mem": "5MB"})
    # Killed while it wrote, and between writing and reloading.
    cluster.host.run(f"echo work_m > {cluster.folder}/conf.d/.10-ansible.conf.new")
    cluster.host.run(f"sed -i s/5MB/6MB/ {cluster.path}; chown postgres {cluster.path}")
    assert cluster.show("work_mem") == "5MB"
    result = cluster.apply({"work_mem": "6MB"})
    assert (result["written"], result["reloaded"]) == (False, True)
    assert cluster.show("work_mem") == "6MB"
    # Killed at a moment of its own choosing, many times.
    for number in range(1, 6):
        options = f'{{"ANSIBLE_MODULE_ARGS": {{"path": "{cluster.path}", "settings": {{"work_mem": "{number}MB"}}}}}}'
        cluster.host.run(
            f"cd / && (echo '{options}' | PYTHONPATH=/opt/modules timeout -s KILL {0.2 + number / 20:.2f} runuser -u"
            f" postgres -- python3 -m ansible_collections.techcorp.rag_admin.plugins.modules.postgresql_settings)",
            expect=None,
        )
    cluster.apply({"work_mem": "99MB"})
    assert cluster.show("work_mem") == "99MB"


@once
def test_what_others_wrote_into_the_file_is_replaced(cluster: Cluster):
    cluster.apply({"work_mem": "5MB"})
    cluster.host.run(f"printf 'WORK_MEM 6MB # quick\\ninclude = nothing.conf\\njit = off\\n' >> {cluster.path}")
    result = cluster.apply({"work_mem": "5MB"})
    assert result["changes"] == [
        {"name": "jit", "before": "off", "after": None},
        {"name": "work_mem", "before": "6MB", "after": "5MB"},
    ]
    assert cluster.file() == "work_mem = '5MB'\n"
    assert cluster.host.run(f"stat -c '%U %a' {cluster.path}").strip() == "postgres 640"


@once
def test_clusters_of_a_host_are_told_apart(cluster: Cluster):
    main = Cluster(cluster.host, "main")
    before = main.file()
    cluster.apply({"work_mem": "9MB"})
    assert (main.file(), main.show("work_mem")) == (before, "5MB" if before else "4MB")
    assert cluster.show("work_mem") == "9MB"


def test_a_cluster_that_does_not_run_is_served_too(cluster: Cluster):
    cluster.control("stop")
    result = cluster.apply({"shared_buffers": "64MB", "wal_compression": True, "checkpoint_completion_target": 0.9})
    assert (result["running"], result["reloaded"], result["pending_restart"]) == (False, False, [])
    assert 'parameter "work_mem": "64mb"' in cluster.refuse({"work_mem": "64mb"})
    assert "none called nowhere" in cluster.refuse({"shared_preload_libraries": "nowhere"})
    # A mistake in the file keeps the server down, until the next run.
    cluster.host.run(f"echo nonsense=1 >> {cluster.path}")
    assert cluster.module({"shared_buffers": "64MB"})["changed"]
    cluster.control("start")
    assert not cluster.apply({"shared_buffers": "64MB"})["changed"]
    assert cluster.show("shared_buffers") == "64MB"


@once
def test_secrets_are_not_shown(cluster: Cluster):
    first = cluster.apply({"primary_conninfo": "host=198.51.100.7 user=replica", "ssl_passphrase_command": "echo hush"})
    second = cluster.apply({"primary_conninfo": "host=198.51.100.8 user=replica"})
    assert first["changes"][0] == {"name": "primary_conninfo", "before": None, "after": "(not shown)"}
    for result in (first, second):
        kept = str({key: value for key, value in result.items() if key != "invocation"})
        assert "198.51.100" not in kept
        assert "hush" not in kept
    assert "198.51.100.8" in cluster.file()


def test_an_extension_is_set_before_it_is_loaded_and_settles_after(cluster: Cluster):
    definition = {
        "shared_preload_libraries": ["auto_explain"],
        "auto_explain.log_min_duration": "1500ms",
        "auto_explain.log_analyze": True,
    }
    cluster.apply(definition)
    cluster.control("restart")
    assert not cluster.apply(definition)["changed"]
    assert cluster.show("auto_explain.log_min_duration") == "1500ms"
    assert "auto_explain.log_analyse: PostgreSQL" in cluster.refuse({**definition, "auto_explain.log_analyse": True})


@once
def test_a_path_that_is_of_no_cluster_is_refused(cluster: Cluster):
    cluster.host.run(f"sed -i s/^include_dir/#include_dir/ {cluster.folder}/postgresql.conf")
    assert "no include_dir for it" in cluster.refuse({"work_mem": "5MB"})
    cluster.path = "/etc/postgresql/9/none/conf.d/10-ansible.conf"
    assert "Expected the file /etc/postgresql/9/none/postgresql.conf of a cluster; found none" in cluster.refuse({})


def test_values_come_to_what_the_server_makes_of_them(host: Host):
    """The server is asked for the number behind hundreds of texts of each unit."""
    cluster = Cluster(host, "main")
    names = {"work_mem": "kB", "temp_buffers": "8kB", "lock_timeout": "ms"}
    texts = {
        name: [
            f"{number}{suffix}"
            for suffix in (units.MEMORY if unit.endswith("B") else units.TIME)
            for number in ("0.3", "1", "1.49", "1.5", "2.5", "7.77", "12", "33.33", "100.5", "999.999", "4096", "20001")
        ]
        for name, unit in names.items()
    }
    for name, unit in names.items():
        rows = ", ".join(f"('{text}')" for text in texts[name])
        # A value that the server refuses ends in an exception, which a function turns to null.
        answer = cluster.sql(
            f"""CREATE OR REPLACE FUNCTION pg_temp.number(name text, value text) RETURNS text LANGUAGE plpgsql AS $$
                BEGIN PERFORM set_config(name, value, true);
                    RETURN (SELECT setting FROM pg_settings s WHERE s.name = $1);
                EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;
                SELECT v || '=' || coalesce(pg_temp.number('{name}', v), '') FROM (VALUES {rows}) AS t(v)"""  # noqa: S608
        )
        compared = 0
        for line in answer.splitlines():
            text, _sign, number = line.partition("=")
            try:
                ours = units.render_base(units.quantity(text, "integer", unit))
            except units.UnitError as error:
                assert not number or number == "0", f"{name} {text}: {error}, but the server takes it as {number}"
                continue
            if number:
                assert ours == number, f"{name} {text}"
                compared += 1
        assert compared >= 25, name
