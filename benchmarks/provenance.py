"""Where the rows of a table come from: the commit, the date and the command that made them.

Every table in docs/results has these three columns, which the scripts write with
:func:`write_rows`:

======== =========================================================================================
commit   the program's. ``-dirty``: with changes that weren't committed. ``a..b``: one of these.
         ``<=a``: a or an earlier one
date     of the run, or where only the commit that brought the rows is known, of that one
command  as typed, from the top of the checkout or the folder that the files are in
======== =========================================================================================

What isn't known is ``unknown``.
"""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("commit", "date", "command")
UNKNOWN = "unknown"
# What numbers depend on; the tables themselves may be changed while a script adds to them.
_CODE = ("prammol", "benchmarks", "workflow", "tests/slurm", "Snakefile", "pyproject.toml")
_ABSOLUTE = re.compile(r"(?<![^=:,])/[^=:,]*")  # in a word such as --truth=/a/b
_MOST_WORDS = 8  # of a list such as trial-*, which the shell writes out


def provenance(
    argv: Sequence[str] | None = None, *, ranks: int = 1, command: str | None = None
) -> dict[str, str]:
    """Return commit, date and command of this process.

    Parameters
    ----------
    argv : sequence of str, optional
        Script and arguments, ``sys.argv`` if not given.
    ranks : int
        MPI ranks, of which the command line doesn't tell.
    command : str, optional
        The command itself, for what another program starts.
    """
    if command is None:
        command = command_line(sys.argv if argv is None else argv, ranks)
    return {"commit": commit(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "command": command}


def commit(root: Path = ROOT) -> str:
    """Return the commit of a checkout, ``unknown`` if it isn't one."""
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return UNKNOWN  # unpacked inside of somebody's repository
        name = _git(root, "rev-parse", "--short=7", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", *_CODE)
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return f"{name}-dirty" if changed else name


def command_line(argv: Sequence[str], ranks: int = 1, root: Path = ROOT) -> str:
    """Return a command line without what is of one machine: folders above the files."""
    script = Path(argv[0])
    try:
        script = script.resolve().relative_to(root.resolve())
    except ValueError:
        script = Path(script.name)
    words = [_ABSOLUTE.sub(lambda m: _short(m[0], root), word) for word in argv[1:]]
    launcher = ["mpiexec", "-n", str(ranks)] if ranks > 1 else []
    quoted = [shlex.quote(w) for w in (*launcher, "python", script.as_posix())]
    return " ".join([*quoted, *_abridged(words)])


def write_rows(
    path: Path | str,
    rows: Iterable[Mapping[str, Any]],
    origin: Mapping[str, str],
    fields: Sequence[str] = (),
) -> None:
    """Write a table; rows that have an origin of their own keep it.

    Parameters
    ----------
    path : Path or str
        CSV file.
    rows : iterable of mapping
        What a row doesn't have stays empty.
    origin : mapping of str to str
        From :func:`provenance`.
    fields : sequence of str, optional
        Columns, those of the first row if not given; those of the origin follow.
    """
    rows = [{**origin, **row} for row in rows]
    names = [k for k in fields or rows[0] if k not in COLUMNS]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*names, *COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def add_row(
    path: Path, row: Mapping[str, Any], origin: Mapping[str, str], fields: Sequence[str]
) -> None:
    """Print a row and add it to a table, or begin one."""
    print(row, flush=True)
    rows = read_rows(path) if path.exists() else []
    write_rows(path, [*rows, row], origin, fields)


def read_rows(path: Path | str) -> list[dict[str, str]]:
    """Read a table; a row without an origin gets an unknown one."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{**dict.fromkeys(COLUMNS, UNKNOWN), **row} for row in csv.DictReader(file)]


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _short(path: str, root: Path) -> str:
    """Return an absolute path as from here or from the checkout, else its last part."""
    for folder in (Path.cwd(), root.resolve()):
        if Path(path).is_relative_to(folder):
            return Path(path).relative_to(folder).as_posix()
    return Path(path).name


def _abridged(words: Sequence[str]) -> list[str]:
    """Quote words, and leave out the middle of long lists of files."""
    out: list[str] = []
    run: list[str] = []
    for word in [*words, None]:
        if word is not None and not word.startswith("-"):
            run.append(shlex.quote(word))
            continue
        out += [run[0], "...", run[-1]] if len(run) > _MOST_WORDS else run
        run = []
        if word is not None:
            out.append(shlex.quote(word))
    return out
