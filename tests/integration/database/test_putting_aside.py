"""The shell of role database_restore that moves data directories, interrupted at each step."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = yaml.safe_load((ROOT / "roles/database_restore/vars/main.yml").read_text())
STEPS = ("mv", "install")


class Place:
    """A data directory, and what the role's scripts make of it."""

    def __init__(self, path: Path):
        self.path = path
        self.data, self.note = path / "main", path / "main.restoring"
        self.commands = path / "commands"
        self.commands.mkdir()
        self.works()
        self.write("live")

    def works(self, *broken: str) -> None:
        """Have all commands work but those. Without root nothing can be given to postgres."""
        install = '#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\n'
        for name in STEPS:
            script = "#!/bin/sh\nexit 1\n" if name in broken else install if name == "install" else None
            command = self.commands / name
            command.unlink(missing_ok=True)
            if script:
                command.write_text(script)
                command.chmod(0o755)

    def write(self, rows: str, recovered: bool = True) -> None:
        """Have a cluster with such rows in the place."""
        (self.data / "global").mkdir(parents=True, exist_ok=True)
        (self.data / "global/pg_control").touch()
        (self.data / "rows").write_text(rows)
        if not recovered:
            (self.data / "recovery.signal").touch()

    def run(self, name: str, *arguments: object) -> subprocess.CompletedProcess:
        command = ["/bin/sh", "-c", SCRIPTS[f"__database_restore_{name}"], "sh", *map(str, arguments)]
        environment = {**os.environ, "PATH": f"{self.commands}:{os.environ['PATH']}"}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def aside(self, old: str) -> subprocess.CompletedProcess:
        return self.run("aside", self.data, self.note, self.path / f"main.before-{old}")

    def back(self) -> subprocess.CompletedProcess:
        return self.run("back", self.data, self.note)

    def rows(self) -> dict[str, str]:
        """What lies where."""
        return {path.parent.name.split("-1")[0]: path.read_text() for path in self.path.glob("*/rows")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_old_data_goes_aside_and_comes_back(place: Place):
    assert place.aside("A").stdout == f"{place.path}/main.before-A\n"
    assert place.rows() == {"main.before-A": "live"}
    place.write("restored")
    assert place.back().returncode == 0
    assert place.rows() == {"main": "live", "main.failed": "restored"}
    assert not place.note.exists()


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_move_loses_nothing(place: Place, step: str):
    place.works(step)
    assert place.aside("A").returncode
    place.works()
    again = place.aside("B")
    assert again.returncode == 0, again.stderr
    [(old, rows)] = place.rows().items()
    assert (f"{place.path}/{old}\n", rows) == (again.stdout, "live")


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_move_is_taken_back(place: Place, step: str):
    place.works(step)
    assert place.aside("A").returncode
    place.works()
    assert place.back().returncode == 0
    assert place.rows() == {"main": "live"}
    assert not place.note.exists()


def test_going_back_is_resumed(place: Place):
    place.aside("A")
    shutil.rmtree(place.data)
    assert place.back().returncode == 0
    assert place.rows() == {"main": "live"}


def test_what_was_half_restored_is_kept_apart(place: Place):
    place.aside("A")
    place.write("half", recovered=False)
    assert place.aside("B").stdout == f"{place.path}/main.before-A\n"
    assert place.rows() == {"main.before-A": "live", "main.partial": "half"}


def test_what_was_live_since_is_the_old_data(place: Place):
    place.aside("A")
    place.write("days of work")
    assert place.aside("B").stdout == f"{place.path}/main.before-B\n"
    assert place.rows() == {"main.before-A": "live", "main.before-B": "days of work"}
    place.write("half", recovered=False)
    assert place.back().returncode == 0
    assert place.rows()["main"] == "days of work"


def test_mount_points_and_tablespaces_are_told(place: Place):
    assert place.run("fixed", place.data, place.note).stdout == ""
    assert "mount point" in place.run("fixed", "/proc", place.note).stdout
    (place.data / "pg_tblspc").mkdir()
    assert place.run("fixed", place.data, place.note).stdout == ""
    (place.data / "pg_tblspc/1").symlink_to("/srv")
    assert "has tablespaces" in place.run("fixed", place.data, place.note).stdout


def test_too_little_room_is_told(place: Place):
    (place.commands / "df").write_text("#!/bin/sh\necho Avail\necho 3\n")
    (place.commands / "df").chmod(0o755)
    assert "0 MiB free" in place.run("fixed", place.data, place.note).stdout
