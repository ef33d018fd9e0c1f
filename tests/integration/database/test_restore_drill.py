"""Restore drills and restores on a host of the lab, with real PostgreSQL and pgBackRest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.restore_drills import FAULTS, HOST, Bench
from benchmarks.support import BenchmarkError

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A host with a cluster, a heartbeat and a backup."""
    made = Bench(1000)
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_a_clean_backup_is_proven_and_told(bench: Bench):
    done = bench.drill({"restore_drill_time": bench.point()})
    assert done.status == 0, done.said
    assert done.report["verdict"] == "proven"
    assert done.report["rows"] > 1000
    metrics = bench.shell("cat /var/lib/prometheus/node-exporter/restore_drill.prom")
    assert 'restore_drill_proven{cluster="main"} 1' in metrics
    assert f'restore_drill_last_proven_timestamp_seconds{{cluster="main"}} {done.report["started"]}' in metrics


def test_missing_wal_is_caught_and_the_last_proven_drill_stays(bench: Bench):
    proven = bench.shell("grep ^restore_drill_last_proven /var/lib/prometheus/node-exporter/restore_drill.prom")
    [fault] = [each for each in FAULTS if each.name == "wal-missing-in-the-middle"]
    done = bench.fault(fault)
    assert done.status
    assert done.failed == ["archive"]
    metrics = bench.shell("cat /var/lib/prometheus/node-exporter/restore_drill.prom")
    assert 'restore_drill_proven{cluster="main"} 0' in metrics
    assert proven in metrics


def test_another_name_replaces_nothing(bench: Bench):
    running = bench.shell("cat $D/postmaster.pid")
    with pytest.raises(BenchmarkError, match=f"Expected {HOST}/main as the name of the cluster to replace"):
        bench.play("restore", {"restore_confirm": "other-host/main"})
    assert bench.shell("cat $D/postmaster.pid") == running


def test_a_restore_into_place_keeps_the_rows_and_the_old_data(bench: Bench):
    before = bench.checksum()
    bench.play("restore", {"restore_confirm": f"{HOST}/main"})
    assert bench.checksum() == before
    assert bench.shell("ls -d $D.before-*").strip()
    assert bench.shell("sql 'SHOW archive_mode'").strip() == "on"


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"pgbackrest_stanza": "nobody"}, "of the cluster None .missing stanza path"),
        ({"restore_time": "2026-01-01 00:00:00+00"}, "Expected a usable backup of the cluster"),
        ({"restore_time": "2999-01-01 00:00:00+00"}, "Expected a usable backup of the cluster"),
    ],
    ids=["no-stanza", "before-all-backups", "time-to-come"],
)
def test_what_cannot_be_restored_stops_nothing(bench: Bench, variables: dict, found: str):
    running = bench.shell("cat $D/postmaster.pid")
    with pytest.raises(BenchmarkError, match=found):
        bench.play("restore", {"restore_confirm": f"{HOST}/main", **variables})
    assert bench.shell("cat $D/postmaster.pid") == running


def test_the_backup_of_another_cluster_stops_nothing(bench: Bench):
    bench.shell(
        "printf \"archive_mode = on\\narchive_command = 'pgbackrest --stanza=other archive-push %%p'\\n\" "
        "> /etc/postgresql/$V/other/conf.d/20-archive.conf; pg_ctlcluster $V other restart; "
        "as pgbackrest --stanza=other --pg1-port=5440 --repo1-retention-full=1 --type=full backup; "
    )
    running = bench.shell("cat $D/postmaster.pid")
    variables = {"restore_confirm": f"{HOST}/main", "pgbackrest_stanza": "other"}
    with pytest.raises(BenchmarkError, match=r"Expected a usable backup of the cluster \d+ .*found backups \S+F of"):
        bench.play("restore", variables)
    assert bench.shell("cat $D/postmaster.pid") == running


def test_of_two_clusters_with_a_name_the_version_tells(bench: Bench):
    bench.shell("mkdir -p /etc/postgresql/9.6; cp -a /etc/postgresql/$V/main /etc/postgresql/9.6/main")
    try:
        with pytest.raises(BenchmarkError, match="with its version where several"):
            bench.play("restore", {"restore_confirm": f"{HOST}/main"})
        version = bench.shell("ls /etc/postgresql | grep -v 9.6").strip()
        named = {"database_restore_cluster": f"{version}/main", "restore_confirm": f"{HOST}/main"}
        with pytest.raises(BenchmarkError, match=f"Expected {HOST}/{version}/main as the name"):
            bench.play("restore", named)
    finally:
        bench.shell("rm -r /etc/postgresql/9.6", prelude="")


def test_a_failed_restore_into_place_brings_the_old_data_back(bench: Bench):
    before = bench.checksum()
    unreached = bench.shell(
        "systemctl stop drill-load || true; systemctl stop database-heartbeat; sleep 3; date -u '+%F %T+00'"
    ).strip()
    with pytest.raises(BenchmarkError, match=r"recovery ended before configured recovery target.*The old data is back"):
        bench.play("restore", {"restore_confirm": f"{HOST}/main", "restore_time": unreached})
    assert bench.checksum() == before
