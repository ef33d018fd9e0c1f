"""Writes the pages of modules, filters and roles from what they say of themselves, and the index of docs/.

    python docs/generate.py            write the pages
    python docs/generate.py --check    say which pages are not current, and fail

The pages are committed, so that they can be read and reviewed where the code is; a check says when they are stale.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
COLLECTION = "techcorp.rag_admin"
AWS_FRAGMENTS = "amazon.aws."


def markdown(text: str | list[str]) -> str:
    """Ansible's markup as Markdown."""
    text = " ".join([text] if isinstance(text, str) else text)
    text = re.sub(rf"\bM\({re.escape(COLLECTION)}\.(\w+)\)", r"[`\1`](../modules/\1.md)", text)
    text = re.sub(r"\bL\(([^,)]+),\s*([^)]+)\)", r"[\1](\2)", text)
    text = re.sub(r"\bU\(([^)]+)\)", r"<\1>", text)
    text = re.sub(r"\b(?:B)\(([^)]+)\)", r"**\1**", text)
    text = re.sub(r"\b(?:I)\(([^)]+)\)", r"*\1*", text)
    text = re.sub(r"\b(?:O|RV)\(((?:\\.|[^)\\])+)\)", lambda match: f"`{_plain(match[1].split(':')[-1])}`", text)
    text = re.sub(r"\b(?:P|R)\(([^,#)]+)[^)]*\)", r"`\1`", text)
    return re.sub(r"\b(?:V|C|E|M)\(((?:\\.|[^)\\])+)\)", lambda match: f"`{_plain(match[1])}`", text)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def cell(text: Any) -> str:
    """Text for a table's cell."""
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(cell, row))} |"


def kind(option: dict[str, Any]) -> str:
    """Type of an option or value with its elements: `list of dict`."""
    return f"{option.get('type', 'str')}{' of ' + option['elements'] if option.get('elements') else ''}"


def options(given: dict[str, Any], where: str = "") -> Iterator[tuple[str, str, str]]:
    """Rows for options and their suboptions."""
    for name, option in given.items():
        facts = [kind(option)]
        if option.get("required"):
            facts.append("**required**")
        elif option.get("default") not in (None, "", [], {}):
            facts.append(f"default `{_json(option['default'])}`")
        text = markdown(option["description"])
        if choices := option.get("choices"):
            listed = choices if isinstance(choices, list) else list(choices)
            text += f" One of {', '.join(f'`{choice}`' for choice in listed)}."
        yield f"`{where}{name}`", ", ".join(facts), text
        mark = "[]." if option.get("type") == "list" else "."
        yield from options(option.get("suboptions") or option.get("options") or {}, f"{where}{name}{mark}")


def values(given: dict[str, Any], where: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Rows for return values and what they contain."""
    for name, value in given.items():
        sample = f" Sample: `{_json(value['sample'])}`." if "sample" in value and not value.get("contains") else ""
        yield f"`{where}{name}`", kind(value), value.get("returned", ""), markdown(value["description"]) + sample
        mark = "[]." if value.get("type") == "list" else "."
        yield from values(value.get("contains") or {}, f"{where}{name}{mark}")


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def blocks(path: Path) -> dict[str, str]:
    """The raw documentation blocks of a plugin; filters may have them in a YAML file beside them."""
    sidecar = path.with_suffix(".yml")
    if sidecar.exists():
        parts = yaml.safe_load(sidecar.read_text())
        return {name: part if isinstance(part, str) else yaml.safe_dump(part) for name, part in parts.items()}
    found = re.findall(r'^([A-Z_]+) = r?("""|\'\'\')\n?(.*?)\2', path.read_text(), re.DOTALL | re.MULTILINE)
    return {name: body for name, _quotes, body in found}


def fragment(name: str) -> dict[str, Any]:
    """One of our own documentation fragments."""
    stem, _, part = name.removeprefix(f"{COLLECTION}.").partition(".")
    source = (ROOT / "plugins" / "doc_fragments" / f"{stem}.py").read_text()
    wanted = (part or "documentation").upper()
    found = re.search(rf'^    {wanted} = r?("""|\'\'\')\n?(.*?)\1', source, re.DOTALL | re.MULTILINE)
    if not found:
        raise LookupError(f"no fragment {wanted} in plugins/doc_fragments/{stem}.py")
    return yaml.safe_load(found[2])


