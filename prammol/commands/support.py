"""Say where atoms may be: a low-resolution picture of the crystal.

It is coarse-grained from a known crystal, as in the paper: every cubic voxel that
holds an atom is inside. Writes HDF5."""

from __future__ import annotations

import argparse

from prammol.commands.common import add_output, command_line, positive

EXAMPLES = """\
example:
  prammol support d.h5 --from-truth s.xyz --resolution 5 -o u.h5
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("diffraction", metavar="DIFFRACTION", help="HDF5 file with the counts")
    parser.add_argument(
        "--from-truth", required=True, metavar="FILE", help="XYZ file of the known crystal"
    )
    parser.add_argument(
        "--resolution",
        type=positive,
        default=5.0,
        metavar="A",
        help="edge of the cubic voxels [Å] [5]",
    )
    add_output(parser, "HDF5 file to write")


def run(options: argparse.Namespace) -> int:
    """Write the support."""
    from prammol.errors import InputError
    from prammol.io import (
        provenance,
        read_atoms,
        read_diffraction,
        require_absent,
        write_support,
    )
    from prammol.support import support_from_truth

    require_absent(options.output, options.force)
    data = read_diffraction(options.diffraction)
    truth = read_atoms(options.from_truth)
    element = data.meta.get("element")
    if element is not None and element != truth.element:
        msg = (
            f"{options.from_truth}: is made of {truth.element}, "
            f"but {options.diffraction} is about {element}"
        )
        raise InputError(msg)
    support = support_from_truth(truth, options.resolution)
    origin = provenance(command=command_line())
    write_support(options.output, support, origin, options.force)
    print(
        f"{options.output}: {int(support.inside.sum())} voxels of {options.resolution:g} Å, "
        f"{support.volume:.0f} Å^3"
    )
    return 0
