"""Faults on purpose. Loaded only with APP_FAULTS=enabled; without it no route, hook or line of this module exists."""

from __future__ import annotations

import os
import random
import signal
import time

import flask

from .settings import Faults

LONGEST_SLEEP = 120  # seconds
# The release looks healthy from outside: the load balancer's checks and the sleeping route are left alone.
SPARED = {"health", "ready", "faults_sleep"}


def install(app: flask.Flask, faults: Faults) -> None:
    """Add the faults, and the route ``GET /faults/sleep/<seconds>``, to an application."""

    @app.before_request
    def fault():
        if flask.request.endpoint in SPARED:
            return None
        if faults.latency:
            time.sleep(faults.latency)
        if random.random() < faults.crash:  # noqa: S311 - chance, not secrecy
            # As an out-of-memory kill would: no answer, and whatever else this worker does is lost as well.
            os.kill(os.getpid(), signal.SIGKILL)
        if random.random() < faults.error_rate:  # noqa: S311
            return {"error": {"code": "fault", "message": "This error was asked for by APP_FAULT_ERROR_RATE."}}, 500
        return None

    @app.get(f"/faults/sleep/<float(max={LONGEST_SLEEP}):seconds>")
    @app.get(f"/faults/sleep/<int(max={LONGEST_SLEEP}):seconds>")
    def faults_sleep(seconds: float):
        time.sleep(seconds)
        return {"slept": seconds}