def plugin(path: Path, what: str) -> str:
    """The page of a module or a filter."""
    raw = blocks(path)
    head = yaml.safe_load(raw["DOCUMENTATION"])
    fragments = head.get("extends_documentation_fragment", [])
    fragments = [fragments] if isinstance(fragments, str) else fragments
    for name in (name for name in fragments if name.startswith(COLLECTION)):
        shared = fragment(name)
        head["options"] = {**shared.get("options", {}), **head.get("options", {})}
        head["attributes"] = {**shared.get("attributes", {}), **head.get("attributes", {})}
    lines = [
        f"# {path.stem}",
        "",
        f"{markdown(head['short_description'])} · {what} · since {head['version_added']}",
        "",
    ]
    lines += [f"- {markdown(line)}" for line in _list(head["description"])]
    for title, key in (("Requirements", "requirements"), ("Notes", "notes")):
        if head.get(key):
            lines += ["", f"## {title}", "", *(f"- {markdown(line)}" for line in head[key])]
    if head.get("options"):
        lines += ["", "## Options", "", *table(("option", "type", "meaning"), list(options(head["options"])))]
    if any(name.startswith(AWS_FRAGMENTS) for name in fragments):
        lines += [
            "",
            "Region, credentials and endpoint are the options that all modules of `amazon.aws` have, and come",
        ]
        lines += ["from the environment or from `module_defaults` of `group/techcorp.rag_admin.aws`."]
    if head.get("attributes"):
        rows = [
            (name, value.get("support", ""), markdown(value["description"]))
            for name, value in head["attributes"].items()
        ]
        lines += ["", "## Attributes", "", *table(("attribute", "support", "meaning"), rows)]
    lines += ["", "## Examples", "", "```yaml", raw["EXAMPLES"].strip(), "```"]
    returned = yaml.safe_load(raw["RETURN"])
    lines += ["", "## Returns", "", *table(("key", "type", "returned", "meaning"), list(values(returned)))]
    return "\n".join(lines) + "\n"


def role(path: Path) -> str:
    """The page of a role: its entry points, then each different set of inputs once."""
    specs = yaml.safe_load((path / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    lines = [
        f"# {path.name}",
        "",
        f"Role `{COLLECTION}.{path.name}`; how it works is told in [its README](../../roles/{path.name}/README.md).",
    ]
    lines += [
        "",
        *table(
            ("entry point", "does"),
            [(f"`{name}`", markdown(spec["short_description"])) for name, spec in specs.items()],
        ),
    ]
    shown: dict[str, list[str]] = {}
    for name, spec in specs.items():
        shown.setdefault(json.dumps(spec.get("options", {}), default=str), []).append(name)
    for key, names in shown.items():
        spec = specs[names[0]]
        lines += ["", f"## Inputs{'' if len(shown) == 1 else ' of ' + ', '.join(f'`{name}`' for name in names)}", ""]
        lines += [f"- {markdown(line)}" for line in _list(spec["description"])]
        if json.loads(key):
            lines += ["", *table(("input", "type", "meaning"), list(options(spec["options"])))]
    return "\n".join(lines) + "\n"


def _list(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text


def index(sections: dict[str, dict[str, str]]) -> str:
    lines = ["# Reference", "", "Written by `docs/generate.py` from the sources, decisions aside."]
    for title, entries in sections.items():
        if entries:
            lines += [
                "",
                f"## {title}",
                "",
                *(f"- [{name.split('/')[-1][:-3]}]({name}): {text}" for name, text in entries.items()),
            ]
    decisions = {
        path.name: path.read_text().split("\n", 1)[0].lstrip("# ") for path in sorted((DOCS / "adr").glob("*.md"))
    }
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text())["documentation"]
    lines += ["", "## Decisions", "", *(f"- [{text}]({repository}/adr/{name})" for name, text in decisions.items())]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """All pages: path below docs/ to text."""
    found: dict[str, str] = {}
    sections: dict[str, dict[str, str]] = {"Roles": {}, "Modules": {}, "Filters": {}}
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        name = f"roles/{path.parent.parent.name}.md"
        found[name] = role(path.parent.parent)
        sections["Roles"][name] = markdown(
            yaml.safe_load(path.read_text())["argument_specs"]["main"]["short_description"]
        )
    for folder, title, what in (("modules", "Modules", "module"), ("filter", "Filters", "filter")):
        for path in sorted((ROOT / "plugins" / folder).glob("*.py")):
            if path.stem != "__init__":
                name = f"{title.lower()}/{path.stem}.md"
                found[name] = plugin(path, what)
                sections[title][name] = markdown(yaml.safe_load(blocks(path)["DOCUMENTATION"])["short_description"])
    return {"README.md": index(sections), **found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a page is not current")
    check = parser.parse_args().check
    wanted = pages()
    present = {
        str(path.relative_to(DOCS))
        for folder in ("roles", "modules", "filters")
        for path in (DOCS / folder).glob("*.md")
    }
    stale = [name for name, text in wanted.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != text]
    left = sorted(present - wanted.keys())
    if check:
        print("\n".join(f"docs/{name} is not current: run python docs/generate.py" for name in [*stale, *left]))
        return 1 if stale or left else 0
    for name in stale:
        (DOCS / name).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / name).write_text(wanted[name])
    for name in left:
        (DOCS / name).unlink()
    print(f"{len(wanted)} pages, {len(stale)} written, {len(left)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
