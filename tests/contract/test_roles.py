"""Roles keep their contract: the spec is complete and equals the defaults; tasks and templates keep the rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from contract import tree

ROLE = pytest.mark.parametrize("role", tree.ROLES, ids=lambda role: role.name)
SECRET = re.compile(r"(^|_)(password|passwd|secret|private_key|credentials?)(_|$)")


def option_problems(options: dict[str, Any], where: str = "") -> list[str]:
    """What is missing in options, down to the last suboption."""
    found = []
    for name, option in options.items():
        path = f"{where}{name}"
        if not option.get("description"):
            found.append(f"{path}: no description")
        if not option.get("type"):
            found.append(f"{path}: no type")
        if option.get("type") == "list" and not option.get("elements"):
            found.append(f"{path}: a list without elements")
        if SECRET.search(name) and "no_log" not in option:
            found.append(f"{path}: sounds like a secret; say no_log: true or false")
        found += option_problems(option.get("options", {}), f"{path}.")
    return found


def default_problems(options: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """Where an argument spec and the defaults disagree.

    A required option has no default. A default of the spec is the same value, templates included.
    """
    required = {name for name, option in options.items() if option.get("required")}
    found = [f"{name}: in defaults, not in the argument spec" for name in sorted(defaults.keys() - options.keys())]
    found += [f"{name}: required, yet it has a default" for name in sorted(defaults.keys() & required)]
    found += [f"{name}: in the spec, not in defaults" for name in sorted(options.keys() - required - defaults.keys())]
    for name in sorted(options.keys() & defaults.keys()):
        if "default" not in options[name]:
            # Structures may be told in words: they are long, or templates, which specs take for no structure.
            if defaults[name] is not None and options[name].get("type") not in ("list", "dict"):
                found.append(f"{name}: the spec does not tell the default {defaults[name]!r}")
        elif (told := options[name]["default"]) != defaults[name] or type(told) is not type(defaults[name]):
            found.append(f"{name}: the spec tells {told!r}, defaults have {defaults[name]!r}")
    return found


def name_problems(role: str, inputs: set[str], internals: set[str], told: str = "") -> list[str]:
    """Names that do not say whose they are: inputs are <role>_x, internals __<role>_x.

    What the role offers to its inputs' templates is <role>_x too, and `told` (the argument spec) must name it.
    """
    found = [f"{name}: an input begins with {role}_" for name in sorted(inputs) if not name.startswith(f"{role}_")]
    offered = {name for name in internals if name.startswith(f"{role}_") and re.search(rf"\b{name}\b", told)}
    return found + [
        f"{name}: an internal begins with __{role}_"
        for name in sorted(internals - offered)
        if not name.startswith(f"__{role}_")
    ]


def task_problems(stem: str, task: dict[str, Any], inputs: set[str]) -> list[str]:
    """What is wrong with a task of a role in the file `stem`."""
    found = []
    name = task.get("name", "")
    if not name:
        found.append(f"a task without a name: {sorted(task)}")
    elif stem != "main" and not name.startswith(f"{stem} | "):
        found.append(f"'{name}' should begin with '{stem} | '")
    done = tree.action(task)
    if done is None:
        return found
    module, arguments = done
    if "." not in module:
        found.append(f"'{name}' names {module} without its collection")
    if module.endswith(".set_fact") and (overwritten := inputs & set(arguments)):
        found.append(f"'{name}' overwrites the input {', '.join(sorted(overwritten))}")
    if task.get("register") in inputs:
        found.append(f"'{name}' overwrites the input {task['register']}")
    if isinstance(arguments, dict) and not isinstance(arguments.get("mode", ""), str):
        found.append(f"'{name}' has an unquoted mode")
    return found


def template_problem(name: str, text: str) -> str | None:
    """Why a template's file would not say where it comes from. JSON knows no comments."""
    first = text.split("\n", 1)[0]
    if name.endswith(".json.j2") or "ansible_managed" in first:
        return None
    return f"the first line is '{first}', expected ansible_managed"


def specs(role: Path) -> dict[str, Any]:
    return tree.load(role / "meta" / "argument_specs.yml")["argument_specs"]


def inputs(role: Path) -> dict[str, Any]:
    """The options of all entry points."""
    return {name: option for spec in specs(role).values() for name, option in spec.get("options", {}).items()}


def variables(role: Path, folder: str) -> dict[str, Any]:
    return {name: value for path in (role / folder).glob("*.yml") for name, value in (tree.load(path) or {}).items()}


def test_there_are_roles():
    assert {"app", "blue_green", "postgresql", "prometheus"} <= {role.name for role in tree.ROLES}


@ROLE
def test_has_its_files(role: Path):
    wanted = ("README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml")
    assert not [name for name in wanted if not (role / name).is_file()]


@ROLE
def test_every_option_is_described(role: Path):
    for entry_point, spec in specs(role).items():
        missing = [key for key in ("short_description", "description", "version_added", "author") if not spec.get(key)]
        assert not missing, f"{entry_point}: {missing}"
        assert not option_problems(spec.get("options", {}))


