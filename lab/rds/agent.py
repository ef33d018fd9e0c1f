"""Runs on the lab's RDS host as root: real PostgreSQL clusters behind HTTP. `POST /ACTION` with JSON arguments.

/srv/rds/instances/ID/{data,archive,instance.json}   a cluster, its archived log, where it listens
/srv/rds/snapshots/ID                                a physical copy, as pg_basebackup makes it
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path("/srv/rds")
SOCKETS = Path("/run/rds")
PORT = 8080
ADMINISTRATOR = "rdsadmin"
PATIENCE = 120
ARCHIVED_WITHIN = 5.0
HBA = f"""local all {ADMINISTRATOR} trust
local replication {ADMINISTRATOR} trust
host all {ADMINISTRATOR} all reject
host all all all scram-sha-256
"""
# What a superuser of RDS may; the extension's functions are in every database that is made from template1.
ROLES = """
CREATE ROLE rds_superuser NOLOGIN CREATEDB CREATEROLE;
GRANT pg_monitor, pg_signal_backend, pg_read_all_data TO rds_superuser WITH ADMIN OPTION;
CREATE DATABASE rdsadmin;
"""
AMCHECK = """
CREATE EXTENSION amcheck;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO rds_superuser;
"""
HEARTBEAT = """
CREATE TABLE heartbeat (at timestamptz NOT NULL);
INSERT INTO heartbeat VALUES (clock_timestamp());
"""
# Settings that the lab itself needs as they are, whatever a parameter group says.
OWN = (
    "archive_command", "archive_mode", "config_file", "data_directory", "external_pid_file", "hba_file", "ident_file",
    "listen_addresses", "logging_collector", "log_directory", "port", "restore_command", "ssl", "ssl_cert_file",
    "ssl_key_file", "unix_socket_directories", "wal_level",
)  # fmt: skip

_allocation = threading.Lock()


def create(instance, version, port, user, password, database=None, settings=None, **_others):
    """Make a cluster with a master user."""
    place = _allocate(instance, version, port)
    data = _data(instance)
    _as_postgres(
        _program(instance, "initdb"), "-D", data, "-U", ADMINISTRATOR, "-E", "UTF8", "--locale=C.UTF-8", "-k",
        "--wal-segsize=1", "--no-sync", "--no-instructions",
    )  # fmt: skip
    _configure(instance, settings or {})
    _start(instance)
    _sql(instance, ROLES, "postgres")
    _sql(instance, HEARTBEAT, "rdsadmin")
    for name in ("template1", "postgres"):
        _sql(instance, AMCHECK, name)
    _sql(
        instance,
        f"CREATE ROLE {_name(user)} LOGIN CREATEDB CREATEROLE PASSWORD {_text(password)} IN ROLE rds_superuser;"
        f"GRANT CREATE ON SCHEMA public TO {_name(user)};",
        "postgres",
    )
    if database:
        _sql(instance, f"CREATE DATABASE {_name(database)} OWNER {_name(user)}", "postgres")
    return place


def restore(instance, snapshot, version, port, settings=None, **_others):
    """Make a cluster from a snapshot."""
    place = _allocate(instance, version, port)
    _copy(ROOT / "snapshots" / snapshot, _data(instance))
    _configure(instance, settings or {})
    _start(instance)
    return place


def recover(instance, snapshot, source, to, version, port, settings=None, **_others):
    """Make a cluster as the source was at a time: a backup of it, and its archived log up to then."""
    place = _allocate(instance, version, port)
    data, archive = _data(instance), ROOT / "instances" / source / "archive"
    _copy(ROOT / "snapshots" / snapshot, data)
    _configure(
        instance,
        settings or {},
        restore_command=f"gunzip -c {archive}/%f.gz > %p",
        recovery_target_time=to,
        recovery_target_action="promote",
    )
    _as_postgres("touch", data / "recovery.signal")
    _start(instance)
    deadline = time.monotonic() + PATIENCE
    while _sql(instance, "SELECT pg_is_in_recovery()", "postgres") == "t":
        if time.monotonic() > deadline:
            raise RuntimeError("recovery did not end")
        time.sleep(0.1)
    _configure(instance, settings or {})
    return place


def snapshot(instance, snapshot):
    """Make a physical copy of a running cluster."""
    target = ROOT / "snapshots" / snapshot
    about = _about(instance)
    _as_postgres(
        _program(instance, "pg_basebackup"), "-D", target, "-h", SOCKETS / instance, "-p", about["port"], "-U",
        ADMINISTRATOR, "-c", "fast", "-X", "stream", "--no-sync",
    )  # fmt: skip
    return {}


def copy_snapshot(source, target):
    """Copy a snapshot."""
    _copy(ROOT / "snapshots" / source, ROOT / "snapshots" / target)
    return {}


def delete_snapshot(snapshot):
    """Delete a snapshot."""
    shutil.rmtree(ROOT / "snapshots" / snapshot, ignore_errors=True)
    return {}


def archive(instance):
    """Have all that is committed until now archived; return up to which time (seconds since 1970) that is."""
    beat = "UPDATE heartbeat SET at = clock_timestamp() RETURNING extract(epoch FROM at)"
    restorable = float(_sql(instance, beat, "rdsadmin").splitlines()[0])
    segment = _sql(instance, "SELECT pg_walfile_name(pg_switch_wal())", "rdsadmin")
    path = ROOT / "instances" / instance / "archive" / f"{segment}.gz"
    deadline = time.monotonic() + ARCHIVED_WITHIN
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{segment} is not archived")
        time.sleep(0.05)
    return {"restorable": restorable}


def configure(instance, settings):
    """Write a parameter group's values and reload; what needs a restart waits for one."""
    _configure(instance, settings)
    _control(instance, "reload")
    return {}


