"""What a listing says of what can be restored."""

from __future__ import annotations

import json

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.pgbackrest import continuity, info

WAL = continuity.Wal()


def listing(*names: str, histories: tuple[str, ...] = ()) -> dict:
    files = {f"{name[:16]}/{name}-{'a' * 40}.zst": {"type": "file", "time": 100 + n} for n, name in enumerate(names)}
    return {".": {"type": "path"}} | files | {f"{name}.history": {"type": "file"} for name in histories}


def names(first: int, last: int, timeline: int = 1) -> list[str]:
    return [WAL.name(timeline, number) for number in range(first, last + 1)]


def backup(start: str, stop: str, kind: str = "full", error: bool = False, stopped: int = 50) -> dict:
    return {
        "label": f"{start[-2:]}{kind[0].upper()}",
        "type": kind,
        "timestamp": {"start": stopped - 1, "stop": stopped},
        "info": {"size": 1},
        "archive": {"start": start, "stop": stop},
        "error": error,
        "database": {"id": 1, "repo-key": 1},
    }


def judge(files: dict, *backups: dict, timelines: list | None = None, claimed: str | None = None) -> dict:
    return continuity.judge(continuity.read_listing(files, WAL), timelines or [(1, 0)], list(backups), claimed, WAL)


FULL = backup(*names(2, 3))


