"""Compare two reconstructions of a crystal; no true one is needed.

The second is laid over the first as evaluate does it: moved as a whole, or inverted. Atoms
pair within half the nearest-neighbour distance. A pair is the same if its distance is within
the 95 % region of both error bars, else moved: of equal crystals 5 % seem to have moved. An
added or removed atom is beyond the error bars if its occupancy_confidence is above 0.95."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from prammol.cli.commands.common import require_inputs, written_as

EXAMPLES = """\
examples:
  prammol compare before.h5 after.h5
  prammol compare a.h5 b.h5 --json c.json --atoms changes.xyz

keys of the JSON file:
  n_first n_second n_same n_moved n_moved_by_chance (5 % of the pairs)
  n_added n_added_beyond n_removed n_removed_beyond (those beyond the error bars)
  mean_distance_pm rms_distance_pm max_distance_pm (of the pairs)
  reduced_chi_squared (1 if error bars alone explain the distances)
  translation_angstrom inverted rotation_degrees (what is left; it isn't applied)
null stands for what isn't known, as without error bars
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("first", metavar="FIRST", help="HDF5 file written by reconstruct")
    parser.add_argument("second", metavar="SECOND", help="another one")
    parser.add_argument(
        "--json", type=written_as("JSON"), metavar="FILE", help="write the numbers as JSON"
    )
    parser.add_argument(
        "--atoms",
        type=written_as("XYZ"),
        metavar="FILE",
        help="write all atoms, in the frame of the first, as extended XYZ with the columns change "
        "(same, moved, added, removed) and distance_pm",
    )
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")


def run(options: argparse.Namespace) -> int:
    """Compare, print, write."""
    from prammol.core.errors import InputError
    from prammol.evaluation.comparison import compare
    from prammol.io import read_reconstruction, replacing, require_absent, write_atoms

    require_inputs(options.first, options.second)
    for path in filter(None, (options.json, options.atoms)):
        require_absent(path, options.force)
    first = read_reconstruction(options.first).atoms
    second = read_reconstruction(options.second).atoms
    if not set(first.elements) & set(second.elements):
        of = [", ".join(atoms.elements) for atoms in (first, second)]
        msg = f"{options.second}: is made of {of[1]}, but {options.first} of {of[0]}"
        raise InputError(msg)
    if len(first) < 2:
        msg = f"{options.first}: has {len(first)} atoms, expected at least 2 to compare with"
        raise InputError(msg)
    comparison = compare(first, second)
    values = comparison.summary()
    if options.json:
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        with replacing(options.json, options.force) as path:
            Path(path).write_text(text, encoding="utf-8")
    if options.atoms:
        write_atoms(options.atoms, comparison.atoms(), options.force)
    _report(values)
    return 0


def _report(values: dict[str, Any]) -> None:
    from prammol.cli.progress import print_table

    def number(name: str, unit: str) -> str:
        value = values[name]
        return "unknown" if value is None else f"{value:.4g} {unit}".rstrip()

    def change(name: str) -> str:
        beyond = values[f"n_{name}_beyond"]
        doubt = "" if beyond is None else f", {beyond} beyond error bars"
        return f"{values[f'n_{name}']}{doubt}"

    changed = values["n_element_changed"]
    element = {} if changed is None else {"element changed": changed}
    moved = number("n_moved", "")
    if values["n_moved"] is not None:
        moved += f" beyond error bars, {values['n_moved_by_chance']:.3g} expected by chance"
    print_table(
        {
            "atoms": f"{values['n_first']} first, {values['n_second']} second",
            "same": number("n_same", ""),
            "moved": moved,
            **element,
            "added": change("added"),
            "removed": change("removed"),
            "mean distance": number("mean_distance_pm", "pm"),
            "rms distance": number("rms_distance_pm", "pm"),
            "largest distance": number("max_distance_pm", "pm"),
            "reduced chi-squared": number("reduced_chi_squared", ""),
            "rotation left": number("rotation_degrees", "degrees"),
        }
    )
