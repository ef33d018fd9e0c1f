"""Plugins keep their contract: documentation is complete, the action group reaches every AWS module and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract import tree

MODULE = pytest.mark.parametrize("module", tree.MODULES, ids=lambda path: path.stem)
FILTERS = sorted(path for path in (tree.ROOT / "plugins" / "filter").glob("*.py") if path.stem != "__init__")
FILTER = pytest.mark.parametrize("plugin", FILTERS, ids=lambda path: path.stem)
FQCN = re.compile(r"^[a-z0-9_]+\.[a-z0-9_]+\.[a-z0-9_]+$")
ENTRY_KEYS = ("module", "short_description", "description", "version_added", "author")
MAIN_LINES = 15
MODULE_LINES = 100


def option_problems(options: dict[str, Any], where: str = "") -> list[str]:
    """What is missing in documented options or return values, down to the last suboption."""
    found = []
    for name, option in (options or {}).items():
        path = f"{where}{name}"
        found += [f"{path}: no {key}" for key in ("description", "type") if not option.get(key)]
        if option.get("type") == "list" and not option.get("elements"):
            found.append(f"{path}: a list without elements")
        for suboptions in ("suboptions", "contains"):
            found += option_problems(option.get(suboptions, {}), f"{path}.")
    return found


def return_problems(values: dict[str, Any] | None) -> list[str]:
    """What is missing in RETURN."""
    found = option_problems(values or {})
    return found + [
        f"{name}: does not say when it is returned"
        for name, value in (values or {}).items()
        if not value.get("returned")
    ]


def example_problems(examples: list[dict[str, Any]] | None, module: str, state: dict[str, Any]) -> list[str]:
    """What is wrong with EXAMPLES: tasks with names and full module names, at least one for each choice of `state`."""
    tasks = list(tree.flatten(examples))
    found = [f"a task without a name: {sorted(task)}" for task in tasks if not task.get("name")]
    actions = [done for task in tasks if (done := tree.action(task))]
    found += [f"{name} is no full name" for name, _arguments in actions if not FQCN.match(name)]
    ours = [arguments or {} for name, arguments in actions if name == f"techcorp.rag_admin.{module}"]
    if not ours:
        found.append(f"none shows techcorp.rag_admin.{module}")
    shown = {arguments.get("state", state.get("default")) for arguments in ours}
    return found + [f"none shows state={choice}" for choice in state.get("choices", []) if choice not in shown]


def reference_problems(text: str, modules: set[str], options: set[str]) -> list[str]:
    """References of a documentation text to modules and options of ours that do not exist.

    `O(x)`, `O(x=1)`, `O(x.y=1)` and `O(entry_point:x)` speak of an option of the same page.
    """
    named = re.findall(r"\bM\(techcorp\.rag_admin\.(\w+)\)", text)
    named += re.findall(r"\b[OR]V?\(techcorp\.rag_admin\.(\w+)#module:", text)
    found = [f"{name}: no such module" for name in named if name not in modules]
    own = (match.split(":")[-1] for match in re.findall(r"\bO\(([\w:]+)", text) if "techcorp" not in match)
    return found + [f"{name}: no such option" for name in own if name not in options]


def literal_keys(source: str) -> set[str]:
    """The keys of a result that can be read off the code: literals that exit_json gets and that run() returns."""
    keys: set[str] = set()

    def of(node: ast.AST | None) -> set[str]:
        if isinstance(node, ast.Dict):
            return {key.value for key in node.keys if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            return {keyword.arg for keyword in node.keywords if keyword.arg}
        return set()

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "exit_json":
            keys |= {keyword.arg for keyword in node.keywords if keyword.arg}
            for argument in [*node.args, *(keyword.value for keyword in node.keywords if not keyword.arg)]:
                keys |= of(argument)
        if isinstance(node, ast.FunctionDef) and node.name == "run":
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return):
                    keys |= of(inner.value)
    return keys


def uses_aws(source: str) -> bool:
    return "AnsibleAWSModule(" in source


def group_problems(group: list[Any], modules: set[str]) -> list[str]:
    """Where an action group differs from the modules that it should reach."""
    names = [entry for entry in group if isinstance(entry, str)]
    found = [f"{name}: missing" for name in sorted(modules - set(names))]
    found += [f"{name}: no such AWS module" for name in sorted(set(names) - modules)]
    found += [f"{name}: listed twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if names != sorted(names):
        found.append("not sorted")
    return found


def function_lengths(source: str) -> dict[str, int]:
    return {
        node.name: (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }


def code_after_return(source: str) -> int:
    """Lines of code that follow the documentation, blank ones and comments left out."""
    code = re.split(r'^RETURN = r?(?:"""|\'\'\')(?:.*?)(?:"""|\'\'\')', source, flags=re.DOTALL | re.MULTILINE)[-1]
    return sum(1 for line in code.splitlines() if line.strip() and not line.strip().startswith("#"))


