"""Write a commented file for "prammol run": all options of the verbs that are named.

Without a verb it is reconstruct alone. Options that can be left out are comments."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prammol.cli import messages

EXAMPLES = """\
examples:
  prammol init run.yaml
  prammol init run.toml support reconstruct plot
  prammol init run.yaml crystal simulate support reconstruct evaluate plot
"""
_WIDTH = 90  # chosen: display
# What is set in the file; other options are comments. chosen: display
_SET: dict[str, dict[str, Any]] = {
    "crystal": {"kind": "vacancy", "output": "s.xyz"},
    "dynamics": {"crystal": "s.xyz", "temperature": 300, "output": "a.npz"},
    "simulate": {"crystal": "s.xyz", "flux": 1e20, "output": "d.h5"},
    "support": {"diffraction": "d.h5", "output": "u.h5"},
    "reconstruct": {"diffraction": "d.h5", "support": "u.h5", "output": "r.h5", "seed": 1},
    "evaluate": {"result": "r.h5", "truth": "s.xyz", "json": "m.json"},
    "plot": {"result": "r.h5", "output": "p.png"},
    "view": {"result": "r.h5", "output": "view.html"},
}
# For the command line rather than for a file.
_LEFT_OUT = ("force", "resume", "verbose", "quiet", "log")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "file", nargs="?", default="run.yaml", metavar="FILE", help=".yaml or .toml [%(default)s]"
    )
    parser.add_argument(
        "verbs",
        nargs="*",
        metavar="VERB",
        help=f"which of {', '.join(_SET)} [reconstruct]",
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def run(options: argparse.Namespace) -> int:
    """Write the file."""
    from prammol.core.errors import InputError
    from prammol.io import replacing, require_absent

    path = Path(options.file)
    if path.suffix not in (".yaml", ".yml", ".toml"):
        msg = f"{path}: expected a name that ends with .yaml or .toml"
        raise InputError(msg)
    unknown = [verb for verb in options.verbs if verb not in _SET]
    if unknown:
        msg = f"{unknown[0]!r:.60} has no section in a run, expected {', '.join(_SET)}"
        raise InputError(msg)
    require_absent(path, options.force)
    verbs = [v for v in _SET if v in (options.verbs or ["reconstruct"])]
    with replacing(path, options.force) as place:
        text = "\n".join(_lines(path.name, verbs, path.suffix == ".toml")) + "\n"
        place.write_text(text, encoding="utf-8")
    messages.result(f"{path}: prammol run {path}")
    return 0


def _lines(name: str, verbs: list[str], toml: bool) -> Iterator[str]:
    from prammol.cli.run_file import actions_of

    yield f"# prammol run {name}"
    yield "# Paths are relative to this file. Remove the # before an option to give it."
    for verb in verbs:
        yield ""
        yield f"[{verb}]" if toml else f"{verb}:"
        given = dict(_SET[verb])
        if verb == "support":
            given |= {"from-truth": "s.xyz"} if "crystal" in verbs else {"phase-retrieval": True}
        for key, action in actions_of(verb).items():
            if key not in _LEFT_OUT:
                yield from _entry(key, action, given.get(key), toml)


def _entry(key: str, action: argparse.Action, value: Any, toml: bool) -> Iterator[str]:
    """Yield the lines of an option: what it is, and its value."""
    indent = "" if toml else "  "
    text = (action.help or "") % {**vars(action), "prog": "prammol"}
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )
    default = _default(action)
    bare = isinstance(default, str) and value is None
    written = default if bare else json.dumps(default if value is None else value)
    if action.dest == "set" and action.nargs != 0:
        written = "{significance = 5}" if toml else "{significance: 5}"
    mark = "# " if value is None else ""
    yield f"{indent}{mark}{key} = {written}" if toml else f"{indent}{mark}{key}: {written}"


def _default(action: argparse.Action) -> Any:
    """Return the default of an option, or what stands for its value in the help."""
    if action.nargs == 0:
        return False
    if action.default not in (None, []):
        return action.default
    return " or ".join(action.choices) if action.choices else action.metavar or action.dest.upper()
