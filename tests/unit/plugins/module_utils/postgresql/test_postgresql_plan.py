"""What a run decides, and the file that it writes."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import files, plan
from hypothesis import given
from hypothesis import strategies as st

from lab.aws import catalogue

ROWS = catalogue.pg_settings(17)
CATALOGUE = {
    name: row | {"name": name, "setting": row["boot_val"] or "", "source": "default", "pending_restart": False}
    for name, row in ROWS.items()
}


def decide(definition, text="", catalogue=CATALOGUE, others=(), unloaded=False):
    wanted = plan.desired(definition, catalogue, "17")
    texts, strange = files.parse(text)
    return plan.plan(wanted, plan.stored(texts, catalogue), strange, catalogue, list(others), unloaded)


def running(**settings):
    """The catalogue of a server that was started with these values."""
    own = {
        name: CATALOGUE[name] | {"setting": value, "source": "configuration file"} for name, value in settings.items()
    }
    return CATALOGUE | own


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "work_mem": st.integers(64, 10**6).map(lambda number: f"{number}kB"),
            "jit": st.booleans(),
            "wal_compression": st.sampled_from([True, False, "lz4", "PGLZ"]),
            "checkpoint_completion_target": st.floats(0, 1),
            "log_line_prefix": st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])),
            "log_destination": st.lists(st.sampled_from(["stderr", "csvlog", "jsonlog"]), min_size=1),
            "autovacuum_vacuum_cost_delay": st.floats(0, 100).map(lambda number: f"{number}ms"),
        },
    )
)
def test_what_was_written_needs_nothing_more(definition):
    first = decide(definition)
    assert first.write == bool(definition)
    again = decide(definition, files.render(first.settings))
    assert not again.changes
    assert not again.write
    assert not again.reload


@pytest.mark.parametrize("text", ["it's", "'", "''", "\\", "\\\\'", "a\\tb", "# no comment", " ", "é\x85"])
def test_texts_are_quoted(text):
    assert files.parse(files.render({"log_line_prefix": text})) == ({"log_line_prefix": text}, [])


def test_quotes_and_backslashes_are_doubled_as_postgresql_reads_them():
    assert files.render({"a": "it's \\ 5"}).endswith("a = 'it''s \\\\ 5'\n")


def test_the_same_value_in_another_form_is_no_change():
    text = "WORK_MEM = 4096kB\njit = 'no' # why\ncheckpoint_completion_target 0.90\nmax_wal_size=1024\n"
    text += "ssl_min_protocol_version = 'tlsv1.2'\n"
    definition = {
        "work_mem": "4MB",
        "jit": False,
        "checkpoint_completion_target": 0.9,
        "max_wal_size": "1GB",
        "ssl_min_protocol_version": "TLSv1.2",
    }
    assert not decide(definition, text).write


def test_changes_and_what_waits_are_told():
    decided = decide(
        {"shared_buffers": "1GB", "work_mem": "8MB"}, "work_mem = '4MB'\njit = 'off'\n", running(shared_buffers="16384")
    )
    assert decided.changes == [
        {"name": "jit", "before": "off", "after": None},
        {"name": "shared_buffers", "before": None, "after": "1GB"},
        {"name": "work_mem", "before": "4MB", "after": "8MB"},
    ]
    assert (decided.write, decided.reload) == (True, True)
    assert decided.pending == [
        {
            "name": "shared_buffers",
            "running": "16384",
            "stored": "131072",
            "reason": "PostgreSQL takes it only when it starts.",
        }
    ]


def test_a_removed_setting_waits_for_what_other_files_say():
    text, catalogue = "max_connections = '90'\n", running(max_connections="90")
    others = [{"name": "max_connections", "setting": "120"}]
    assert [each["stored"] for each in decide({}, text, catalogue).pending] == ["100"]
    assert [each["stored"] for each in decide({}, text, catalogue, others).pending] == ["120"]
    assert not decide({}, text, running(max_connections="100")).pending


def test_what_the_server_works_out_itself_does_not_wait():
    worked_out = {"wal_buffers": CATALOGUE["wal_buffers"] | {"setting": "512", "source": "override"}}
    assert not decide({"wal_buffers": -1}, "", CATALOGUE | worked_out).pending
    assert decide({"wal_buffers": -1}, "", running(wal_buffers="512")).pending
    assert decide({"wal_buffers": "8MB"}, "", CATALOGUE | worked_out).pending


def test_the_servers_flag_counts_only_with_a_difference():
    flagged = CATALOGUE | {"max_connections": CATALOGUE["max_connections"] | {"pending_restart": True}}
    assert not decide({}, "", flagged).pending
    assert decide({}, "", flagged, [{"name": "max_connections", "setting": "7"}]).pending[0]["stored"] == "7"


def test_a_file_that_the_server_has_not_read_is_loaded():
    decided = decide({"work_mem": "4MB"}, "work_mem = '4MB'\n", unloaded=True)
    assert (decided.write, decided.reload) == (False, True)
    assert not decide({"work_mem": "4MB"}, "work_mem = '4MB'\n", {}, unloaded=True).reload


def test_lines_that_are_no_settings_are_replaced():
    assert decide({"work_mem": "4MB"}, "work_mem = '4MB'\nhm?\n").write
    assert files.parse("include 'x.conf'\ninclude_dir = y\n") == ({}, ["include 'x.conf'", "include_dir = y"])


def test_what_is_set_on_the_command_line_wins_and_is_refused():
    catalogue = CATALOGUE | {"jit": CATALOGUE["jit"] | {"setting": "on", "source": "command line"}}
    plan.require_last({"jit": True}, [], catalogue)
    with pytest.raises(Failure, match="jit from the server's command line"):
        plan.require_last({"jit": False}, [], catalogue)


def test_secrets_are_hidden():
    decided = decide({"primary_conninfo": "host=a"}, "ssl_passphrase_command = 'echo x'\n")
    assert [(each["before"], each["after"]) for each in decided.changes] == [
        (None, plan.HIDDEN),
        (plan.HIDDEN, None),
    ]
    assert plan.shown({"primary_conninfo": "host=a", "jit": "on"}) == f"jit = on\nprimary_conninfo = {plan.HIDDEN}\n"


def test_every_bad_entry_is_named():
    with pytest.raises(Failure) as caught:
        plan.desired({"work_mem": "1M", "jit": "x", "nothing": 1, "max_connections": 10}, CATALOGUE, "17")
    assert caught.value.details["invalid"].keys() == {"work_mem", "jit", "nothing"}


def test_the_file_of_a_candidate_takes_the_place_of_the_real_one(tmp_path):
    folder, scratch = tmp_path / "conf.d", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    main = tmp_path / "postgresql.conf"
    main.write_text("port = 5433\ninclude_dir = 'conf.d'\ninclude_if_exists 'extra.conf'\njit = on\n")
    for name in ("05-a.conf", "20-b.conf", ".30-c.conf", "40-d.txt"):
        (folder / name).write_text("")
    path = folder / "10-own.conf"
    copy = files.candidate(scratch, path, main, "work_mem = '5MB'\n")
    assert copy.read_text().splitlines() == [
        "port = 5433",
        f"include '{folder}/05-a.conf'",
        f"include '{scratch}/10-own.conf'",
        f"include '{folder}/20-b.conf'",
        f"include_if_exists '{tmp_path}/extra.conf'",
        "jit = on",
    ]
    follows = {
        entry: files.follows(path, main, files.place(path, main), *entry)
        for entry in [
            (str(folder / "05-a.conf"), 1),
            (str(folder / "20-b.conf"), 1),
            (str(main), 1),
            (str(main), 4),
            ("/data/postgresql.auto.conf", 3),
        ]
    }
    assert list(follows.values()) == [False, True, False, True, True]


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "10-own.conf"
    (tmp_path / ".10-own.conf.new").write_text("what a killed run left")
    files.write(path, "a = 'b'\n")
    assert path.read_text() == "a = 'b'\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