def test_there_are_modules():
    wanted = {"alb_target_health", "alb_targets", "alb_traffic", "alb_traffic_info", "metric_gate", "rollout"}
    assert wanted <= {path.stem for path in tree.MODULES}


@MODULE
def test_documentation_is_complete(module: Path):
    documented = tree.documentation(module)
    assert documented.keys() == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    head = documented["DOCUMENTATION"]
    assert not [key for key in ENTRY_KEYS if not head.get(key)]
    assert head["module"] == module.stem
    assert not option_problems(head.get("options", {}))


@MODULE
def test_return_is_complete(module: Path):
    values = tree.documentation(module)["RETURN"]
    assert values, "RETURN is empty"
    assert not return_problems(values)


@MODULE
def test_return_documents_what_the_code_returns(module: Path):
    undocumented = literal_keys(module.read_text()) - set(tree.documentation(module)["RETURN"]) - tree.COMMON_RETURN
    assert not undocumented


@MODULE
def test_every_state_has_an_example(module: Path):
    documented = tree.documentation(module)
    state = documented["DOCUMENTATION"].get("options", {}).get("state", {})
    assert not example_problems(documented["EXAMPLES"], module.stem, state)


@MODULE
def test_main_only_wires(module: Path):
    source = module.read_text()
    assert function_lengths(source)["main"] <= MAIN_LINES
    assert code_after_return(source) <= MODULE_LINES


@FILTER
def test_filters_are_documented(plugin: Path):
    source = plugin.read_text()
    sidecar = plugin.with_suffix(".yml")
    documented = yaml.safe_load(sidecar.read_text()) if sidecar.exists() else tree.documentation(plugin)
    assert {"DOCUMENTATION", "EXAMPLES", "RETURN"} <= documented.keys(), (
        f"{tree.relative(plugin)} of {len(source)} bytes"
    )
    head = documented["DOCUMENTATION"]
    assert head["name"] == plugin.stem
    assert not [key for key in ("short_description", "description", "version_added", "author") if not head.get(key)]
    assert not option_problems(head.get("options", {}))


def every_option(options: dict[str, Any]) -> set[str]:
    """Names of options and suboptions."""
    inner = (option.get("suboptions") or option.get("options") or {} for option in options.values())
    return set(options).union(*map(every_option, inner))


@MODULE
def test_references_of_modules_resolve(module: Path):
    names = {path.stem for path in tree.MODULES}
    options = every_option(tree.documentation(module)["DOCUMENTATION"].get("options", {}))
    assert not reference_problems(module.read_text(), names, options)


@pytest.mark.parametrize("role", tree.ROLES, ids=lambda role: role.name)
def test_references_of_roles_resolve(role: Path):
    path = role / "meta" / "argument_specs.yml"
    specs = tree.load(path)["argument_specs"].values()
    options = set().union(*(every_option(spec.get("options", {})) for spec in specs))
    assert not reference_problems(path.read_text(), {path.stem for path in tree.MODULES}, options)


def test_action_group_is_complete():
    group = tree.load(tree.ROOT / "meta" / "runtime.yml")["action_groups"]["aws"]
    assert {"metadata": {"extend_group": ["amazon.aws.aws"]}} in group
    aws = {path.stem for path in tree.MODULES if uses_aws(path.read_text())}
    assert not group_problems(group, aws)


