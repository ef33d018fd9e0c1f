# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down of a drill."""

from __future__ import annotations

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.database.report import cause, report

DRILL = {
    "host": "db-1",
    "cluster": "main",
    "database": "shop",
    "time": "",
    "started": "100.0",
    "ready": "107.26",
    "ended": "120.5",
    "recorded": True,
    "stopped": {"task": "", "result": {}},
    "before": {"last_proven": 40.0},
}
PROVEN = {"verdict": "proven", "failures": [], "reached": 99.0, "rpo": 1.0, "rows": 3, "bytes": 9, "summary": "proven"}


def test_a_proven_drill_tells_its_times_and_is_the_last_proven_one():
    found = report(PROVEN, DRILL)
    assert (found["rto"], found["seconds"], found["time"], found["last_proven"]) == (7.3, 20.5, "latest", 100.0)
    assert found["verdict"] == "proven" and found["rows"] == 3


def test_a_failed_proof_keeps_when_a_drill_was_proven_last():
    found = report({**PROVEN, "verdict": "failed"}, DRILL)
    assert (found["verdict"], found["last_proven"]) == ("failed", 40.0)
    assert report({**PROVEN, "verdict": "failed"}, {**DRILL, "before": {}})["last_proven"] is None


@pytest.mark.parametrize(("recorded", "check"), [(True, "restore"), (False, "live")])
def test_what_stopped_a_drill_is_its_failure(recorded, check):
    stopped = {"task": "Restore", "result": {"failed": True, "stderr": "no backup set found", "msg": "non-zero"}}
    found = report({}, {**DRILL, "stopped": stopped, "recorded": recorded, "ready": None})
    assert found["summary"] == "failed: Restore: no backup set found" and found["rto"] is None
    [failure] = found["failures"]
    assert (failure["check"], failure["found"]) == (check, "no backup set found")
    assert "'Restore'" in failure["expected"]


def test_of_a_loop_each_failed_item_is_told():
    items = [{"failed": True, "msg": "one"}, {"failed": False}, {"failed": True, "msg": "two"}]
    assert cause({"results": items, "msg": "all items"}) == "one; two"
    assert cause({"failed": True}) == "no message"
