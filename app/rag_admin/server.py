"""gunicorn, set up in code: what a release serves with is part of the release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from . import __version__, logs
from .settings import Settings

log = structlog.get_logger("rag_admin")

# Longer than the idle timeout of the load balancer (60 s on an ALB): it must always be the load balancer that closes an
# idle connection. Were it us, a request could be on its way at that moment, and its client would get a 502.
KEEPALIVE = 75

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - gunicorn makes a private file there


class JsonLogger(Logger):
    """gunicorn's own lines go through the application's log; its access log is not used, each request logs itself."""

    def setup(self, cfg):
        """Leave formatting and files to the root logger."""
        super().setup(cfg)
        self.error_log.handlers[:] = []
        self.error_log.propagate = True

    def reopen_files(self):
        """The handler opens a moved file by itself."""


class Server(Arbiter):
    """gunicorn's master, which also keeps the exporter of the metrics alive."""

    exporter: subprocess.Popen | None = None
    exporter_started = 0.0

    def manage_workers(self):
        """Runs about once a second."""
        gone = self.exporter is None or self.exporter.poll() is not None
        if gone and time.monotonic() - self.exporter_started >= 1:
            self.exporter_started = time.monotonic()
            self.exporter = subprocess.Popen([sys.executable, "-m", "rag_admin.exporter"])
        super().manage_workers()


class Application(BaseApplication):
    """Settings and hooks of gunicorn."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.taken: dict[object, int] = {}  # worker -> slot, in the master
        super().__init__()

    def load_config(self):
        """See https://docs.gunicorn.org for each setting."""
        settings = self.settings
        host, port = settings.bind
        values = {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "worker_class": "gthread",
            "workers": settings.workers,
            "threads": settings.threads,
            "keepalive": KEEPALIVE,
            "timeout": 30,
            "graceful_timeout": settings.graceful_timeout,
            # A leak never grows for ever; the jitter keeps the workers from being replaced at the same moment.
            "max_requests": settings.max_requests,
            "max_requests_jitter": settings.max_requests // 10,
            # The heartbeat file: on a disk, a stalled write would look like a dead worker.
            "worker_tmp_dir": SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None,
            "control_socket_disable": True,
            "logger_class": JsonLogger,
            "proc_name": "rag-admin",
            "pre_fork": self.pre_fork,
            "post_fork": self.post_fork,
            "child_exit": self.child_exit,
            "on_exit": self.on_exit,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def run(self):
        """Serve until told to stop; leaves by SystemExit."""
        Server(self).run()

    def pre_fork(self, server, worker):
        """Give the worker the lowest free slot (see metrics.py)."""
        self.taken[worker] = next(slot for slot in range(10**6) if slot not in self.taken.values())

    def post_fork(self, server, worker):
        """In the new worker."""
        from . import metrics

        metrics.slot = self.taken[worker]

    def child_exit(self, server, worker):
        """A worker is gone, however it went: forget its gauges, keep its counters, free its slot."""
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(self.taken.pop(worker))

    def on_exit(self, server):
        """The workers are gone: until now their last requests could still be scraped."""
        if server.exporter is not None:
            server.exporter.kill()

    def load(self):
        """In each worker: nothing is shared across the fork, connections least of all."""
        from . import credentials, metrics
        from .database import Database
        from .web import create_app

        source = credentials.source(self.settings)
        database = Database(source, self.settings.database_pool, in_use=metrics.CONNECTIONS.inc)
        # /ready must answer within the load balancer's own timeout, so this one waits less.
        probe = Database(source, 1, wait=2.0, statement_timeout=1.0)
        return create_app(self.settings, database, probe)


def serve(settings: Settings) -> None:
    """Run the application until SIGTERM; does not return.

    :raises OSError: when the log or the metrics directory cannot be written.
    """
    logs.configure(settings.log_dir)
    directory = _metrics_directory()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    master = os.getpid()
    log.info("starting", version=__version__, color=settings.color, workers=settings.workers)
    try:
        Application(settings).run()
    finally:
        if os.getpid() == master:  # the workers leave through here as well
            shutil.rmtree(directory, ignore_errors=True)


def _metrics_directory() -> Path:
    """A directory for the workers' metrics, without those of an earlier start."""
    if runtime := os.environ.get("RUNTIME_DIRECTORY"):  # systemd's RuntimeDirectory=
        directory = Path(runtime.split(":")[0]) / "metrics"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        return directory
    return Path(tempfile.mkdtemp(prefix="rag-admin-metrics-"))
