"""Write docs/results/index.md and docs/notebook/data/README.md: what each table and picture is.

    python benchmarks/results_index.py           # make results-index
    python benchmarks/results_index.py --check   # exit code 1 if one of them is stale

What is said of them is in docs/results/results.toml, to which a new table or picture has to be
added. tests/project/test_results_index.py checks that nothing is left out.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from provenance import COLUMNS as ORIGIN
from provenance import ROOT, read_rows

COMMIT = re.compile(r"unknown|(<=)?[0-9a-f]{7,40}(\.\.[0-9a-f]{7,40})?(-dirty)?")
DATE = re.compile(r"unknown|\d{4}-\d\d-\d\d")
FOLDERS = {"tables": "docs/results", "kept": "docs/notebook/data"}
RESULTS, NOTEBOOK = FOLDERS.values()
IMAGES = "docs/images"
SUFFIXES = (".png", ".svg", ".gif", ".pdf")
NEEDED = {"tables": {"what", "made_by", "program"}, "kept": {"what", "made_by", "instead"}}

HEAD = """\
---
orphan: true
---

<!-- By benchmarks/results_index.py (make results-index) from results.toml: edit that. -->

"""
INDEX = """\
# Results

All results are of simulated data. A row of a table is a run, or a step of one. The last three
columns say where it comes from:

| column | what |
|---|---|
| `commit` | of the program. `a..b`: one of these. `<=a`: this or an earlier one. \
`-dirty`: with changes that weren't committed |
| `date` | of the run; where it isn't known, of the commit that brought the row |
| `command` | from the top of the checkout or the folder of the files. \
`...` stands for what isn't known |

What isn't known is `unknown`. *Program* is **present** where nothing that the numbers depend on
has changed since; else it says what has. Earlier and smaller tables are in the
[notebook](../notebook/data/README.md).

## Tables

| table | what | rows | program | made by | picture |
|---|---|---|---|---|---|
"""
PICTURES = """
*Rule*: of the workflow. *By hand*: from the metrics of single runs, by no script in the
repository.

## Pictures

| picture | what | made by | from the tables alone by |
|---|---|---|---|
"""
SHARED = """
### In several tables

| column | unit | meaning |
|---|---|---|
"""
README = """\
# Tables that no result rests on

Early or small runs, kept for the notebook. Columns that aren't explained here, and what
`commit`, `date` and `command` say, are explained with [the results](../../results/index.md).

| table | what | rows | instead of it | made by | picture |
|---|---|---|---|---|---|
"""
DRAWN = """
| picture | what | made by |
|---|---|---|
"""


def known() -> dict[str, Any]:
    """Return results.toml."""
    return tomllib.loads((ROOT / RESULTS / "results.toml").read_text(encoding="utf-8"))


def unmakeable(by: str, file: str) -> str:
    """Return why something can't be what makes a file, or nothing."""
    kind, _, name = by.partition(": ")
    if kind == "workflow":
        rules = "".join(p.read_text(encoding="utf-8") for p in ROOT.glob("workflow/rules/*.smk"))
        return "" if f"\nrule {name}:\n" in rules else f"the workflow has no rule {name}"
    if by.startswith("make "):
        rules = (ROOT / "Makefile").read_text(encoding="utf-8")
        return "" if f"\n{by[5:]}:" in rules else f"the Makefile has no target {by[5:]}"
    if not (ROOT / by).is_file():
        return f"{by} doesn't exist"
    said = ast.get_docstring(ast.parse((ROOT / by).read_text(encoding="utf-8"))) or ""
    return "" if file in said else f"the docstring of {by} doesn't name {file}"


def problems() -> list[str]:
    """Return what is wrong with tables and pictures, one line each."""
    about = known()
    found: list[str] = []
    for kind, folder in FOLDERS.items():
        there = {p.stem for p in (ROOT / folder).glob("*.csv")}
        found += _differ(there, about[kind], f"{folder}/{{}}.csv")
        for name in sorted(there & {*about[kind]}):
            found += _of_table(f"{folder}/{name}.csv", kind, about[kind][name], about)
    pictures = {
        p.relative_to(ROOT).as_posix()
        for folder in (*FOLDERS.values(), IMAGES)
        for p in (ROOT / folder).glob("*")
        if p.suffix in SUFFIXES
    }
    found += _differ(pictures, about["pictures"], "{}")
    for path, picture in about["pictures"].items():
        for by in (picture["made_by"], picture.get("from_table")):
            if by is not None and (why := unmakeable(by, Path(path).name)):
                found.append(f"{path}: {why}")
    return found


def _differ(there: set[str], named: Iterable[str], path: str) -> Iterator[str]:
    for name in sorted(there - {*named}):
        yield f"{path.format(name)}: not in results.toml, which says what makes it"
    for name in sorted({*named} - there):
        yield f"{path.format(name)}: in results.toml, but doesn't exist"