@pytest.mark.parametrize("size", [1 << 20, 16 << 20, 1 << 30])
def test_names_and_numbers_are_each_others_inverse_beyond_a_log_file(size: int):
    wal = continuity.Wal(size)
    for number in (0, 1, 0x100000000 // size - 1, 0x100000000 // size, 12345678):
        assert wal.parse(wal.name(7, number)) == (7, number)
        assert wal.number(number * size) == number


def test_the_segment_after_the_last_of_a_log_file_begins_the_next():
    assert WAL.name(1, WAL.parse("0000000100000000000000FF")[1] + 1) == "000000010000000100000000"


@pytest.mark.parametrize("text", ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"])
def test_positions_keep_their_notation(text: str):
    assert continuity.format_lsn(continuity.parse_lsn(text)) == text


def test_the_archive_is_walked_once_however_many_backups_there_are(monkeypatch: pytest.MonkeyPatch):
    steps = []
    at = continuity.timeline_at
    monkeypatch.setattr(continuity, "timeline_at", lambda number, line: steps.append(number) or at(number, line))
    many = [backup(*names(2 + 10 * n, 3 + 10 * n), kind="diff" if n else "full") for n in range(20)]
    files = listing(*names(1, 999))
    judge(files, many[0])
    once = len(steps)
    steps.clear()
    found = judge(files, *many)
    assert [one["label"] for one in found["backups"]] == [one["label"] for one in many]
    assert found["restorable"]["backup"] == many[-1]["label"] and all(one["usable"] for one in found["backups"])
    assert len(steps) < once + 200


def test_a_backup_of_a_stopped_server_needs_no_wal():
    found = judge(listing(*names(1, 9)), {**FULL, "archive": {"start": None, "stop": None}})
    assert found["backups"][0]["usable"] and found["restorable"] is None and found["gaps"] == []


def test_all_wal_is_there():
    found = judge(listing(*names(1, 9)), FULL)
    assert found["gaps"] == []
    assert found["restorable"]["segment"] == WAL.name(1, 9)
    assert found["restorable"]["lsn"] == "0/A000000"


def test_a_gap_in_the_middle_ends_what_can_be_restored_whatever_comes_after():
    found = judge(listing(*names(1, 5), *names(8, 12)), FULL)
    assert found["restorable"]["segment"] == WAL.name(1, 5)
    assert found["gaps"] == [{"first": WAL.name(1, 6), "last": WAL.name(1, 7), "segments": 2}]


def test_a_backup_after_the_gap_mends_what_can_be_restored_and_the_gap_is_still_told():
    found = judge(listing(*names(1, 5), *names(8, 12)), FULL, backup(*names(9, 10), kind="diff"))
    assert found["restorable"]["segment"] == WAL.name(1, 12)
    assert len(found["gaps"]) == 1


def test_wal_before_the_oldest_backup_is_not_missed():
    assert judge(listing(*names(1, 1), *names(4, 9)), backup(*names(5, 6)))["gaps"] == []


def test_a_backup_whose_own_wal_is_incomplete_is_of_no_use():
    found = judge(listing(*names(1, 2), *names(4, 9)), FULL)
    assert [one["usable"] for one in found["backups"]] == [False]
    assert found["restorable"] is None


def test_a_backup_with_damaged_pages_is_of_no_use():
    assert judge(listing(*names(1, 9)), backup(*names(2, 3), error=True))["restorable"] is None


def test_what_the_server_takes_for_archived_is_missed_at_the_end():
    found = judge(listing(*names(1, 6)), FULL, claimed=WAL.name(1, 8))
    assert found["gaps"] == [{"first": WAL.name(1, 7), "last": WAL.name(1, 8), "segments": 2}]


def test_wal_is_followed_over_a_fork():
    """Timeline 2 leaves 1 within segment 5, of which both have a copy."""
    line = continuity.chain(2, continuity.parse_history("1\t0/5000100\treason\n"), WAL)
    assert line == [(1, 0), (2, 5)]
    found = judge(listing(*names(1, 5), *names(5, 8, timeline=2)), FULL, timelines=line)
    assert found["gaps"] == []
    assert found["restorable"]["segment"] == WAL.name(2, 8)
    without = judge(listing(*names(1, 5), *names(6, 8, timeline=2)), FULL, timelines=line)
    assert without["restorable"]["segment"] == WAL.name(1, 4)
    assert without["gaps"] == [{"first": WAL.name(2, 5), "last": WAL.name(2, 5), "segments": 1}]


def test_a_backup_of_a_line_that_was_left_does_not_lead_to_the_newest():
    line = [(1, 0), (2, 5)]
    late = backup(*names(6, 7), stopped=70)
    found = judge(listing(*names(1, 9), *names(5, 8, timeline=2)), FULL, late, timelines=line)
    assert found["restorable"]["backup"] == "02F"
    assert [one["usable"] for one in found["backups"]] == [True, True]


def test_two_contents_of_a_segment_are_told():
    files = listing(*names(1, 3)) | {f"x/{WAL.name(1, 2)}-{'b' * 40}.zst": {"type": "file", "time": 1}}
    assert continuity.read_listing(files, WAL)["duplicates"] == [WAL.name(1, 2)]


def test_labels_partial_segments_and_temporary_files_are_no_segments():
    name = WAL.name(1, 2)
    files = {f"x/{name}.00000028.backup": {}, f"x/{name}.partial-{'a' * 40}.zst": {}, f"x/{name}-{'a' * 40}.tmp.x": {}}
    assert not continuity.read_listing(files, WAL)["segments"]


def test_a_full_backup_counts_as_a_differential_one():
    backups = [{"usable": True, "type": "full", "stopped_at": 9}, {"usable": True, "type": "diff", "stopped_at": 7}]
    backups.append({"usable": False, "type": "incr", "stopped_at": 99})
    assert continuity.newest_backups(backups) == {"full": 9, "diff": 9, "incr": 9}


@pytest.mark.parametrize(
    ("archived", "claimed"),
    [
        (WAL.name(1, 3), WAL.name(1, 3)),
        ("", None),
        (f"{WAL.name(1, 3)}.00000028.backup", None),
        ("00000002.history", None),
    ],
)
def test_only_a_segment_is_a_claim(archived: str, claimed: str | None):
    found = continuity.read_server(f"f|16777216|{archived}\n")
    assert (found["standby"], found["claimed"], found["wal"].size) == (False, claimed, 16777216)


VERIFIED = """stanza: main
status: {status}
  archiveId: 17-1, total WAL checked: 6, total valid WAL: {valid}
    missing: 0, checksum invalid: 0, size invalid: 0, other: {other}
  backup: 20261127-064748F, status: valid, total files checked: 963, total valid files: 963
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""


def test_the_text_of_verify_is_read_because_its_status_says_nothing():
    assert continuity.parse_verify(VERIFIED.format(status="ok", valid=6, other=0)) == []
    told = continuity.parse_verify(VERIFIED.format(status="error", valid=5, other=1))
    assert len(told) == 2
    assert "17-1" in told[1]


def answers(files: dict, *backups: dict, code: int = 0) -> dict:
    about = {
        "name": "main",
        "repo": [{"key": 1, "status": {"code": code, "message": "m"}}],
        "db": [{"id": 1, "repo-key": 1, "system-id": 7}],
        "archive": [{"id": "17-1", "database": {"id": 1, "repo-key": 1}}],
        "backup": list(backups),
    }
    return {"info": [about], "repo-ls": files}


def run(found: dict, **params) -> dict:
    def execute(command: list[str]) -> str:
        if command[0] == "psql":
            raise ValueError("no server")
        return json.dumps(next(found[name] for name in found if name in command))

    defaults = {"stanza": "main", "repositories": None, "port": 5432, "verify": False}
    return info.run(defaults | params, execute, 110)


def test_the_module_tells_what_is_wrong_in_sentences():
    assert run(answers(listing(*names(1, 4)), FULL))["problems"] == []
    found = run(answers(listing(*names(1, 4), *names(6, 7)), FULL))
    assert found["age"] == 60
    [problem] = found["problems"]
    assert problem.startswith("repository 1: 1 WAL segments are missing, from 000000010000000000000005")


def test_the_module_tells_of_a_stanza_that_is_not_there():
    missing = {"name": "main", "repo": [], "status": {"message": "missing stanza path"}}
    assert run({"info": [missing]})["problems"] == ["repository 1: stanza main: missing stanza path"]
