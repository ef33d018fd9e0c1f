"""Does a restore drill catch what spoils a backup, and stay quiet when nothing does?

    python -m benchmarks.restore_drills                       three faults and one clean drill, a few minutes
    python -m benchmarks.restore_drills --faults all --clean 20 --rows 1000000

Runs `playbooks/restore_drill.yml` on a host of the lab with real PostgreSQL and pgBackRest: each fault is put in,
drilled, and taken out again. Clean drills restore the latest and points in time by turns, while something writes to the
database. Then `playbooks/restore.yml` replaces the cluster itself, and the checksum of all rows must be what it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import support
from benchmarks.support import BenchmarkError, Figure, say
from lab import settings

HOST = "drill-host"
QUICK = ("wal-missing-in-the-middle", "index-page-flipped", "archive-drops-silently")

# What a fault's script may use: $R is the repository, $D the live data, $C a file of settings that is the fault's own.
PRELUDE = r"""
set -eu
cd /
R=/var/lib/pgbackrest
V=$(ls /etc/postgresql)
D=/var/lib/postgresql/$V/main
C=/etc/postgresql/$V/main/conf.d/99-fault.conf
as() { runuser -u postgres -- "$@"; }
sql() { as psql -XAtq -d shop -c "$1"; }
br() { as pgbackrest --stanza=main "$@"; }
wal() { ls $R/archive/main/*/*/ | grep -E '^[0-9A-F]{24}-' | sort; }
object() { find $R/archive/main -name "$(wal | tail -n "$1" | head -n 1)"; }
label() { ls $R/backup/main | grep F | tail -n 1; }
largest() { find $R/backup/main/$(label) -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2; }
reload() { as psql -XAtqc 'SELECT pg_reload_conf()' > /dev/null; sleep 0.5; }
archive_with() { echo "archive_command = '$1'" > $C; reload; }
# $1 segments are written and archived, or believed to be.
churn() {
  for n in $(seq "$1"); do
    last=$(as psql -XAtq -d shop -c "INSERT INTO noise SELECT g, md5(random()::text) FROM generate_series(1, 2000) g" \
      -c "SELECT restore_proof.beat()" -c "SELECT pg_walfile_name(pg_switch_wal())" | tail -n 1)
  done
  for n in $(seq 120); do
    test "$(sql "SELECT last_archived_wal >= '$last' FROM pg_stat_archiver")" != t || return 0
    sleep 0.25
  done
  echo "nothing was archived"; exit 1
}
flip() { python3 -c "
import sys
with open(sys.argv[1], 'r+b') as file:
    file.seek(int(sys.argv[2])); old = file.read(int(sys.argv[3])); file.seek(int(sys.argv[2]))
    file.write(bytes(255 - each for each in old))" "$@"; }
file_of() { echo "$D/$(sql "SELECT pg_relation_filepath('$1')")"; }
"""
SET_UP = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get install -qq -y --no-install-recommends postgresql python3-psycopg2 acl pgbackrest > /dev/null
V=$(ls /etc/postgresql)
cat > /etc/pgbackrest.conf <<X
[global]
repo1-path=/var/lib/pgbackrest
repo1-retention-full=2
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=benchmark
start-fast=y
compress-type=lz4
log-level-console=warn
log-level-file=off
[main]
pg1-path=/var/lib/postgresql/$V/main
[other]
pg1-path=/var/lib/postgresql/$V/other
X
cat > /etc/postgresql/$V/main/conf.d/20-archive.conf <<X
archive_mode = on
archive_command = 'pgbackrest --stanza=main archive-push %p'
archive_timeout = 60
X
systemctl restart postgresql@$V-main
cd /
runuser -u postgres -- createdb shop
runuser -u postgres -- createdb extra
runuser -u postgres -- psql -Xq shop <<X
CREATE TABLE million (id bigint PRIMARY KEY, x text NOT NULL);
INSERT INTO million SELECT g, md5(g::text) FROM generate_series(1, ROWS) AS g;
CREATE TABLE victim (id bigint PRIMARY KEY, x text NOT NULL);
INSERT INTO victim SELECT g, md5(g::text) FROM generate_series(1, 5000) AS g;
CREATE TABLE noise (id bigint, x text);
CREATE TABLE alembic_version (version_num text PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0003');
VACUUM FREEZE ANALYZE;
CHECKPOINT;
X
runuser -u postgres -- pgbackrest --stanza=main stanza-create
pg_createcluster $V other --port=5440 > /dev/null
pg_ctlcluster $V other start
runuser -u postgres -- createdb -p 5440 shop
pg_ctlcluster $V other stop
runuser -u postgres -- pgbackrest --stanza=other --no-online stanza-create
runuser -u postgres -- pgbackrest --stanza=other --no-online --type=full backup
systemd-run --quiet --unit=drill-load --property=User=postgres --property=Restart=always \
  sh -c 'echo "INSERT INTO noise VALUES (1, md5(random()::text)) \\\\watch 0.5" | psql -XAtq -d shop > /dev/null'
"""


@dataclass
class Fault:
    """One way to spoil a backup.

    inject, mend: shell scripts on the host; the repository and pgBackRest's configuration are put back in any case.
    variables: what the drill is given. checks: of which one must fail. again: a new backup is needed after it.
    """

    name: str
    inject: str
    checks: set[str]
    variables: dict = field(default_factory=dict)
    mend: str = ""
    again: bool = False


NO_FAULT_FILE = "rm -f $C; reload"
FAULTS = (
    Fault("wal-missing-in-the-middle", "churn 6; rm $(object 4)", {"archive"}),
    Fault("wal-missing-at-the-end", "churn 3; rm $(object 1)", {"archive"}),
    Fault("wal-truncated", "churn 4; truncate --size=50% $(object 3)", {"archive", "restore"}),
    Fault("wal-flipped", "churn 4; flip $(object 3) 4000 40", {"archive", "restore"}),
    Fault(
        "wal-removed-since-the-backup",
        "br backup --type=full; churn 4; for n in 1 2 3 4; do rm $(object 1); done",
        {"archive", "rpo"},
    ),
    Fault(
        "archive-drops-silently",
        "archive_with /bin/true; churn 2; rm $C; reload; churn 2",
        {"archive", "restore"},
        again=True,
    ),
    Fault("archive-still-drops", "archive_with /bin/true; churn 2", {"archive"}, mend=NO_FAULT_FILE, again=True),
    Fault(
        "archive-stands-still",
        "archive_with /bin/false; sleep 25",
        {"rpo"},
        variables={"restore_drill_rpo": 20},
        mend=NO_FAULT_FILE,
    ),
    Fault(
        "heap-page-flipped",
        "F=$(file_of victim); sql CHECKPOINT; flip $F 28 60; br backup --type=full",
        {"amcheck"},
        mend="flip $(file_of victim) 28 60",
        again=True,
    ),
    Fault(
        "index-page-flipped",
        "F=$(file_of victim_pkey); sql CHECKPOINT; flip $F 8220 60; br backup --type=full",
        {"amcheck"},
        mend="flip $(file_of victim_pkey) 8220 60",
        again=True,
    ),
    Fault(
        "row-flipped-in-no-index",
        "F=$(file_of million); sql CHECKPOINT; flip $F 8180 4; br backup --type=full",
        {"tables"},
        mend="flip $(file_of million) 8180 4",
        again=True,
    ),
    Fault(
        "row-removed",
        "sql 'DELETE FROM million WHERE id = 77'; churn 2",
        {"tables"},
        mend="sql \"INSERT INTO million VALUES (77, md5('77'))\"",
    ),
    Fault(
        "canary-changed",
        "sql 'UPDATE restore_proof.beats SET payload = reverse(payload) WHERE beat = 5'; churn 2",
        {"canaries"},
        mend="sql 'UPDATE restore_proof.beats SET payload = reverse(payload) WHERE beat = 5'",
    ),
    Fault(
        "canary-removed",
        "sql 'CREATE TABLE kept AS SELECT * FROM restore_proof.beats WHERE beat = 6'; "
        "sql 'DELETE FROM restore_proof.beats WHERE beat = 6'; churn 2",
        {"canaries"},
        mend="sql 'INSERT INTO restore_proof.beats SELECT * FROM kept'; sql 'DROP TABLE kept'",
    ),
    Fault("object-truncated", "truncate --size=50% $(largest)", {"restore"}),
    Fault("object-flipped", "flip $(largest) 5000 64", {"restore"}),
    Fault("object-missing", "rm $(largest)", {"restore"}),
    Fault("backup-missing", "rm -r $R/backup/main/$(label)", {"restore"}),
    Fault(
        "manifest-corrupted",
        "for F in $R/backup/main/$(label)/backup.manifest*; do flip $F 2000 100; done",
        {"restore"},
    ),
    Fault("wrong-key", "sed -i s/cipher-pass=.*/cipher-pass=wrong/ /etc/pgbackrest.conf", {"restore"}),
    Fault("wrong-stanza", "true", {"cluster"}, variables={"pgbackrest_stanza": "other"}),
    Fault("unknown-stanza", "true", {"restore"}, variables={"pgbackrest_stanza": "nobody"}),
    Fault("repository-missing", "mv $R $R.away", {"restore"}, mend="rm -rf $R; mv $R.away $R"),
    Fault(
        "repository-not-readable",
        "chown root:root $R; chmod 0700 $R",
        {"restore"},
        mend="chown postgres:postgres $R; chmod 0750 $R",
    ),
    Fault(
        "database-left-out",
        "printf '[global:restore]\\ndb-include=shop\\n' >> /etc/pgbackrest.conf",
        {"amcheck", "databases"},
    ),
    Fault("wrong-schema", "churn 1", {"alembic"}, variables={"restore_drill_alembic_head": "0004"}),
    Fault(
        "heartbeat-stopped",
        "systemctl stop database-heartbeat; sleep 20",
        {"heartbeat"},
        mend="systemctl start database-heartbeat",
    ),
    Fault("target-too-early", "date +%s > /run/early; sleep 25; date +%s > /run/late; sleep 1; churn 1", {"target"}),
    Fault("target-too-late", "date +%s > /run/late; sleep 25; date +%s > /run/early; sleep 3; churn 1", {"target"}),
    Fault(
        "disk-full",
        "mkdir -p /mnt/small; mount -t tmpfs -o size=30m none /mnt/small; chmod 0777 /mnt/small",
        {"restore"},
        variables={"restore_drill_directory": "/mnt/small/drill"},
        mend="umount /mnt/small",
    ),
    Fault("live-directory", "true", {"restore"}, variables={"restore_drill_directory": "/var/lib/postgresql"}),
    Fault("live-port", "true", {"restore"}, variables={"restore_drill_port": 5432}),
)
EARLY_AND_LATE = ("target-too-early", "target-too-late")


@dataclass
class Drill:
    """What one run of the playbook came to."""

    status: int
    report: dict
    said: str

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [each["check"] for each in self.report.get("failures", [])]


class Bench:
    """The host, what is done on it, and the drills."""

    def __init__(self, rows: int):
        self.rows = rows
        self.address = ""
        self.inventory = support.path("drill-host.json")

    def up(self) -> None:
        """Have the host with PostgreSQL, pgBackRest, rows and one backup."""
        command = [*support.LAB, "host", "up", HOST, "--distribution", "bookworm"]
        done = subprocess.run(command, cwd=settings.ROOT, capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(done.stderr)
        self.address = done.stdout.split()[-1]
        variables = {
            "ansible_user": "root",
            "ansible_host": self.address,
            "ansible_ssh_private_key_file": str(settings.SSH_KEY),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={settings.KNOWN_HOSTS}",
            "ansible_python_interpreter": "/usr/bin/python3",
            "database_backup_provider": "posix_provider",
            "restore_drill_database": "shop",
            "restore_drill_tables": [{"name": "public.million"}],
            "restore_drill_interval": 2,
            "restore_drill_timeout": 120,
        }
        inventory = {"all": {"children": {"database": {"hosts": {HOST: variables}}}}}
        self.inventory.write_text(json.dumps(inventory))
        if not self.shell("ls /var/lib/drill-ready 2>/dev/null || true", prelude="").strip():
            say("configure the host")
            self.shell(SET_UP.replace("ROWS", str(self.rows)), prelude="set -eu")
            self.play("heartbeat")
            self.shell("touch /var/lib/drill-ready", prelude="")
        self.backup()

    def down(self) -> None:
        """Remove the host."""
        subprocess.run([*support.LAB, "host", "down", HOST], cwd=settings.ROOT, capture_output=True)

    def backup(self) -> None:
        """Record what it must hold, take a full backup, and let it be archived."""
        self.play("record")
        self.shell("br backup --type=full; churn 2")

    def shell(self, script: str, prelude: str = PRELUDE) -> str:
        """Run a script on the host as root; raise BenchmarkError with what it says when it fails."""
        command = ["ssh", "-i", str(settings.SSH_KEY), "-o", f"UserKnownHostsFile={settings.KNOWN_HOSTS}"]
        done = subprocess.run(
            [*command, f"root@{self.address}", "bash -s"],
            input=f"{prelude}\n{script}\n",
            capture_output=True,
            text=True,
            timeout=900,
        )
        if done.returncode:
            raise BenchmarkError(f"{textwrap.shorten(script, 200)}: {done.stdout[-500:]} {done.stderr[-1500:]}")
        return done.stdout

    def play(self, playbook: str, variables: dict | None = None) -> subprocess.CompletedProcess:
        """Run a playbook against the host; one of the role's entry points when it has no such playbook."""
        path = settings.ROOT / "playbooks" / f"{playbook}.yml"
        extra = dict(variables or {})
        if not path.exists():
            path, extra["entry_point"] = settings.ROOT / "benchmarks/playbooks/restore_drill.yml", playbook
        command = [settings.ansible("ansible-playbook"), "-i", str(self.inventory), str(path), "-e", json.dumps(extra)]
        roles = str(settings.ROOT / "benchmarks" / "roles")
        environment = {**os.environ, **settings.environment(), "ANSIBLE_ROLES_PATH": roles}
        done = subprocess.run(command, cwd=settings.ROOT, env=environment, capture_output=True, text=True, timeout=600)
        with support.path("restore-drills.log").open("a") as log:
            log.write(f"{' '.join(map(shlex.quote, command))}\n{done.stdout}{done.stderr}\n")
        if done.returncode and playbook != "restore_drill":
            raise BenchmarkError(f"{playbook}: {done.stdout[-3000:]}")
        return done

    def drill(self, variables: dict | None = None) -> Drill:
        """Run the drill; its report is empty when it wrote none."""
        began = float(self.shell("date +%s"))
        done = self.play("restore_drill", variables)
        report = json.loads(self.shell("cat /var/lib/restore-drill/latest.json 2>/dev/null || echo '{}'"))
        copies = "/var/lib/postgresql/restore-drill /mnt/small/drill"
        left = self.shell(f"ls -d {copies} 2>/dev/null || true; systemctl is-active restore-drill || true").strip()
        if left not in ("inactive", "unknown"):
            raise BenchmarkError(f"the drill left behind: {left}")
        # An older report is that of another drill.
        return Drill(done.returncode, report if report.get("started", 0) >= began else {}, done.stdout)

    def fault(self, fault: Fault) -> Drill:
        """Put a fault in, drill, and take it out again."""
        self.shell("rm -rf $R.good; cp -a $R $R.good; cp -a /etc/pgbackrest.conf /etc/pgbackrest.conf.good")
        try:
            self.shell(fault.inject)
            return self.drill({**fault.variables, **(self.times() if fault.name in EARLY_AND_LATE else {})})
        finally:
            self.shell(fault.mend)
            # What was archived meanwhile is kept; nothing is archived while the repository is put back.
            self.shell(
                "rm -f $C; reload; cp -a /etc/pgbackrest.conf.good /etc/pgbackrest.conf; br stop; sleep 1; "
                "cp -an $R/archive/. $R.good/archive/; rm -rf $R; mv $R.good $R; br start"
            )
            if fault.again:
                self.backup()
            else:
                self.shell("churn 1")

    def times(self) -> dict:
        """The point that is asked for, and the one that the restore is given instead."""
        late, early = self.shell(
            "date -u -d @$(cat /run/late) '+%F %T+00'; date -u -d @$(cat /run/early) '+%F %T+00'"
        ).splitlines()
        return {"restore_drill_time": late, "pgbackrest_restore_time": early}

    def point(self) -> str:
        """A point in time that is in the archive."""
        return self.shell("sleep 1; date -u '+%F %T.%N+00' | cut -c 1-26,30-; sleep 1; churn 1").strip()

    def checksum(self) -> str:
        """Of all rows that never change."""
        return self.shell(
            "sql \"SELECT count(*) || ' ' || md5(string_agg(id || x, ',' ORDER BY id)) FROM million\""
        ).strip()


def measure(bench: Bench, faults: Sequence[Fault], clean: int) -> list[Figure]:
    """Clean drills, then faults, then the cluster's replacement; return the figures."""
    before = bench.checksum()
    alarms, times, ages = [], [], []
    for number in range(clean):
        variables = {"restore_drill_time": bench.point()} if number % 2 else {}
        done = bench.drill(variables)
        said = done.report.get("summary", done.said[-500:])
        say(f"clean {number + 1}: {said}; RPO {done.report.get('rpo')}, RTO {done.report.get('rto')}")
        if done.status or done.report.get("verdict") != "proven":
            alarms.append(done.report.get("summary"))
        else:
            times.append(done.report["rto"])
            ages += [done.report["rpo"]] if done.report["rpo"] is not None else []
    caught, missed = [], []
    for fault in faults:
        done = bench.fault(fault)
        good = done.status != 0 and done.report.get("verdict") == "failed" and bool(fault.checks & set(done.failed))
        (caught if good else missed).append(fault.name)
        found = done.report["failures"][0]["found"] if done.report.get("failures") else done.said[-800:]
        failed = ", ".join(done.failed) or "nothing"
        say(f"{'caught' if good else 'MISSED'} {fault.name}: {failed}: {textwrap.shorten(found, 160)}")
    last = bench.drill()
    say(f"clean after all faults: {last.report.get('summary')}")
    if last.status:
        alarms.append(last.report.get("summary"))
    bench.play("restore", {"restore_confirm": f"{HOST}/main"})
    after = bench.checksum()
    return [
        Figure("faults", len(faults)),
        Figure.equal("faults caught", len(caught), len(faults)),
        Figure("missed", ", ".join(missed) or "none"),
        Figure("clean drills", clean + 1),
        Figure.equal("false alarms", len(alarms), 0),
        Figure("rows compared before and after", int(before.split()[0])),
        Figure.equal("checksum after the restore into place", after, before),
        Figure("RPO of clean drills, median and most", _both(ages)),
        Figure("RTO of clean drills, median and most", _both(times)),
    ]


def _both(values: list[float]) -> str:
    return f"{support.percentile(values, 50):.1f} s, {max(values):.1f} s" if values else "-"


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(QUICK), help="names with commas, or all")
    parser.add_argument("--clean", type=int, default=1, help="clean drills")
    parser.add_argument("--rows", type=int, default=100_000, help="rows that never change")
    parser.add_argument("--keep", action="store_true", help="leave the host")
    options = parser.parse_args(arguments)
    known = {fault.name: fault for fault in FAULTS}
    names = list(known) if options.faults == "all" else [name for name in options.faults.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join(known)}")
    bench = Bench(options.rows)
    began = time.monotonic()
    try:
        bench.up()
        figures = measure(bench, [known[name] for name in names], options.clean)
    finally:
        if not options.keep:
            bench.down()
    figures.append(Figure("minutes", f"{(time.monotonic() - began) / 60:.1f}"))
    return support.show("Restore drills", figures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
