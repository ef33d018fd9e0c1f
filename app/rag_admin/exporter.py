"""The metrics port: a process of its own, so that scraping works while every worker is busy, dying or draining.

Started and restarted by the server. It adds up the workers' files and adds what belongs to the instance as a whole.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

import prometheus_client
import psycopg2
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from . import __version__, credentials, settings
from .database import Database, DatabaseUnavailable

REFRESH = 15.0  # seconds between looks at the database; a scrape never waits for it


class Instance:
    """Collector of ``app_info`` and ``active_users_total``."""

    def __init__(self, color: str) -> None:
        self.color = color
        self.active_users: int | None = None

    def collect(self):
        """Yield the metrics; the number of users is left out, rather than wrong, while it is not known."""
        info = GaugeMetricFamily("app_info", "The release that runs here", labels=["version", "color"])
        info.add_metric([__version__, self.color], 1)
        yield info
        if self.active_users is not None:
            yield GaugeMetricFamily("active_users_total", "Users that are active", value=self.active_users)


def _count(cursor: psycopg2.extensions.cursor) -> int:
    cursor.execute("SELECT count(*) FROM users WHERE status = 'active'")
    return cursor.fetchone()[0]


def _refresh_forever(instance: Instance, database: Database) -> None:
    while True:
        try:
            instance.active_users = database.read(_count)
        except (DatabaseUnavailable, psycopg2.Error):
            instance.active_users = None  # /ready says why
        time.sleep(REFRESH if instance.active_users is not None else 1.0)


def main() -> int:
    """Serve /metrics until the server, our parent, is gone."""
    # A stop of the whole service reaches us too; we stay until the last request is answered, and counted.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    current = settings.load(os.environ)
    instance = Instance(current.color)
    registry = prometheus_client.CollectorRegistry()
    MultiProcessCollector(registry)
    registry.register(instance)
    host, port = current.metrics_bind
    try:
        prometheus_client.start_http_server(port, host, registry)
    except (OSError, socket.gaierror) as error:
        print(f"rag-admin: metrics on {host}:{port}: {error}", file=sys.stderr)
        return 1
    database = Database(credentials.source(current), 1)
    threading.Thread(target=_refresh_forever, args=(instance, database), daemon=True).start()
    while os.getppid() == parent:
        time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
