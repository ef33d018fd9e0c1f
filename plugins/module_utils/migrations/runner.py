# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applies an application's Alembic migrations to PostgreSQL without making its users wait.

It runs under the application's own Python, which has Alembic and SQLAlchemy: the module sends it there, and an
application may carry it for a command of its own. So it imports nothing of this collection, and those two only when
they are needed.
The application's env.py is not run: it would open a connection of its own, without a limit on waiting for locks.
"""

from __future__ import annotations

import importlib.util
import io
import json
import random
import sys
import time
from typing import NamedTuple

# Any constant will do, as long as it stays this one: runners of every version must mean the same lock.
ADVISORY_LOCK = 1918986079
EXPAND, CONTRACT, ALL = "expand", "contract", "all"
PHASES = (EXPAND, CONTRACT, ALL)
LOCK_TIMEOUT = 2.0  # seconds that a migration may hold up others while it waits for a lock
RETRIES = 40  # with the pauses between them a quarter of an hour, which outlasts most readers
RETRY_TIMEOUT = 3600.0  # seconds that a run may lose to others: a migration may have set a long lock_timeout of its own
LOCK_WAIT = 60.0  # seconds to wait for another runner
LONGEST_PAUSE = 30.0  # seconds between two tries
CONTRACTED = "contracted "  # begins the comment on the version table that names the newest contract migration
CONTENTION = ("55P03", "40P01")  # lock_not_available, deadlock_detected: nothing was changed, and it may work later
SOMEBODY_ELSE = "another runner to end"


class MigrationError(Exception):
    """The migrations were not applied, or not all of them. Read as expected, found and what to do."""

    def __init__(self, expected: str, found: str, todo: str, **details):
        super().__init__(f"Expected {expected}; found {found}. {todo}")
        self.details = {"expected": expected, "found": found, "todo": todo, **details}


class Step(NamedTuple):
    """A migration. ``phase`` is None when its file does not declare one."""

    revision: str
    phase: str | None
    title: str

    def as_dict(self) -> dict:
        """For a JSON answer."""
        return self._asdict()


class Options(NamedTuple):
    """How to apply migrations. Times are in seconds."""

    script_location: str
    version_table: str = "alembic_version"
    lock_timeout: float = LOCK_TIMEOUT
    retries: int = RETRIES
    retry_timeout: float = RETRY_TIMEOUT
    lock_wait: float = LOCK_WAIT


def plan(
    chain: list[Step], current: str | None, revision: str, phase: str, contracted: str | None = None
) -> list[Step]:
    """Name the migrations to apply, oldest first.

    :param chain: every migration that the code knows, oldest first.
    :param current: the database's revision; None when nothing was ever applied, which has no users to protect and gets
        every phase. One that the code does not know was made after it: nothing is applied.
    :param revision: the last to apply, or ``head``.
    :param contracted: the newest contract migration of the database.
    :raises MigrationError: when the code does not know ``contracted``, or the phase cannot be applied without the other
        one, or is not declared.
    """
    known = [step.revision for step in chain]
    if revision == "head":
        revision = known[-1]
    if revision not in known:
        raise MigrationError(f"a revision of {known[0]} to {known[-1]}", repr(revision), "Correct the revision.")
    if contracted is not None and contracted not in known:
        raise MigrationError(
            f"a schema from which nothing was taken that this release uses (it knows {known[0]} to {known[-1]})",
            f"the contract migration {contracted} of a later release",
            "Deploy a release that knows it.",
        )
    if current is not None and current not in known:
        return []
    pending = chain[known.index(current) + 1 if current else 0 : known.index(revision) + 1]
    if phase == ALL or current is None:
        return pending
    undeclared = [step.revision for step in pending if step.phase not in (EXPAND, CONTRACT)]
    if undeclared:
        raise MigrationError(
            'phase = "expand" or phase = "contract" in every migration',
            f"none in {', '.join(undeclared)}",
            "Declare it in their files: expand is what the version before can live with.",
        )
    chosen = []
    for step in pending:
        if step.phase != phase:
            break
        chosen.append(step)
    later = [step.revision for step in pending[len(chosen) :] if step.phase == phase]
    if later:
        between = pending[len(chosen)]
        todo = {
            EXPAND: "Apply the contract migrations of the release before, when no older one is registered any more.",
            CONTRACT: "Ship the release first: that applies its expand migrations.",
        }[phase]
        raise MigrationError(
            f"no {between.phase} migration to be missing before {phase} {later[0]}", between.revision, todo
        )
    return chosen


def upgrade(url, options: Options, revision: str = "head", phase: str = EXPAND, check: bool = False) -> dict:
    """Apply what is missing; each migration is a transaction of its own, so an interrupted run is resumed by the next.

    :param url: SQLAlchemy's URL of the database.
    :param check: only say what would be done.
    :returns: ``before``, ``current``, ``head``, ``applied``, ``pending``, ``retried`` and ``sql``.
    :raises MigrationError: with what was ``applied`` before.
    """
    script, chain = _scripts(options)
    with _session(url, options, exclusive=not check) as connection:
        before = _current(connection, options)
        steps = plan(chain, before, revision, phase, _contracted(connection, options))
        sql = preview(script, options, before, steps)
        if check:
            current, retried = steps[-1].revision if steps else before, 0
        else:
            patience = _Patience(options)
            retried = sum(_apply(connection, script, patience, steps[:n], steps[n]) for n in range(len(steps)))
            current = _current(connection, options)
    known = [step.revision for step in chain]
    position = known.index(current) + 1 if current in known else 0 if current is None else len(chain)
    return {
        "before": before,
        "current": current,
        "head": known[-1],
        "applied": [step.as_dict() for step in steps],
        "pending": [step.as_dict() for step in chain[position:]],
        "retried": retried,
        "sql": sql,
    }


def downgrade(url, options: Options, revision: str) -> dict:
    """Take migrations back, the newest first, until the database is at ``revision`` (``base`` is before all).

    :returns: ``before``, ``current`` and ``reverted``.
    :raises MigrationError: with what was ``applied``, that is taken back, before.
    """
    script, chain = _scripts(options)
    known = [step.revision for step in chain]
    with _session(url, options, exclusive=True) as connection:
        before = _current(connection, options)
        if revision not in ("base", *known) or (before is not None and before not in known):
            raise MigrationError(
                f"database and target to be revisions of {known[0]} to {known[-1]}",
                f"database {before}, target {revision}",
                "Take it back with the release that knows both.",
            )
        first = 0 if revision == "base" else known.index(revision) + 1
        last = known.index(before) + 1 if before else 0
        steps = chain[first:last][::-1]
        patience = _Patience(options)
        for n, step in enumerate(steps):
            _apply(connection, script, patience, steps[:n], step, down=True)
        return {
            "before": before,
            "current": _current(connection, options),
            "reverted": [step.as_dict() for step in steps],
        }


def preview(script, options: Options, current: str | None, steps: list[Step]) -> str:
    """The SQL of the steps, for each with the limits that it runs under; empty when there are none.

    :raises MigrationError: when a migration cannot be written down without a database.
    """
    limits = "".join(f"SET {name} = '{value}';\n" for name, value in _limits(options).items())
    parts = []
    for step in steps:
        parts.append(f"{limits}\n{_offline(script, options, current, step)}\n")
        current = step.revision
    return "\n".join(parts)


def _offline(script, options: Options, current: str | None, step: Step) -> str:
    text = io.StringIO()
    context = {"as_sql": True, "starting_rev": current, "destination_rev": step.revision}
    with _environment(script, lambda seen, _context: script._upgrade_revs(step.revision, seen), **context) as env:
        env.configure(
            dialect_name="postgresql",
            output_buffer=text,
            transaction_per_migration=True,
            version_table=options.version_table,
            on_version_apply=_remember(script, options),
        )
        try:
            with env.begin_transaction():
                env.run_migrations()
        except Exception as error:
            raise MigrationError(
                f"migration {step.revision} to work in Alembic's offline mode, which writes the SQL down",
                f"{type(error).__name__}: {error}",
                "Let the migration look at the database only when context.is_offline_mode() is false.",
            ) from error
    return text.getvalue().strip()


def url_from(text: str):
    """SQLAlchemy's URL from a URL, or from the JSON object that RDS keeps in Secrets Manager.

    :raises MigrationError: when it is neither; the text itself is never quoted.
    """
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        if text.lstrip().startswith("{"):
            values = json.loads(text)
            url = URL.create(
                "postgresql",
                username=values["username"],
                password=values["password"],
                host=values["host"],
                port=int(values.get("port", 5432)),
                database=values["dbname"],
                query={key: str(values[key]) for key in ("sslmode", "sslrootcert") if values.get(key)},
            )
        else:
            url = make_url(text.strip())
    except (ArgumentError, KeyError, TypeError, ValueError):
        raise MigrationError(
            "the database as a URL, or as JSON with host, port, dbname, username and password",
            "something else",
            "Correct the file or variable that holds it.",
        ) from None
    if url.drivername in ("postgres", "postgresql"):
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"
        url = url.set(drivername=f"postgresql+{driver}")
    return url


def _limits(options: Options) -> dict[str, str]:
    return {
        # A little less than what was asked for: who waited behind us has to be served within that time too.
        "lock_timeout": f"{int(options.lock_timeout * 900)}ms",
        # A backfill may take long. What must not take long is waiting.
        "statement_timeout": "0",
        # A runner that hangs, or whose machine is gone, must not keep what it has locked.
        "idle_in_transaction_session_timeout": f"{int(options.lock_timeout * 5000)}ms",
        # The statement of a runner that was killed is given up, and with it our advisory lock.
        "client_connection_check_interval": "1000ms",
    }


def _scripts(options: Options):
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", options.script_location.replace("%", "%%"))
    try:
        script = ScriptDirectory.from_config(config)
        revisions = [*script.walk_revisions()][::-1]
    except (CommandError, ImportError) as error:
        raise MigrationError(
            f"migrations in {options.script_location}", str(error), "Correct script_location."
        ) from None
    line = all(isinstance(each.down_revision, str | None) and not each.dependencies for each in revisions)
    if not revisions or len(script.get_heads()) != 1 or not line:
        raise MigrationError(
            "one line of migrations",
            f"{len(revisions)} with the heads {script.get_heads()}",
            "Merge what has branched.",
        )
    return script, [Step(each.revision, getattr(each.module, "phase", None), each.doc) for each in revisions]


def _environment(script, function, **options):
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    return EnvironmentContext(Config(), script, fn=function, **options)


class _session:
    """A connection; with ``exclusive`` it holds the lock of the one runner, which ends with it, come what may."""

    def __init__(self, url, options: Options, exclusive: bool):
        import sqlalchemy

        settings = " ".join(f"-c {name}={value}" for name, value in _limits(options).items())
        arguments = {"options": settings, "connect_timeout": 5, "application_name": "alembic"}
        self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=arguments)
        self._options, self._exclusive = options, exclusive

    def __enter__(self):
        from sqlalchemy.exc import DBAPIError

        try:
            self._connection = self._engine.connect()
        except DBAPIError as error:
            raise _failure(error, []) from None
        try:
            if self._exclusive:
                self._lock()
        except BaseException:
            self._connection.close()
            raise
        return self._connection

    def __exit__(self, *_error):
        self._connection.close()

    def _lock(self) -> None:
        deadline = time.monotonic() + self._options.lock_wait
        while True:
            got = self._connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})").scalar()
            self._connection.commit()
            if got:
                return
            if time.monotonic() > deadline:
                raise MigrationError(
                    SOMEBODY_ELSE, f"it still runs after {self._options.lock_wait:g} s", "Try again later."
                )
            time.sleep(0.5)


def _current(connection, options: Options) -> str | None:
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": options.version_table})
    current = context.get_current_revision()
    connection.commit()
    return current


class _Patience:
    """What a run has lost to others, over all its migrations."""

    def __init__(self, options: Options):
        self.options, self._lost = options, 0.0

    def pause(self, connection, attempt: int, seconds: float) -> float | None:
        """Seconds until the next try, None when there is to be none.

        :param seconds: what the failed try took. Only waiting counts of it: a backfill works for hours.
        """
        limit = connection.exec_driver_sql("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'").scalar()
        connection.rollback()
        pause = min(LONGEST_PAUSE, 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
        self._lost += min(seconds, float(limit) / 1000) + pause
        return None if attempt >= self.options.retries or self._lost > self.options.retry_timeout else pause


def _contracted(connection, options: Options) -> str | None:
    comment = f"SELECT obj_description(to_regclass('\"{options.version_table}\"'), 'pg_class')"
    text = connection.exec_driver_sql(comment).scalar() or ""
    connection.commit()
    return text.removeprefix(CONTRACTED) if text.startswith(CONTRACTED) else None


def _remember(script, options: Options):
    """A callback that writes down, in the transaction of a migration, the newest contract migration that then counts.

    The revision alone would not tell an older release whether what came after it took anything away.
    """

    def applied(ctx, step, **_more):
        if getattr(step.up_revision.module, "phase", None) != CONTRACT:
            return
        revision = step.up_revision if step.is_upgrade else script.get_revision(step.up_revision.down_revision)
        while revision and getattr(revision.module, "phase", None) != CONTRACT:
            revision = script.get_revision(revision.down_revision) if revision.down_revision else None
        comment = f"'{CONTRACTED}{revision.revision}'" if revision else "NULL"
        ctx.execute(f'COMMENT ON TABLE "{options.version_table}" IS {comment}')

    return applied


def _apply(connection, script, patience: _Patience, done: list[Step], step: Step, down: bool = False) -> int:
    """Apply one migration, again and again while others hold what it needs; return how often it was tried again.

    The timeout stays as it is: waiting longer would only hold up more of them.
    """
    from sqlalchemy.exc import DBAPIError

    attempt = 0
    while True:
        began = time.monotonic()
        try:
            _run(connection, script, patience.options, step, down)
            return attempt
        except DBAPIError as error:
            if connection.closed or connection.invalidated or _code(error) not in CONTENTION:
                raise _failure(error, done, step) from None
            connection.rollback()
            pause = patience.pause(connection, attempt, time.monotonic() - began)
            attempt += 1
            if pause is None:
                raise _failure(error, done, step, tries=attempt) from None
        sys.stderr.write(f"{step.revision}: somebody holds what it needs; again in {pause:.1f} s\n")
        time.sleep(pause)


def _run(connection, script, options: Options, step: Step, down: bool) -> None:
    def revisions(seen, _context):
        if down:
            return script._downgrade_revs(script.get_revision(step.revision).down_revision or "base", seen)
        return script._upgrade_revs(step.revision, seen)

    connection.exec_driver_sql("RESET ALL")  # to what the connection began with
    connection.commit()  # within a transaction of ours Alembic would leave the commit to us
    with _environment(script, revisions) as env:
        env.configure(
            connection=connection,
            transaction_per_migration=True,
            version_table=options.version_table,
            on_version_apply=_remember(script, options),
        )
        with env.begin_transaction():
            env.run_migrations()


def _code(error) -> str:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""


def _failure(error, done: list[Step], step: Step | None = None, tries: int = 0) -> MigrationError:
    found = " ".join(str(error.orig).split())
    what = f"migration {step.revision} ({step.title}) to succeed" if step else "the database to accept us"
    todo = "Mend that and run again: it goes on where it stopped." if step else "See whether it runs and who we are."
    if tries:
        found = f"in {tries} {'try' if tries == 1 else 'tries'}: {found}"
        todo = "End the long transaction that holds the table (see pg_stat_activity), or run again when it is over."
    return MigrationError(what, found, todo, applied=[each.as_dict() for each in done])


def answer(database: str, options: dict, revision: str, phase: str, check: bool) -> dict:
    """Upgrade as :func:`upgrade` does, with everything in JSON's types; a failure is an answer under ``error``."""
    try:
        return upgrade(url_from(database), Options(**options), revision, phase, check)
    except MigrationError as error:
        return {"error": error.details}
    except ImportError as error:
        missing = {"expected": "Alembic, SQLAlchemy and a driver in that Python", "found": str(error)}
        return {"error": {**missing, "todo": "Name the application's virtual environment."}}
