"""What in a migration's SQL would hold others up, or break the version before: one name for each kind.

`squawk` knows most of it; what needs the phase, or several statements at once, is judged here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

# Of squawk's rules these forbid what may be done once the version before is gone.
CONTRACT_ONLY = {f"ban-drop-{what}" for what in ("column", "table", "function", "not-null", "constraint")}
# These are about style, or about what the runner sees to; the rest of squawk's rules count.
NOT_ASKED = (
    "prefer-bigint-over-int",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "require-timeout-settings",
)
# The lock that a statement takes on a table that is there: what conflicts with reading or writing.
STRONG = re.compile(
    r"^(?:ALTER TABLE (?:ONLY )?(?:IF EXISTS )?(?P<alter>\S+)"
    r"|DROP TABLE (?:IF EXISTS )?(?P<table>\S+)|TRUNCATE (?:TABLE )?(?P<truncate>\S+)"
    r"|CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER .*? ON (?P<trigger>\S+)|DROP TRIGGER .*? ON (?P<drop>\S+)"
    r"|LOCK (?:TABLE )?(?P<lock>\S+)|(?:CREATE|DROP) (?:UNIQUE )?INDEX (?!CONCURRENTLY)(?:.*? ON )?(?P<index>\S+)"
    r"|REINDEX (?!.*CONCURRENTLY)\S+ (?P<reindex>\S+)|CLUSTER (?P<cluster>\S+)|VACUUM FULL (?P<vacuum>\S+))",
    re.IGNORECASE,
)
WEAK = re.compile(r"^ALTER TABLE \S+ (VALIDATE CONSTRAINT|ATTACH PARTITION|SET STATISTICS)", re.IGNORECASE)
CREATED = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\S+)", re.IGNORECASE)
REFERENCED = re.compile(r"\bREFERENCES (\w+)", re.IGNORECASE)
DATA = re.compile(r"^(UPDATE|DELETE FROM|INSERT INTO) (?!alembic_version)(\S+)", re.IGNORECASE)
IN_BATCHES = re.compile(r"\bWHERE\b.*\bid > ", re.IGNORECASE)
RUNNERS_OWN = re.compile(r"^(SET|RESET|SELECT|BEGIN|COMMIT)\b|alembic_version", re.IGNORECASE)
# What rewrites or empties a table, or fills a column for every row, under the strongest lock.
REWRITES = re.compile(
    r"^(VACUUM FULL|CLUSTER|TRUNCATE|REFRESH MATERIALIZED VIEW(?! CONCURRENTLY))\b"
    r"|\bADD (COLUMN )?\S+ (big|small)?serial\b",
    re.IGNORECASE,
)


def statements(sql: str) -> list[str]:
    """The statements on one line each, without comments; a body in dollars is one with its statement."""
    sql = re.sub(r"--[^\n]*", "", sql)
    parts = re.split(r"(\$\w*\$.*?\$\w*\$)|;", sql, flags=re.DOTALL)
    found, current = [], ""
    for part in parts:
        if part is None:
            found.append(current)
            current = ""
        else:
            current += part
    return [text for each in [*found, current] if (text := " ".join(each.split()))]


def transactions(sql: str) -> list[list[str]]:
    """The statements by transaction; one outside of any is one of its own."""
    found: list[list[str]] = []
    inside = False
    for statement in statements(sql):
        word = statement.upper()
        if word in ("BEGIN", "COMMIT"):
            inside = word == "BEGIN"
            if inside:
                found.append([])
        elif inside:
            found[-1].append(statement)
        else:
            found.append([statement])
    return [each for each in found if each]


def locked(transaction: list[str]) -> list[str]:
    """Tables that were there before and that the transaction locks against reading or writing, in its order."""
    made, found = set(), []
    for statement in transaction:
        if created := CREATED.match(statement):
            made.add(created[1])
        strong = STRONG.match(statement)
        tables = REFERENCED.findall(statement)
        if strong and not WEAK.match(statement):
            tables.insert(0, next(name for name in strong.groups() if name))
        found += [name for name in dict.fromkeys(tables) if name not in made | set(found) | {"alembic_version"}]
    return found


def own_problems(sql: str, phase: str | None) -> set[str]:
    """What squawk cannot see."""
    found = set()
    if phase not in ("expand", "contract"):
        found.add("no-phase")
    told = statements(sql)
    timeouts = [statement for statement in told if re.match(r"SET lock_timeout = '[1-9]", statement, re.IGNORECASE)]
    if not timeouts:
        found.add("no-lock-timeout")
    for transaction in transactions(sql):
        together = [statement for statement in transaction if not RUNNERS_OWN.search(statement)]
        if len(locked(together)) > 1:
            found.add("several-tables-in-one-transaction")
        locks = [n for n, statement in enumerate(together) if locked([statement])]
        if locks and any(DATA.match(statement) for statement in together[locks[0] :]):
            found.add("data-under-a-lock")
        if locks and any(WEAK.match(statement) for statement in together[locks[0] :]):
            found.add("validation-under-a-lock")
    for statement in told:
        if DATA.match(statement) and not IN_BATCHES.search(statement):
            found.add("data-not-in-batches")
        if REWRITES.search(statement):
            found.add("rewrites-a-table")
    alone = [statement for statement in told if "CONCURRENTLY" in statement.upper()]
    others = [statement for statement in told if not RUNNERS_OWN.search(statement) and statement not in alone]
    if alone and others:
        found.add("concurrent-index-not-alone")
    if any(statement.upper().startswith("CREATE") for statement in alone) and not any(
        statement.upper().startswith("DROP INDEX CONCURRENTLY IF EXISTS") for statement in alone
    ):
        found.add("half-built-index-left")
    return found


def squawk_problems(sql: str) -> set[str]:
    """The names of squawk's rules that the SQL breaks."""
    command = [str(Path(sys.executable).with_name("squawk")), "--reporter=json", "--pg-version=15.0"]
    command += [f"--exclude={rule}" for rule in NOT_ASKED]
    done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=30)
    assert done.returncode in (0, 1), done.stderr
    return {each["rule_name"] for each in json.loads(done.stdout or "[]")}


def problems(sql: str, phase: str | None) -> set[str]:
    """What is wrong with one migration.

    :param sql: as the runner's preview writes it.
    """
    found = squawk_problems(sql)
    if phase == "contract":
        found -= CONTRACT_ONLY
    return found | own_problems(sql, phase)
