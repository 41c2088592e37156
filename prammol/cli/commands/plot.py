"""Draw a reconstruction: layers along planes of its lattice and how it converged.

With --truth the atoms are coloured by their errors, missing and extra ones marked; with --data
counts, model and what is between them are drawn instead."""

from __future__ import annotations

import argparse

from prammol.cli import messages
from prammol.cli.commands.common import add_output

EXAMPLES = """\
examples:
  prammol plot r.h5 --truth s.xyz -o p.png
  prammol plot r.h5 --planes 111 110 --colour strain -o p.png
  prammol plot r.h5 --data d.h5 -o fit.png
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("result", metavar="RESULT", help="HDF5 file written by reconstruct")
    parser.add_argument("--truth", metavar="FILE", help="XYZ file of the true crystal")
    parser.add_argument("--data", metavar="FILE", help="diffraction file, to draw the fit")
    parser.add_argument(
        "--planes",
        metavar="HKL",
        nargs="+",
        default=["001", "100", "010"],
        help="up to three Miller indices, such as 1-10 [001 100 010]",
    )
    parser.add_argument(
        "--colour",
        metavar="NAME",
        help="what colours the atoms: displacement, strain, shear, coordination, error_bars, "
        "occupancy, confidence, energy, motion or centro_symmetry "
        "[the error with --truth, else each in a picture of its own]",
    )
    add_output(parser, "a picture", "picture to write: .png, .pdf or .svg")


def run(options: argparse.Namespace) -> int:
    """Draw the picture."""
    from prammol.cli.commands.common import read_crystal, require_inputs
    from prammol.cli.commands.evaluate import require_same_element
    from prammol.io import read_diffraction, read_reconstruction, require_absent
    from prammol.plotting import plot_fit, plot_reconstruction
    from prammol.structure.lattice_planes import parse_planes

    require_inputs(options.result, options.truth, options.data)
    require_absent(options.output, options.force)
    planes = parse_planes(options.planes)
    result = read_reconstruction(options.result)
    if options.data:
        plot_fit(result, read_diffraction(options.data), options.output, force=options.force)
        print(options.output)
        return 0
    truth = None
    if options.truth:
        truth = read_crystal(options.truth, mean=True, several=True)
        require_same_element(options.truth, truth, options.result, result.atoms)
    plot_reconstruction(
        result,
        options.output,
        truth=truth,
        planes=planes,
        colour=options.colour,
        force=options.force,
    )
    messages.result(options.output)
    return 0
