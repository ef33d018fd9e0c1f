# Copyright (c) 2026 TechCorp
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen to a cluster's settings; pure, so that check mode and the real run cannot disagree.

Three layers are told apart: *desired* is what the definition says, *stored* what the files say, *running* what the
server works with.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field

from ansible_collections.techcorp.rag_admin.plugins.module_utils.common.errors import Failure
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import units

HIDDEN = "(not shown)"
_SECRET = re.compile(r"conninfo|pass(word|phrase)|secret|token", re.IGNORECASE)
_PASSWORD = re.compile(r"\bpassword\s*=|://[^/\s:@]+:[^@\s]+@", re.IGNORECASE)
_CUSTOM = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)+")
# The server worked it out, nobody set it.
_OWN_SOURCES = ("default", "override")


@dataclass(frozen=True)
class Plan:
    """What to do.

    :ivar settings: the values to write, as texts.
    :ivar changes: ``{"name", "before", "after"}`` of the file; None where it has no such setting.
    :ivar write: whether the file has to be written.
    :ivar reload: whether the server has to read its files again.
    :ivar pending: ``{"name", "running", "stored", "reason"}`` of what waits for a restart.
    """

    settings: dict
    changes: list
    write: bool
    reload: bool
    pending: list = field(default_factory=list)


def desired(definition: dict, catalogue: dict, version: str) -> dict:
    """The canonical values of a definition.

    :param catalogue: the rows of ``pg_settings`` by name. Without any, as when the server does not run, values are
        taken as texts, for the server's parser to judge.
    :raises Failure: naming every entry that is wrong.
    """
    names = {name.lower(): name for name in catalogue}
    wanted, problems = {}, {}
    for given, value in definition.items():
        name = names.get(str(given).lower(), str(given))
        try:
            if name in wanted:
                raise units.UnitError("is there twice")
            wanted[name] = _canonical(name, value, catalogue, version)
        except units.UnitError as error:
            problems[str(given)] = str(error)
    if problems:
        raise Failure(
            f"settings that PostgreSQL {version} can have",
            "; ".join(f"{name}: {problem}" for name, problem in problems.items()),
            "Nothing was changed. Correct the definition and run again.",
            invalid=problems,
        )
    return wanted


def _canonical(name: str, value, catalogue: dict, version: str):
    if _PASSWORD.search(str(value)):
        raise units.UnitError("has a password in it; keep that in a password file")
    setting = catalogue.get(name)
    if setting is None:
        return _custom(name, value, catalogue, version)
    if setting["context"] == "internal":
        raise units.UnitError("cannot be set: it is what the server was built with, or the cluster made with")
    canonical = _spelled(units.quantity(value, setting["vartype"], setting["unit"]), setting)
    allowed = setting["enumvals"]
    if allowed and canonical not in allowed:
        raise units.UnitError(f"{value!r} is not one of {', '.join(allowed)}")
    if setting["min_val"] is not None:
        limits = [units.reported(setting[limit], setting["vartype"]) for limit in ("min_val", "max_val")]
        if not limits[0] <= canonical <= limits[1]:
            shown = " and ".join(units.render_host(limit, setting["unit"]) for limit in limits)
            raise units.UnitError(f"{str(value)!r} is not within {shown}")
    return canonical


def _spelled(canonical, setting: dict):
    """A word as the server writes it, which reads it in any case."""
    words = {word.lower(): word for word in setting["enumvals"] or ()}
    return words.get(canonical.lower(), canonical) if isinstance(canonical, str) else canonical