def restart(instance, settings=None):
    """Restart a cluster."""
    _configure(instance, settings or {})
    _control(instance, "restart", "-m", "fast", "-w", "-t", PATIENCE, "-l", _log(instance))
    return {}


def stop(instance):
    """Stop a cluster."""
    _control(instance, "stop", "-m", "fast", "-w", "-t", PATIENCE)
    return {}


def start(instance):
    """Start a cluster that was stopped."""
    _start(instance)
    return {}


def modify(instance, user, password):
    """Set the master user's password."""
    _sql(instance, f"ALTER ROLE {_name(user)} PASSWORD {_text(password)}", "postgres")
    return {}


def delete(instance, keep_archive=False):
    """Delete a cluster, and its archive unless its backups are kept."""
    if (_data(instance) / "postmaster.pid").exists():
        # What is deleted need not be stopped cleanly.
        subprocess.run([*_runuser(), _program(instance, "pg_ctl"), "-D", _data(instance), "stop", "-m", "immediate"])
    shutil.rmtree(_data(instance), ignore_errors=True)
    if keep_archive:
        (ROOT / "instances" / instance / "instance.json").unlink(missing_ok=True)
    else:
        shutil.rmtree(ROOT / "instances" / instance, ignore_errors=True)
    shutil.rmtree(SOCKETS / instance, ignore_errors=True)
    return {}


def reset():
    """Delete all clusters and snapshots."""
    for path in list(ROOT.glob("instances/*")):
        if (path / "instance.json").exists():
            delete(path.name)
        shutil.rmtree(path, ignore_errors=True)
    for path in list(ROOT.glob("snapshots/*")):
        shutil.rmtree(path)
    return {}


def versions():
    """Return which major versions there are."""
    return {"majors": sorted(path.parent.name for path in Path("/usr/lib/postgresql").glob("*/bin"))}


ACTIONS = {
    function.__name__: function
    for function in (
        create, restore, recover, snapshot, copy_snapshot, delete_snapshot, archive, configure, restart, stop, start,
        modify, delete, reset, versions,
    )
}  # fmt: skip


def _allocate(instance, version, port):
    """Give an instance an address and a port: the one it wants, on an address where that is free."""
    with _allocation:
        taken = {(about["address"], about["port"]) for about in map(json.loads, _descriptions())}
        there = _addresses()
        wanted = [(address, port) for address in there] + [(there[-1], port + number) for number in range(1, 1000)]
        address, port = next(one for one in wanted if one not in taken)
        directory = ROOT / "instances" / instance
        (directory / "archive").mkdir(parents=True)
        shutil.chown(directory, "postgres", "postgres")
        shutil.chown(directory / "archive", "postgres", "postgres")
        about = {"address": address, "port": port, "major": version.partition(".")[0]}
        (directory / "instance.json").write_text(json.dumps(about))
    return {"Address": address, "Port": port}


def _descriptions():
    return [path.read_text() for path in ROOT.glob("instances/*/instance.json")]


def _addresses():
    output = _run("ip", "-json", "-4", "address", "show", "scope", "global")
    own, *extra = [address["local"] for link in json.loads(output) for address in link["addr_info"]]
    return [*extra, own]