def test_no_module_object_below_the_modules():
    """Code in module_utils takes values, not the module; one place wires the two together."""
    found = {}
    for path in sorted((tree.ROOT / "plugins" / "module_utils").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "module" in {argument.arg for argument in node.args.args}:
                found.setdefault(tree.relative(path), []).append(node.name)
    assert found.keys() <= {"plugins/module_utils/common/aws.py"}, found


def test_nothing_waits_beside_the_waiter():
    """`while` with `sleep` is in the one poll loop and in the retries, which tests run with a clock of their own."""
    # The runner of migrations works under the application's Python, where the clock is not.
    allowed = {"plugins/module_utils/common/clock.py", "plugins/module_utils/migrations/runner.py"}
    paths = sorted((tree.ROOT / "plugins").rglob("*.py"))
    found = {tree.relative(path) for path in paths if re.search(r"\btime\.sleep\(", path.read_text())}
    assert found <= allowed


# The checks themselves can fail.


def test_an_incomplete_option_is_found():
    options = {"a": {"type": "list", "description": "d"}, "b": {"suboptions": {"c": {"type": "int"}}}}
    assert option_problems(options) == [
        "a: a list without elements",
        "b: no description",
        "b: no type",
        "b.c: no description",
    ]


def test_an_incomplete_return_value_is_found():
    assert return_problems({"x": {"description": "d", "type": "int"}}) == ["x: does not say when it is returned"]
    nested = {"x": {"description": "d", "type": "dict", "returned": "always", "contains": {"y": {"type": "int"}}}}
    assert return_problems(nested) == ["x.y: no description"]


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (None, ["none shows techcorp.rag_admin.m", "none shows state=absent"]),
        ([{"techcorp.rag_admin.m": {"state": "absent"}}], ["a task without a name: ['techcorp.rag_admin.m']"]),
        (
            [{"name": "n", "m": {"state": "absent"}}],
            ["m is no full name", "none shows techcorp.rag_admin.m", "none shows state=absent"],
        ),
        ([{"name": "n", "techcorp.rag_admin.m": {}}], ["none shows state=absent"]),
        ([{"name": "n", "techcorp.rag_admin.m": {"state": "absent"}}], []),
    ],
)
def test_poor_examples_are_found(examples: Any, expected: list[str]):
    assert example_problems(examples, "m", {"choices": ["absent"]}) == expected


def test_the_default_state_needs_no_word():
    examples = [{"name": "n", "techcorp.rag_admin.m": {}}]
    assert not example_problems(examples, "m", {"choices": ["present"], "default": "present"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see M(techcorp.rag_admin.m), O(a), O(a=1), O(main:a) and M(amazon.aws.s3)", []),
        ("see M(techcorp.rag_admin.n)", ["n: no such module"]),
        ("see O(techcorp.rag_admin.n#module:x)", ["n: no such module"]),
        ("see O(b=1) and O(main:c)", ["b: no such option", "c: no such option"]),
    ],
)
def test_broken_references_are_found(text: str, expected: list[str]):
    assert reference_problems(text, {"m"}, {"a"}) == expected


def test_returned_keys_are_read_off_the_code():
    source = (
        "def run():\n    return {'a': 1, 'b': {'c': 2}}\n\ndef main():\n    m.exit_json(changed=True, **dict(d=1))\n"
    )
    assert literal_keys(source) == {"a", "b", "changed", "d"}


def test_a_bad_action_group_is_found():
    assert group_problems([{"metadata": {}}, "b", "a", "a", "d"], {"a", "b", "c"}) == [
        "c: missing",
        "d: no such AWS module",
        "a: listed twice",
        "not sorted",
    ]


def test_code_is_counted_without_documentation():
    assert code_after_return('DOCUMENTATION = r"""\nx\n"""\nRETURN = r"""\ny\n"""\n\nimport os\n# why\nos.x()\n') == 2
    assert function_lengths("def main():\n    a()\n    b()\n") == {"main": 3}
