# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a restore drill, made of its proof, its times and what stopped it. Pure."""

from __future__ import annotations

from ansible_collections.techcorp.rag_admin.plugins.module_utils.database import proof

_TODO = "Mend the cause and drill again. Until then take for granted that this backup cannot be restored."


def not_proven(task: str, result: dict, recorded: bool) -> dict:
    """The verdict on a drill that came to no proof.

    :param task: name of the task that failed.
    :param result: what it returned.
    :param recorded: whether it was known by then what the copy must hold.
    :returns: the keys that :func:`proof.judge` returns, and ``summary``.
    """
    found = cause(result)
    failure = proof.failure("restore" if recorded else "live", f"the step '{task}' to succeed", found, _TODO)
    nothing = {"reached": None, "rpo": None, "rows": 0, "bytes": 0}
    return {"verdict": "failed", "failures": [failure], **nothing, "summary": f"failed: {task}: {found}"}


def cause(result: dict) -> str:
    """Why a task failed: standard error where a command did, of each item where it was a loop."""
    failed = [each for each in result.get("results", [result]) if each.get("failed")]
    errors = [each["stderr"] for each in failed if each.get("stderr")]
    return "; ".join(errors or [str(each.get("msg", "no message")) for each in failed])


def report(verdict: dict, drill: dict) -> dict:
    """What is written down of a drill.

    :param verdict: what the module ``database_proof`` returned; without a verdict the drill came to none.
    :param drill: ``host``, ``cluster``, ``database`` and ``time`` that was asked for; ``started``, ``ready`` and
        ``ended`` in seconds since the epoch, the latter two None when it did not come to that; ``recorded`` and
        ``stopped`` (``task`` and ``result``), see :func:`not_proven`; ``before``, the report of the last drill.
    """
    if "verdict" not in verdict:
        verdict = not_proven(drill["stopped"]["task"], drill["stopped"]["result"], drill["recorded"])
    started = float(drill["started"])

    def since(moment):
        return None if moment is None else round(float(moment) - started, 1)

    proven = verdict["verdict"] == "proven"
    return {
        **{key: drill[key] for key in ("host", "cluster", "database")},
        "time": drill["time"] or "latest",
        "started": started,
        "seconds": since(drill["ended"]),
        "rto": since(drill["ready"]),
        **{key: verdict[key] for key in ("verdict", "failures", "reached", "rpo", "rows", "bytes", "summary")},
        "last_proven": started if proven else drill["before"].get("last_proven"),
    }
