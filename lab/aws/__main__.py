"""Run the lab's AWS: `python -m lab.aws --bind ADDRESS … --port 5000 --state-dir .lab`."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lab.aws.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends the process; return the exit status."""
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(0))
    try:
        settings = Settings().changed(_pairs(options.set))
    except ValueError as error:
        print(f"lab.aws: {error}", file=sys.stderr)
        return 2

    from lab.aws import behaviours, server
    from lab.aws.core import Lab

    state = options.state_dir.resolve()
    state.mkdir(parents=True, exist_ok=True)
    lab = Lab(state, settings)
    if options.data_plane == "haproxy":
        from lab.alb.node import Node

        lab.node_maker = Node
    behaviours.install(lab)
    if options.rds_host:
        lab.routes["POST", "/rds/host"]({}, {"address": options.rds_host})
    try:
        servers = server.listen(server.Application(lab), options.bind or ["127.0.0.1"], options.port)
    except OSError as error:
        print(f"lab.aws: {error}", file=sys.stderr)
        return 1
    addresses = ", ".join(f"http://{one.host}:{one.port}" for one in servers)
    print(f"lab.aws: {addresses} after {time.monotonic() - started:.1f} s", flush=True)
    try:
        server.serve(lab, servers)
    finally:
        lab.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.aws", description=__doc__)
    parser.add_argument("--bind", action="append", metavar="ADDRESS", help="may be given several times (127.0.0.1)")
    parser.add_argument("--port", type=int, default=5000, help="0 for a free one (5000)")
    parser.add_argument("--state-dir", type=Path, default=Path(".lab"), help="journal and load balancers' files (.lab)")
    parser.add_argument("--data-plane", choices=("haproxy", "none"), default="haproxy", help="none: only the API")
    parser.add_argument("--rds-host", metavar="ADDRESS", help="a host of `lab rds up`; without one RDS is only the API")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help=f"one of: {', '.join(vars(Settings()))}"
    )
    return parser


def _pairs(texts: list[str]) -> dict[str, Any]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    try:
        return {name: json.loads(value) for name, value in pairs.items()}
    except ValueError as error:
        raise ValueError(f"--set needs NAME=NUMBER: {error}") from error


if __name__ == "__main__":
    raise SystemExit(main())