@ROLE
def test_spec_equals_defaults(role: Path):
    assert not default_problems(inputs(role), variables(role, "defaults"))


@ROLE
def test_entry_points_are_task_files(role: Path):
    assert not [name for name in specs(role) if not (role / "tasks" / f"{name}.yml").is_file()]


@ROLE
def test_names_say_whose_they_are(role: Path):
    told = (role / "meta" / "argument_specs.yml").read_text()
    assert not name_problems(role.name, set(inputs(role)), set(variables(role, "vars")), told)


@ROLE
def test_tasks_keep_the_rules(role: Path):
    found = []
    for folder in ("tasks", "handlers"):
        for path in sorted((role / folder).rglob("*.yml")):
            for task in tree.flatten(tree.load(path)):
                found += [
                    f"{tree.relative(path)}: {what}" for what in task_problems(path.stem, task, set(inputs(role)))
                ]
    assert not found


@ROLE
def test_task_files_are_short(role: Path):
    lengths = {tree.relative(path): len(path.read_text().splitlines()) for path in (role / "tasks").rglob("*.yml")}
    assert not {path: length for path, length in lengths.items() if length > 100}


@ROLE
def test_templates_say_where_they_come_from(role: Path):
    templates = sorted((role / "templates").rglob("*.j2"))
    found = {tree.relative(path): template_problem(path.name, path.read_text()) for path in templates}
    assert not {path: problem for path, problem in found.items() if problem}


@ROLE
def test_readme_is_short(role: Path):
    assert len((role / "README.md").read_text().splitlines()) <= 80


# The checks themselves can fail.


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"type": "str"}, "x: no description"),
        ({"description": "d"}, "x: no type"),
        ({"description": "d", "type": "list"}, "x: a list without elements"),
        ({"description": "d", "type": "dict", "options": {"y": {"type": "str"}}}, "x.y: no description"),
    ],
)
def test_an_incomplete_option_is_found(option: dict[str, Any], expected: str):
    assert option_problems({"x": option}) == [expected]


def test_a_secret_needs_a_word_on_logging():
    option = {"description": "d", "type": "str"}
    assert option_problems({"db_password": option}) == ["db_password: sounds like a secret; say no_log: true or false"]
    assert not option_problems({"db_password": option | {"no_log": True}})
    assert not option_problems({"passwordless": option})


@pytest.mark.parametrize(
    ("options", "defaults", "expected"),
    [
        ({}, {"x": 1}, "x: in defaults, not in the argument spec"),
        ({"x": {}}, {}, "x: in the spec, not in defaults"),
        ({"x": {"required": True}}, {"x": None}, "x: required, yet it has a default"),
        ({"x": {}}, {"x": 1}, "x: the spec does not tell the default 1"),
        ({"x": {"default": 2}}, {"x": 1}, "x: the spec tells 2, defaults have 1"),
        ({"x": {"default": "1"}}, {"x": 1}, "x: the spec tells '1', defaults have 1"),
        ({"x": {"default": True}}, {"x": 1}, "x: the spec tells True, defaults have 1"),
    ],
)
def test_disagreement_with_defaults_is_found(options: dict[str, Any], defaults: dict[str, Any], expected: str):
    assert default_problems(options, defaults) == [expected]


def test_agreement_with_defaults_is_accepted():
    assert not default_problems({"x": {"default": 1}, "y": {"required": True}, "z": {}}, {"x": 1, "z": None})


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"ansible.builtin.ping": None}, "a task without a name: ['ansible.builtin.ping']"),
        ({"name": "Ping", "ansible.builtin.ping": None}, "'Ping' should begin with 'install | '"),
        ({"name": "install | Ping", "ping": None}, "'install | Ping' names ping without its collection"),
        ({"name": "install | A", "ansible.builtin.set_fact": {"x": 1}}, "'install | A' overwrites the input x"),
        (
            {"name": "install | A", "ansible.builtin.ping": None, "register": "x"},
            "'install | A' overwrites the input x",
        ),
        ({"name": "install | A", "ansible.builtin.file": {"mode": 0o644}}, "'install | A' has an unquoted mode"),
    ],
)
def test_a_bad_task_is_found(task: dict[str, Any], expected: str):
    assert task_problems("install", task, {"x"}) == [expected]


def test_bad_names_are_found():
    assert name_problems("app", {"port", "app_port"}, {"app_x", "__app_x"}) == [
        "port: an input begins with app_",
        "app_x: an internal begins with __app_",
    ]


def test_what_a_role_offers_must_be_told():
    assert not name_problems("app", set(), {"app_x"}, "description: C(app_x) is set")
    assert name_problems("app", set(), {"app_x"}, "description: C(app_xy) is set")


def test_a_template_without_a_header_is_found():
    assert template_problem("a.conf.j2", "x = 1\n")
    assert not template_problem("a.conf.j2", "{{ ansible_managed | comment }}\nx = 1\n")
    assert not template_problem("a.json.j2", "{}\n")
