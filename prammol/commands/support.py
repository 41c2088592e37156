"""Say where atoms may be: a low-resolution picture of the crystal.

Either from the counts alone (--phase-retrieval): each patch is phased by HIO, ER and
shrink-wrap, and where their mean amplitude is large is inside; needs the extra
prammol[phasing]. Or coarse-grained from a known crystal (--from-truth), as in the
paper: every cubic voxel that holds an atom is inside. Writes HDF5."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from prammol.commands.common import add_output, command_line, count, positive, seed

if TYPE_CHECKING:
    from prammol.diffraction import Diffraction
    from prammol.support import Support

EXAMPLES = """\
examples:
  prammol support d.h5 --phase-retrieval -o u.h5
  prammol support d.h5 --from-truth s.xyz --resolution 5 -o u.h5
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("diffraction", metavar="DIFFRACTION", help="HDF5 file with the counts")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--phase-retrieval", action="store_true", help="from the counts and nothing else"
    )
    source.add_argument("--from-truth", metavar="FILE", help="XYZ file of the known crystal")
    parser.add_argument(
        "--resolution",
        type=positive,
        metavar="A",
        help="with --from-truth: edge of the cubic voxels [Å] [5]",
    )
    parser.add_argument(
        "--starts",
        type=count,
        metavar="N",
        help="with --phase-retrieval: random starts per patch, the best fit is taken [3]",
    )
    parser.add_argument(
        "--seed", type=seed, metavar="N", help="with --phase-retrieval: seed of the starts [0]"
    )
    parser.add_argument(
        "--threshold",
        type=positive,
        metavar="X",
        help="with --phase-retrieval: voxels above this fraction of the bulk's amplitude are "
        "inside [0.1]",
    )
    add_output(parser, "HDF5 file to write")


def run(options: argparse.Namespace) -> int:
    """Write the support."""
    from prammol.io import provenance, read_diffraction, require_absent, write_support

    _check_options(options)
    require_absent(options.output, options.force)
    data = read_diffraction(options.diffraction)
    support = _retrieved(options, data) if options.phase_retrieval else _coarse(options, data)
    origin = provenance(command=command_line())
    write_support(options.output, support, origin, options.force)
    edges = " x ".join(f"{e:.3g}" for e in (support.voxel**2).sum(axis=1) ** 0.5)
    print(
        f"{options.output}: {int(support.inside.sum())} voxels of {edges} Å, "
        f"{support.volume:.0f} Å^3"
    )
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options of the other way to make a support."""
    from prammol.errors import InputError

    if options.phase_retrieval:
        way, others = "--phase-retrieval", ["resolution"]
    else:
        way, others = "--from-truth", ["starts", "seed", "threshold"]
    for name in others:
        if getattr(options, name) is not None:
            msg = f"--{name} has no meaning with {way}"
            raise InputError(msg)


def _coarse(options: argparse.Namespace, data: Diffraction) -> Support:
    from prammol.errors import InputError
    from prammol.io import read_atoms
    from prammol.support import support_from_truth

    truth = read_atoms(options.from_truth)
    element = data.meta.get("element")
    if element is not None and element != truth.element:
        msg = (
            f"{options.from_truth}: is made of {truth.element}, "
            f"but {options.diffraction} is about {element}"
        )
        raise InputError(msg)
    return support_from_truth(truth, options.resolution or 5.0)


def _retrieved(options: argparse.Namespace, data: Diffraction) -> Support:
    from prammol.phase_retrieval import support_from_data

    # what isn't given takes the function's own default
    names = ("starts", "seed", "threshold")
    given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    found = support_from_data(data, report=lambda line: print(line, file=sys.stderr), **given)
    pairs = zip(found.errors, found.correlation, strict=True)
    for k, (error, correlation) in enumerate(pairs):
        print(
            f"patch {k + 1}: misfit of the amplitudes {error:.4f}, "
            f"correlation with the best patch {correlation:.4f}"
        )
    return found.support