def _about(instance):
    return json.loads((ROOT / "instances" / instance / "instance.json").read_text())


def _data(instance):
    return ROOT / "instances" / instance / "data"


def _log(instance):
    return ROOT / "instances" / instance / "postgresql.log"


def _program(instance, name):
    return f"/usr/lib/postgresql/{_about(instance)['major']}/bin/{name}"


def _configure(instance, settings, **more):
    about, data = _about(instance), _data(instance)
    archive = ROOT / "instances" / instance / "archive"
    own = {
        "listen_addresses": about["address"],
        "port": about["port"],
        "unix_socket_directories": SOCKETS / instance,
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_command": f"gzip -1 < %p > {archive}/%f.part && mv {archive}/%f.part {archive}/%f.gz",
        "ssl": "on",
        "ssl_cert_file": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
        "ssl_key_file": "/etc/ssl/private/ssl-cert-snakeoil.key",
        "shared_buffers": "16MB",
        "max_connections": 50,
        "min_wal_size": "4MB",
        "max_wal_size": "64MB",
        **{name: value for name, value in settings.items() if "." not in name and name not in OWN},
        **more,
    }
    lines = [f"{name} = {_text(str(value))}\n" for name, value in own.items()]
    _write(data / "postgresql.conf", "".join(lines))
    _write(data / "postgresql.auto.conf", "")
    _write(data / "pg_hba.conf", HBA)


def _write(path, text):
    path.write_text(text)
    shutil.chown(path, "postgres", "postgres")


def _start(instance):
    SOCKETS.mkdir(mode=0o711, exist_ok=True)
    (SOCKETS / instance).mkdir(mode=0o700, exist_ok=True)
    shutil.chown(SOCKETS / instance, "postgres", "postgres")
    _control(instance, "start", "-w", "-t", PATIENCE, "-l", _log(instance))


def _answers(instance):
    try:
        return _sql(instance, "SELECT 1", "postgres") == "1"
    except RuntimeError:
        return False


def _control(instance, *arguments):
    try:
        _as_postgres(_program(instance, "pg_ctl"), "-D", _data(instance), *arguments)
    except RuntimeError as error:
        tail = _log(instance).read_text(errors="replace").splitlines()[-8:] if _log(instance).exists() else []
        raise RuntimeError("\n".join([str(error), *tail])) from error


def _copy(source, target):
    if not source.is_dir():
        raise RuntimeError(f"there is no {source}")
    _run("cp", "--archive", "--reflink=auto", str(source), str(target))


def _sql(instance, text, database):
    about = _about(instance)
    return _as_postgres(
        _program(instance, "psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", SOCKETS / instance, "-p", about["port"],
        "-U", ADMINISTRATOR, "-d", database, "-f", "-", stdin=text,
    ).strip()  # fmt: skip


def _name(text):
    return '"' + text.replace('"', '""') + '"'


def _text(text):
    return "'" + text.replace("'", "''") + "'"


def _runuser():
    return ["runuser", "-u", "postgres", "--"]


def _as_postgres(*command, stdin=None):
    return _run(*_runuser(), *map(str, command), stdin=stdin)


def _run(*command, stdin=None):
    # Into files, not pipes: a server that pg_ctl starts would hold a pipe open for ever.
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        done = subprocess.run(command, check=False, input=stdin, text=True, stdout=out, stderr=err, cwd="/")
        out.seek(0)
        err.seek(0)
        output, problem = out.read(), err.read()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:8])}: {problem.strip() or output.strip()}")
    return output


class Handler(BaseHTTPRequestHandler):
    """Answers one action a request."""

    def do_POST(self):
        """Run the action that the path names."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = 200
        try:
            answer = ACTIONS[self.path.strip("/")](**json.loads(body or b"{}"))
        except Exception as error:
            status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def main():
    """Start what was there, then serve."""
    for directory in (ROOT / "instances", ROOT / "snapshots"):
        directory.mkdir(parents=True, exist_ok=True)
    for directory in (ROOT, ROOT / "snapshots"):
        shutil.chown(directory, "postgres", "postgres")
    for path in ROOT.glob("instances/*/instance.json"):
        try:
            if not (path.parent / "data" / "postmaster.pid").exists() or not _answers(path.parent.name):
                _start(path.parent.name)
        except (OSError, RuntimeError) as error:
            print(error, file=sys.stderr)
    ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
