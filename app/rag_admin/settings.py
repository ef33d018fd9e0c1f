"""What the environment says, read once and checked whole before anything starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsError(ValueError):
    """The environment is wrong; the message names every variable that is, what was expected and what was found."""


@dataclass(frozen=True)
class Faults:
    """Faults on purpose, for tests of deployments.

    error_rate and crash are probabilities (0 to 1) per request; latency and slow_start are seconds.
    """

    error_rate: float = 0.0
    latency: float = 0.0
    crash: float = 0.0
    slow_start: float = 0.0


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. Times are in seconds; binds are (address, port)."""

    color: str
    bind: tuple[str, int]
    metrics_bind: tuple[str, int]
    log_dir: str  # "-" is standard output
    workers: int
    threads: int
    database_pool: int  # connections per worker
    max_requests: int  # per worker, then it is replaced
    graceful_timeout: int
    database_file: str | None
    database_secret_id: str | None
    faults: Faults | None = field(default=None)


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    :param environment: usually ``os.environ``.
    :raises SettingsError: naming everything that is wrong at once.
    """
    errors: list[str] = []

    def read(name: str, default: str, expected: str, parse: Callable[[str], object]):
        text = environment.get(name, "") or default
        try:
            return parse(text)
        except ValueError:
            errors.append(f"{name}: expected {expected}, found {text!r}")
            return None

    def integer(low: int, high: int) -> tuple[str, Callable[[str], int]]:
        return f"a whole number from {low} to {high}", lambda text: _within(int(text), low, high)

    def number(low: float, high: float) -> tuple[str, Callable[[str], float]]:
        return f"a number from {low:g} to {high:g}", lambda text: _within(float(text), low, high)

    address = "an address and a port such as 127.0.0.1:8000 or [::1]:8000", _bind

    credentials = environment.get("CREDENTIALS_DIRECTORY")
    database_file = f"{credentials}/database" if credentials else None
    if database_file is None or not Path(database_file).exists():
        database_file = environment.get("APP_DATABASE_FILE") or None
    database_secret_id = environment.get("APP_DATABASE_SECRET_ID") or None
    if not database_file and not database_secret_id:
        errors.append(
            "the database: expected a systemd credential named database, APP_DATABASE_FILE or APP_DATABASE_SECRET_ID, "
            "found none; set one of them"
        )

    faults = None
    if environment.get("APP_FAULTS") == "enabled":
        faults = Faults(
            error_rate=read("APP_FAULT_ERROR_RATE", "0", *number(0, 1)),
            latency=read("APP_FAULT_LATENCY", "0", *number(0, 600)),
            crash=read("APP_FAULT_CRASH", "0", *number(0, 1)),
            slow_start=read("APP_FAULT_SLOW_START", "0", *number(0, 600)),
        )

    settings = Settings(
        color=read("APP_COLOR", "none", "lower-case letters, digits and hyphens, at most 32", _color),
        bind=read("APP_BIND", "0.0.0.0:8000", *address),
        metrics_bind=read("APP_METRICS_BIND", "0.0.0.0:9102", *address),
        log_dir=environment.get("APP_LOG_DIR") or "/var/log/rag-admin",
        workers=read("APP_WORKERS", "2", *integer(1, 64)),
        threads=read("APP_THREADS", "16", *integer(1, 256)),
        database_pool=read("APP_DATABASE_POOL", "4", *integer(1, 64)),
        max_requests=read("APP_MAX_REQUESTS", "50000", *integer(0, 10**9)),
        graceful_timeout=read("APP_GRACEFUL_TIMEOUT", "60", *integer(1, 3600)),
        database_file=database_file,
        database_secret_id=database_secret_id,
        faults=faults,
    )
    if errors:
        raise SettingsError("; ".join(errors))
    return settings


def _within(value, low, high):
    if not low <= value <= high:  # false for NaN too
        raise ValueError(value)
    return value


def _bind(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[^:\s\[\]]+):(\d{1,5})", text)
    if not match:
        raise ValueError(text)
    return match[1].strip("[]"), _within(int(match[2]), 1, 65535)


def _color(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,32}", text):
        raise ValueError(text)
    return text
