"""A small pool of database connections that survives restarts of the server and rotation of the password."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import psycopg2
import psycopg2.extensions

from .credentials import Credentials, CredentialsError, Source

T = TypeVar("T")


class DatabaseUnavailable(Exception):
    """No connection could be had, or the one in use was lost; the message says why and carries no password."""


def connect(
    credentials: Credentials, *, connect_timeout: int, statement_timeout: float
) -> psycopg2.extensions.connection:
    """Open one connection in autocommit mode.

    :param connect_timeout: seconds, at least 2 (libpq takes less for 2).
    :param statement_timeout: seconds after which the server gives up on a statement.
    :raises psycopg2.OperationalError: when the server does not answer or refuses us.
    """
    connection = psycopg2.connect(
        host=credentials.host,
        port=credentials.port,
        dbname=credentials.dbname,
        user=credentials.username,
        password=credentials.password,
        sslmode=credentials.sslmode,
        **({"sslrootcert": credentials.sslrootcert} if credentials.sslrootcert else {}),
        application_name="rag-admin",
        connect_timeout=connect_timeout,
        # A server that vanished without a word is noticed in seconds, not after the kernel's quarter of an hour.
        tcp_user_timeout=5000,
        keepalives_idle=30,
        keepalives_interval=5,
        keepalives_count=3,
        options=f"-c statement_timeout={int(statement_timeout * 1000)}",
    )
    # Every statement stands alone: no transaction is ever left open while a request does something else.
    connection.autocommit = True
    return connection


class Database:
    """At most ``size`` connections to the database, opened when needed and kept.

    :param size: connections at once; more callers wait.
    :param wait: seconds that a caller waits for a connection, and at least 2 for the server to accept one.
    :param statement_timeout: seconds for one statement.
    :param in_use: called with +1 and -1 as connections are taken and given back.
    """

    def __init__(
        self,
        source: Source,
        size: int,
        *,
        wait: float = 3.0,
        statement_timeout: float = 5.0,
        in_use: Callable[[int], None] = lambda change: None,
    ) -> None:
        self._source = source
        self._wait = wait
        self._statement_timeout = statement_timeout
        self._in_use = in_use
        self._free = threading.BoundedSemaphore(size)
        self._idle: list[
            psycopg2.extensions.connection
        ] = []  # the last one given back is taken first; append/pop are atomic

    def read(self, work: Callable[[psycopg2.extensions.cursor], T]) -> T:
        """Run ``work`` with a cursor and return what it returns.

        Only for reads: when a kept connection turns out to be dead (the server was restarted), ``work`` runs a second
        time on a new one.

        :raises DatabaseUnavailable: when the server cannot be reached, or no connection becomes free in time.
        :raises psycopg2.Error: when the statement itself fails.
        """
        with self._slot():
            connection = self._idle.pop() if self._idle else None
            try:
                if connection is not None:
                    try:
                        return _run(connection, work)
                    except (psycopg2.OperationalError, psycopg2.InterfaceError):
                        if not connection.closed:  # the statement failed, not the connection
                            raise
                    self.close_idle()  # the others are as dead as this one
                connection = self._open()
                return _run(connection, work)
            except (psycopg2.OperationalError, psycopg2.InterfaceError, CredentialsError) as error:
                raise DatabaseUnavailable(str(error).strip()) from None
            finally:
                if connection is not None and not connection.closed:
                    self._idle.append(connection)

    def close_idle(self) -> None:
        """Close the connections that nobody uses now."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._free.acquire(timeout=self._wait):
            raise DatabaseUnavailable(f"no connection became free within {self._wait:g} s")
        self._in_use(1)
        try:
            yield
        finally:
            self._in_use(-1)
            self._free.release()

    def _open(self) -> psycopg2.extensions.connection:
        timeouts = {"connect_timeout": max(2, int(self._wait)), "statement_timeout": self._statement_timeout}
        credentials = self._source.current()
        try:
            return connect(credentials, **timeouts)
        except psycopg2.OperationalError:
            # libpq gives no SQLSTATE for a refused connection and its text depends on the server's language, so any
            # refusal makes us look whether the secret has changed: a rotated password, or a host after a failover.
            renewed = self._source.reload()
            if renewed == credentials:
                raise
            self.close_idle()
            return connect(renewed, **timeouts)


def _run(connection: psycopg2.extensions.connection, work: Callable[[psycopg2.extensions.cursor], T]) -> T:
    with connection.cursor() as cursor:
        return work(cursor)