def _of_table(
    path: str, kind: str, entry: Mapping[str, Any], about: Mapping[str, Any]
) -> Iterator[str]:
    for key in NEEDED[kind] - {*entry}:
        yield f"{path}: results.toml has no {key}"
    names = (ROOT / path).read_text(encoding="utf-8").partition("\n")[0].split(",")
    if tuple(names[-len(ORIGIN) :]) != ORIGIN:
        yield f"{path}: the last columns aren't {', '.join(ORIGIN)}"
        return
    for number, row in enumerate(read_rows(ROOT / path), 2):
        if not COMMIT.fullmatch(row["commit"]):
            yield f"{path}, row {number}: {row['commit']!r} isn't a commit"
        if not DATE.fullmatch(row["date"]):
            yield f"{path}, row {number}: {row['date']!r} isn't a date"
        if not row["command"]:
            yield f"{path}, row {number}: no command"
    own = entry.get("columns", {})
    for name in names[: -len(ORIGIN)]:
        if name not in own and name not in about["columns"]:
            yield f"{path}: column {name} is explained nowhere"
    for name in own:
        if name not in names:
            yield f"{path}: has no column {name}"
    if entry["made_by"] and (why := unmakeable(entry["made_by"], Path(path).name)):
        yield f"{path}: {why}"
    picture = entry.get("picture")
    if picture and f"{FOLDERS[kind]}/{picture}" not in about["pictures"]:
        yield f"{path}: there is no picture {picture}"


def index() -> str:
    """Return docs/results/index.md."""
    about = known()
    text = HEAD + INDEX
    for name, entry in about["tables"].items():
        program = "**present**" if entry["program"] == "present" else entry["program"]
        what = (entry["what"], _rows(RESULTS, name), program, _maker(entry))
        text += _row(_link(f"{name}.csv"), *what, _link(entry.get("picture", "")))
    text += PICTURES
    for path, picture in about["pictures"].items():
        folder, _, name = path.rpartition("/")
        if folder != NOTEBOOK:
            target = name if folder == RESULTS else f"../images/{name}"
            alone = f"`{picture['from_table']}`" if "from_table" in picture else ""
            text += _row(f"[{name}]({target})", picture["what"], _maker(picture), alone)
    text += "\n## Columns\n"
    for name, entry in about["tables"].items():
        text += f"\n### {name}\n\n{_columns(RESULTS, name, entry)}"
    return text + SHARED + "".join(_row(f"`{k}`", *v) for k, v in about["columns"].items())


def readme() -> str:
    """Return docs/notebook/data/README.md."""
    about = known()
    text = HEAD + README
    for name, entry in about["kept"].items():
        what = (entry["what"], _rows(NOTEBOOK, name), entry["instead"], _maker(entry))
        text += _row(_link(f"{name}.csv"), *what, _link(entry.get("picture", "")))
    text += DRAWN
    for path, picture in about["pictures"].items():
        if path.startswith(NOTEBOOK):
            text += _row(_link(Path(path).name), picture["what"], _maker(picture))
    for name, entry in about["kept"].items():
        if "columns" in entry:
            text += f"\n## {name}\n\n{_columns(NOTEBOOK, name, entry)}"
    return text


PAGES = {f"{RESULTS}/index.md": index, f"{NOTEBOOK}/README.md": readme}


def stale() -> list[str]:
    """Return the pages that aren't what would be written now."""
    return [
        name
        for name, page in PAGES.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != page()
    ]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _link(name: str) -> str:
    return f"[{name}]({name})" if name else ""


def _maker(entry: Mapping[str, Any]) -> str:
    kind, _, name = entry["made_by"].partition(": ")
    if kind == "workflow":
        return f"rule `{name}`"
    return f"`{kind}`" if kind else "by hand"


def _rows(folder: str, name: str) -> str:
    return str(len(read_rows(ROOT / folder / f"{name}.csv")))


def _columns(folder: str, name: str, entry: Mapping[str, Any]) -> str:
    own = entry.get("columns", {})
    names = [k for k in read_rows(ROOT / folder / f"{name}.csv")[0] if k not in ORIGIN]
    lines = [f"- `{k}`: {own[k]}\n" for k in names if k in own]
    shared = ", ".join(f"`{k}`" for k in names if k not in own)
    where = "as in several tables" if own else "those of several tables"
    return "".join(lines) + (f"- {where}: {shared}\n" if shared else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    found = problems()
    if not check and not found:
        for name, page in PAGES.items():
            (ROOT / name).write_text(page(), encoding="utf-8")
    elif check:
        found += [f"{name}: stale, run make results-index" for name in stale()]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
