"""Where the database is and who we are there: from a file (a systemd credential is one) or from Secrets Manager.

The password is held in memory and handed to the driver; it is never in argv, in the environment, in a log or in a repr.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .settings import Settings

# A database that is down makes every request ask again: this bounds how often the source hears of it (seconds).
FILE_INTERVAL = 0.5
SECRETS_MANAGER_INTERVAL = 5.0


class CredentialsError(Exception):
    """The credentials cannot be read or are not complete; the message never carries the password."""


@dataclass(frozen=True)
class Credentials:
    """One set of credentials, as the secret ``rag-admin/database`` holds them."""

    host: str
    port: int
    dbname: str
    username: str
    password: str = field(repr=False)
    sslmode: str = "prefer"
    sslrootcert: str | None = None


def parse(text: str | bytes, origin: str) -> Credentials:
    """Parse the JSON object of a secret.

    :param origin: where it came from, for the message.
    :raises CredentialsError: when it is not such an object; the text itself is never quoted.
    """
    try:
        values = json.loads(text)
        port = int(values.get("port", 5432))
    except (ValueError, AttributeError, TypeError):
        raise CredentialsError(
            f"{origin}: expected a JSON object with host, port, dbname, username and password, found something else"
        ) from None
    needed = ("host", "dbname", "username", "password")
    missing = [key for key in needed if not isinstance(values.get(key), str) or not values[key]]
    if missing:
        raise CredentialsError(f"{origin}: expected host, dbname, username and password, missing: {', '.join(missing)}")
    optional = {key: str(values[key]) for key in ("sslmode", "sslrootcert") if values.get(key)}
    return Credentials(port=port, **{key: values[key] for key in needed}, **optional)


class Source:
    """Credentials, read on first use and again when the database refuses us (the password may have been rotated)."""

    def __init__(self, read: Callable[[], Credentials], reload_interval: float) -> None:
        self._read = read
        self._interval = reload_interval
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._error: CredentialsError | None = None
        self._read_at = float("-inf")

    def current(self) -> Credentials:
        """The credentials in use; read when there are none yet.

        :raises CredentialsError: when they were never read and cannot be.
        """
        with self._lock:
            if self._credentials is None:
                self._refresh()
            return self._known()

    def reload(self) -> Credentials:
        """The credentials read anew, unless that was tried moments ago; the old ones when the source does not answer.

        :raises CredentialsError: when they were never read and cannot be.
        """
        with self._lock:
            self._refresh()
            return self._known()

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < self._interval:
            return
        self._read_at = time.monotonic()
        try:
            self._credentials = self._read()
        except CredentialsError as error:
            self._error = error

    def _known(self) -> Credentials:
        if self._credentials is None:
            raise self._error
        return self._credentials


def source(settings: Settings) -> Source:
    """The source that the settings name: the file when there is one, else Secrets Manager."""
    if settings.database_file:
        return Source(lambda: _from_file(settings.database_file), FILE_INTERVAL)
    return Source(lambda: _from_secrets_manager(settings.database_secret_id), SECRETS_MANAGER_INTERVAL)


def _from_file(path: str) -> Credentials:
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, path)


def _from_secrets_manager(secret_id: str) -> Credentials:
    # Imported here: most installations read a file, and boto3 takes a third of a second and 30 MB.
    import boto3
    import botocore.config
    import botocore.exceptions

    # Short, because /ready waits for it; region, keys and endpoint come from the usual places.
    config = botocore.config.Config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 2})
    try:
        answer = boto3.client("secretsmanager", config=config).get_secret_value(SecretId=secret_id)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise CredentialsError(f"secret {secret_id}: cannot be read: {error}") from None
    return parse(answer.get("SecretString", ""), f"secret {secret_id}")
