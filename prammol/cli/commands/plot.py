"""Draw a reconstruction: slices in three directions and how it converged.

With --truth the atoms are coloured by their errors, missing and extra ones marked."""

from __future__ import annotations

import argparse

from prammol.cli import messages
from prammol.cli.commands.common import add_output

EXAMPLES = """\
example:
  prammol plot r.h5 --truth s.xyz -o p.png
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("result", metavar="RESULT", help="HDF5 file written by reconstruct")
    parser.add_argument("--truth", metavar="FILE", help="XYZ file of the true crystal")
    add_output(parser, "a picture", "picture to write: .png, .pdf or .svg")


def run(options: argparse.Namespace) -> int:
    """Draw the picture."""
    from prammol.cli.commands.common import read_crystal, require_inputs
    from prammol.cli.commands.evaluate import require_same_element, true_scale_of
    from prammol.io import read_reconstruction, require_absent
    from prammol.plotting.reconstruction import plot_reconstruction

    require_inputs(options.result, options.truth)
    require_absent(options.output, options.force)
    result = read_reconstruction(options.result)
    truth = None
    if options.truth:
        truth = read_crystal(options.truth, mean=True)
        require_same_element(options.truth, truth.element, options.result, result.atoms.element)
    plot_reconstruction(
        result,
        options.output,
        truth=truth,
        true_scale=true_scale_of(result),
        force=options.force,
    )
    messages.result(options.output)
    return 0
