"""Sphinx directives that write reference pages from the program itself.

``prammol-help VERB``
    What ``prammol VERB --help`` prints.
``prammol-preset NAME``
    The stages of a preset, a table of its user settings, and a table of expert settings for
    each stage, from ``prammol presets NAME --expert``.
``prammol-schema FILE``
    A table of the keys of a JSON or YAML schema; references into other files are followed.
    FILE is relative to the top of the checkout.

The first two run the command line, which is the contract, and need no names of modules.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive

ROOT = Path(__file__).resolve().parents[2]
_SETTING = re.compile(r"^  ([a-z_]+(?:\.[a-z_]+)?) = (.*)$")
_ROLE = re.compile(r":[\w:]+:`~?([^`]+)`")
_CODE = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(r'"(prammol [^"]+)"')
_UNIT = re.compile(r"\s*\[[^\]]*\]")


@cache
def output_of(*arguments: str) -> str:
    """Return what a prammol command prints, in lines of at most 90 characters."""
    done = subprocess.run(
        [sys.executable, "-m", "prammol", *arguments],
        env={**os.environ, "COLUMNS": "90"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def literal(text: str) -> nodes.literal_block:
    """Return a block of text as it is."""
    return nodes.literal_block(text, text, language="text")


def prose(text: str) -> nodes.paragraph:
    """Return a paragraph in which roles, backticks and quoted commands are code."""
    text = _COMMAND.sub(r"`\1`", _ROLE.sub(r"`\1`", text.replace("``", "`")))
    paragraph = nodes.paragraph()
    for number, part in enumerate(_CODE.split(text)):
        if part:
            paragraph += nodes.literal(part, part) if number % 2 else nodes.Text(part)
    return paragraph


def table(
    title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], widths: tuple[int, ...]
) -> nodes.table:
    """Return a table whose first two columns are code."""
    out = nodes.table()
    if title:
        out += nodes.title("", title)
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += nodes.thead("", nodes.row("", *(nodes.entry("", prose(h)) for h in head)))
    body = nodes.tbody()
    for row in rows:
        cells = [f"`{c}`" if k < 2 and c else c for k, c in enumerate(row)]
        body += nodes.row("", *(nodes.entry("", prose(c)) for c in cells))
    group += body
    out += group
    return out


class Help(Directive):
    """The help of one verb."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return it as a literal block."""
        return [literal(output_of(self.arguments[0], "--help").strip())]


class PresetSettings(Directive):
    """The stages of a preset, its user settings, and the expert settings of each stage."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a literal block and the tables."""
        order, settings = settings_in(output_of("presets", self.arguments[0], "--expert"))
        users: list[tuple[str, ...]] = []
        experts: dict[str, list[tuple[str, ...]]] = {}
        for name, value, unit, text in settings:
            stage, dot, _ = name.rpartition(".")
            group = experts.setdefault(stage, []) if dot else users
            group.append((name, value, unit, _UNIT.sub("", text)))
        head, widths = ("setting", "default", "unit", "meaning"), (28, 16, 8, 48)
        tables = [table(title, head, rows, widths) for title, rows in experts.items()]
        return [literal(order), table("User settings", head, users, widths), *tables]


def settings_in(text: str) -> tuple[str, list[tuple[str, str, str, str]]]:
    """Read what ``prammol presets NAME --expert`` prints.

    Returns
    -------
    order : str
        The stages, when they run.
    settings : list of (name, value, unit, meaning)
    """
    head, found = [], []
    for line in text.splitlines()[1:]:
        match = _SETTING.match(line)
        if match:
            value, end = json.JSONDecoder().raw_decode(match[2])
            found.append([match[1], written(value), match[2][end:].strip(), ""])
        elif found:
            found[-1][3] = f"{found[-1][3]} {line.strip()}".strip()
        else:
            head.append(line[2:])
    if not found:
        msg = "'prammol presets' prints no settings in the form 'name = value unit'"
        raise ValueError(msg)
    return "\n".join(head).strip(), [(a, b, c, d) for a, b, c, d in found]


def written(value: Any) -> str:
    """Return a value as a user writes it."""
    return value if isinstance(value, str) else json.dumps(value)


class Schema(Directive):
    """The keys of a schema."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return them as a table."""
        path = ROOT / self.arguments[0]
        rows = list(keys_of(load(path), path))
        return [table("", ("key", "default", "type", "meaning"), rows, (26, 10, 16, 48))]


@cache
def load(path: Path) -> Any:
    """Return what a JSON or YAML file holds."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def resolved(schema: Any, path: Path) -> tuple[dict[str, Any], Path]:
    """Follow the reference of a schema, if it is one; what is beside it goes on top."""
    if "$ref" not in schema:
        return schema, path
    file, _, pointer = schema["$ref"].partition("#")
    path = (path.parent / file).resolve() if file else path
    target = load(path)
    for part in pointer.strip("/").split("/"):
        target = target[part]
    target, path = resolved(target, path)
    return {**target, **{k: v for k, v in schema.items() if k != "$ref"}}, path


def keys_of(schema: Any, path: Path, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield name, default, type and meaning of each key, depth first."""
    properties = {name: (s, path) for name, s in schema.get("properties", {}).items()}
    for part in schema.get("allOf", []):
        if "$ref" in part:
            other, home = resolved(part, path)
            known = {k: v for k, v in properties.items() if v[0]}
            properties |= {k: (v, home) for k, v in other.get("properties", {}).items()} | known
    for name, (raw, home) in properties.items():
        own, own_home = resolved(raw, home)
        full = f"{prefix}{name}"
        default = "" if own.get("default") in (None, {}, []) else written(own["default"])
        if not (own.get("properties") and not own.get("description")):
            yield (
                full,
                default,
                type_of(own, own_home),
                " ".join(own.get("description", "").split()),
            )
        yield from keys_of(own, own_home, f"{full}: ")
        named = own.get("additionalProperties")
        if isinstance(named, dict):
            yield from keys_of(resolved(named, own_home)[0], own_home, f"{full}: NAME: ")


def type_of(schema: dict[str, Any], path: Path) -> str:
    """Return the type of a value in words."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "oneOf" in schema:
        kinds = [type_of(resolved(s, path)[0], path) for s in schema["oneOf"]]
        return " or ".join(dict.fromkeys(kinds))
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        items = type_of(resolved(schema.get("items", {}), path)[0], path)
        return f"list of {items}" if items else "list"
    return str(kind)


def setup(app: Any) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("prammol-help", Help)
    app.add_directive("prammol-preset", PresetSettings)
    app.add_directive("prammol-schema", Schema)
    return {"parallel_read_safe": True}
