"""Show atoms in three dimensions: one HTML file for any browser, which loads nothing else.

Colours by any column, cuts, hides atoms by confidence or occupancy, measures distances. With
--truth missing and extra atoms are marked; --trajectory plays what reconstruct --trajectory
wrote. A view can be named behind the file: view.html#column=energy&xhigh=0."""

from __future__ import annotations

import argparse
from pathlib import Path

from prammol.cli import messages
from prammol.cli.commands.common import read_found, require_inputs, written_as

EXAMPLES = """\
examples:
  prammol view r.h5
  prammol view r.h5 --truth s.xyz --trajectory r.trajectory.xyz -o view.html
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "result", metavar="RESULT", help="HDF5 file written by reconstruct, or a file with atoms"
    )
    parser.add_argument("--truth", metavar="FILE", help="XYZ file of the true crystal")
    parser.add_argument("--trajectory", metavar="FILE", help="extended XYZ file to play")
    parser.add_argument(
        "-o",
        "--output",
        type=written_as("HTML"),
        metavar="FILE",
        help="HTML file to write [RESULT with .html]",
    )
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    from prammol.cli.commands.evaluate import require_same_element
    from prammol.evaluation.metrics import evaluate
    from prammol.io import read_atoms, require_absent
    from prammol.io.trajectory import read_trajectory
    from prammol.plotting.view import write_view

    require_inputs(options.result, options.truth, options.trajectory)
    output = options.output or Path(options.result).with_suffix(".html")
    require_absent(output, options.force)
    atoms = read_found(options.result)
    truth = metrics = None
    if options.truth:
        truth = read_atoms(options.truth, several=True)
        require_same_element(options.truth, truth, options.result, atoms)
        metrics = evaluate(atoms, truth, with_resolution=False)
    frames = read_trajectory(options.trajectory) if options.trajectory else ()
    write_view(output, atoms, truth, metrics, frames, options.force)
    messages.result(str(output))
    return 0