def _custom(name: str, value, catalogue: dict, version: str) -> str:
    """A setting of an extension, which the server knows only once the extension is loaded."""
    prefix = name.partition(".")[0] + "."
    if catalogue and (not _CUSTOM.fullmatch(name) or any(known.startswith(prefix) for known in catalogue)):
        close = difflib.get_close_matches(name, catalogue, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise units.UnitError(f"PostgreSQL {version} has no such setting{hint}")
    return units.quantity(value, "enum" if isinstance(value, bool) else "string", None)


def stored(texts: dict, catalogue: dict) -> dict:
    """The canonical values of texts of a file; a text that cannot be read as such stays as it is."""
    names = {name.lower(): name for name in catalogue}
    found = {}
    for given, text in texts.items():
        name = names.get(given, given)
        found[name] = _read(text, catalogue.get(name))
    return found


def _read(text: str, setting: dict | None):
    if setting is None:
        return text
    try:
        return _spelled(units.quantity(text, setting["vartype"], setting["unit"]), setting)
    except units.UnitError:
        return _read_bare(text, setting["vartype"])


def _read_bare(text: str, vartype: str):
    # Files of other people may have numbers without units.
    try:
        return units.reported(text, vartype)
    except ValueError:
        return text


def require_last(wanted: dict, later: list, catalogue: dict) -> None:
    """Refuse what would have no effect, since something that is read later says otherwise.

    :param later: ``{"name", "setting", "sourcefile", "sourceline"}`` of entries that win over the file.
    :raises Failure: naming the entries and what to do.
    """
    names = {name.lower(): name for name in wanted}
    problems = []
    for entry in later:
        name = names.get(entry["name"].lower())
        if name and not units.equal(_read(entry["setting"], catalogue.get(name)), wanted[name]):
            problems.append(f"{name} in {entry['sourcefile']}, line {entry['sourceline']}")
    for name in wanted:
        setting = catalogue.get(name)
        if setting and setting["source"] in ("command line", "environment variable"):
            running = units.reported(setting["setting"], setting["vartype"])
            if not units.equal(running, wanted[name]):
                problems.append(f"{name} from the server's {setting['source']}")
    if problems:
        raise Failure(
            "nothing that wins over the settings of the definition",
            "; ".join(problems),
            "Nothing was changed. Remove it there (ALTER SYSTEM RESET for postgresql.auto.conf), or take its value into"
            " the definition.",
            overridden=problems,
        )


def plan(wanted: dict, before: dict, strange: list, catalogue: dict, others: list, unloaded: bool) -> Plan:
    """Decide.

    :param wanted: canonical values of the definition.
    :param before: canonical values of the file.
    :param strange: lines of the file that are no settings.
    :param catalogue: rows of ``pg_settings`` by name, empty when the server does not run.
    :param others: ``{"name", "setting"}`` of entries of other files, in the order in which PostgreSQL reads them.
    :param unloaded: whether the file is newer than what the server last read.
    """
    texts = {name: _text(value, catalogue.get(name)) for name, value in wanted.items()}
    changes = []
    for name in sorted({*wanted, *before}):
        if name in wanted and name in before and units.equal(wanted[name], before[name]):
            continue
        old = _text(before[name], catalogue.get(name)) if name in before else None
        changes.append({"name": name, "before": _shown(name, old), "after": _shown(name, texts.get(name))})
    write = bool(changes or strange)
    waits = _pending(wanted, before, catalogue, others) if catalogue else []
    return Plan(texts, changes, write, bool(catalogue) and (write or unloaded), waits)


def _pending(wanted: dict, before: dict, catalogue: dict, others: list) -> list:
    elsewhere = {entry["name"]: entry["setting"] for entry in others}
    flagged = {name for name, setting in catalogue.items() if setting["pending_restart"]}
    waits = []
    for name in sorted({*wanted, *before, *flagged} & catalogue.keys()):
        setting = catalogue[name]
        if setting["context"] != "postmaster":
            continue
        built_in = units.reported(setting["boot_val"] or "", setting["vartype"])
        value = wanted.get(name, _read(elsewhere[name], setting) if name in elsewhere else built_in)
        running = units.reported(setting["setting"], setting["vartype"])
        # The flag alone is not to be trusted: it stays after a setting is removed that is at its default already.
        if units.equal(value, running) or (units.equal(value, built_in) and setting["source"] in _OWN_SOURCES):
            continue
        why = "PostgreSQL takes it only when it starts"
        if name not in wanted:
            why += "; the definition does not have it"
        waits.append(
            {
                "name": name,
                "running": _shown(name, units.render_base(running)),
                "stored": _shown(name, units.render_base(value)),
                "reason": f"{why}.",
            }
        )
    return waits


def _text(value, setting: dict | None) -> str:
    return units.render_host(value, setting["unit"] if setting else None)


def _shown(name: str, text: str | None) -> str | None:
    return HIDDEN if text and _SECRET.search(name) else text


def shown(settings: dict) -> str:
    """Settings as lines for a diff, without secrets."""
    return "".join(f"{name} = {_shown(name, settings[name])}\n" for name in sorted(settings))
