"""What is counted is right over workers that come and go."""

from __future__ import annotations

import itertools
import os
import signal
import threading

from tests.app.support import VERSION, wait_until

QUERIES = 'http_requests_total{endpoint="/api/query",method="POST",status="200"}'
SECONDS = 'http_request_duration_seconds_count{endpoint="/api/query",method="POST"}'


def queries(server, number):
    """Send queries from four clients, so that every worker gets some."""
    statuses = []

    def client():
        statuses.extend(server.query("a").status for _ in range(number // 4))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * number


def test_sums_survive_the_death_of_workers(serve, database):
    server = serve(APP_WORKERS="3")
    directory = server.directory / "run" / "metrics"
    sent = 0
    while len(list(directory.glob("counter_*.db"))) < 2:  # which worker accepts a connection is the kernel's choice
        assert sent < 3000, "only one worker answers: this test would show nothing"
        queries(server, 60)
        sent += 60
        metrics = server.metrics()
        assert metrics[QUERIES] == metrics[SECONDS] == sent

    for _ in range(3):
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda before=before: len(set(server.workers()) - set(before)) == 1, what="a new worker")
        queries(server, 60)
        sent += 60
        metrics = server.metrics()
        assert metrics[QUERIES] == metrics[SECONDS] == sent
    assert len(list(directory.iterdir())) <= 9, "files of dead workers pile up"


def test_gauge_of_a_killed_worker_is_forgotten(serve, database):
    server = serve()
    database.sql("BEGIN; ALTER TABLE users RENAME TO hidden; "
                 "CREATE VIEW users AS SELECT hidden.* FROM hidden, pg_sleep(20); GRANT SELECT ON users TO rag_admin; "
                 "GRANT SELECT ON hidden TO rag_admin; COMMIT")  # fmt: skip
    database.sql("INSERT INTO hidden (username, email) VALUES ('a', 'a')")

    def lost():
        try:
            server.query("a")
        except OSError:
            pass
        except Exception as error:
            assert "Remote end closed" in str(error)

    threads = [threading.Thread(target=lost) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.metrics().get("database_connections_active") == 3, what="three busy connections")
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: server.metrics().get("database_connections_active") == 0, what="the gauge's way back")
    for thread in threads:
        thread.join()


def test_series_are_bounded_and_those_of_the_seed(serve, database):
    server = serve()
    server.stop()
    database.sql(
        "INSERT INTO users (username, email, status) VALUES "
        "('a', 'a', 'active'), ('b', 'b', 'active'), ('c', 'c', 'disabled')"
    )
    server.start()  # reads the database at once, and then every 15 s
    for number in range(20):
        server.request("GET", f"/wp-login/{number}")
        server.request(f"METHOD{number}", "/health")
    server.request("GET", "/health")
    wait_until(lambda: server.metrics().get("active_users_total") == 2, what="the number of active users")
    metrics = server.metrics()
    assert metrics['http_requests_total{endpoint="unmatched",method="GET",status="404"}'] == 20
    assert metrics['http_requests_total{endpoint="unmatched",method="OTHER",status="405"}'] == 20
    assert metrics[f'app_info{{color="green",version="{VERSION}"}}'] == 1
    names = {name.partition("{")[0] for name in metrics}
    histogram = {f"http_request_duration_seconds_{suffix}" for suffix in ("bucket", "sum", "count")}
    assert names == {"http_requests_total", "active_users_total", "database_connections_active", "app_info"} | histogram
    buckets = [name for name in metrics if "_bucket" in name and '"/health"' in name and '"GET"' in name]
    limits = sorted(
        float(part[4:-1]) for name in buckets for part in name[:-1].split("{")[1].split(",") if part[:2] == "le"
    )
    assert limits[-2:] == [60, float("inf")]
    # Fine enough for a gate that tells three times the time from the same.
    assert all(later / earlier < 1.7 for earlier, later in itertools.pairwise(limits[:-2]))


def test_exporter_is_restarted_and_a_new_start_counts_from_zero(serve, database):
    server = serve()
    queries(server, 8)
    (exporter,) = [pid for pid, command in server.children().items() if "rag_admin.exporter" in command]
    os.kill(exporter, signal.SIGKILL)
    wait_until(lambda: server.metrics()[QUERIES] == 8, what="a new exporter")
    assert server.stop() == 0
    server.start()
    assert QUERIES not in server.metrics()
