"""Write a reconstruction, or atoms, for other programs; the end of the name tells the format.

.xyz, .cif, .vasp (POSCAR), .data (LAMMPS) and .dump hold the atoms, .vtp (ParaView) all their
columns, too. FILE.vti holds fields on a grid: density, displacement from the lattice, strain, and
what else is known of the atoms, as means over a Gaussian around each point."""

from __future__ import annotations

import argparse
from pathlib import Path

from prammol.cli.commands.common import add_output, count

EXAMPLES = """\
examples:
  prammol export r.h5 -o atoms.vtp
  prammol export r.h5 --spacing 1 --width 2 -o fields.vti
  prammol export r.h5 -o atoms.cif
  prammol export relaxed.dump.gz --elements Al,Ni --frame 3 -o s.xyz
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "result",
        metavar="RESULT",
        help="HDF5 file written by reconstruct, or atoms: XYZ, LAMMPS data or dump, CIF, POSCAR",
    )
    parser.add_argument(
        "--elements",
        metavar="EL,EL",
        help="chemical symbols of the types of a LAMMPS file, from type 1",
    )
    parser.add_argument(
        "--frame", type=count, default=1, metavar="N", help="of XYZ or a dump, from 1 [1]"
    )
    parser.add_argument(
        "--spacing", type=float, metavar="A", help="of the grid, Å [half the neighbours' distance]"
    )
    parser.add_argument(
        "--width", type=float, metavar="A", help="of the Gaussian, Å [the neighbours' distance]"
    )
    add_output(parser, "a file", "file to write: .xyz, .cif, .vasp, .data, .dump, .vtp or .vti")


def run(options: argparse.Namespace) -> int:
    """Write the file."""
    import numpy as np

    from prammol.cli.commands.common import read_found, require_inputs
    from prammol.core.errors import InputError
    from prammol.evaluation.registration import neighbour_distance
    from prammol.io import require_absent
    from prammol.io.converted import ENDINGS, write_as, writes
    from prammol.io.vtk import write_vti, write_vtp
    from prammol.structure.gridded_fields import gridded

    require_inputs(options.result)
    suffix = Path(options.output).suffix.lower()
    if suffix not in (".vtp", ".vti") and not writes(options.output):
        msg = (
            f"{options.output}: can't write {suffix or 'no suffix'}, expected .vtp, .vti, "
            f"{', '.join(ENDINGS)}"
        )
        raise InputError(msg)
    require_absent(options.output, options.force)
    elements = options.elements.split(",") if options.elements else ()
    atoms = read_found(options.result, elements, options.frame)
    if suffix == ".vtp":
        write_vtp(options.output, atoms, options.force)
    elif suffix != ".vti":
        write_as(options.output, atoms, options.force)
    else:
        if len(atoms) < 2:
            msg = f"{options.result}: has {len(atoms)} atoms, expected at least 2"
            raise InputError(msg)
        near = neighbour_distance(atoms.positions)
        arrays = {name: np.asarray(values) for name, values in atoms.columns.items()}
        means = {
            name: values
            for name, values in arrays.items()
            if values.dtype.kind == "f" and name != "truth_index"
        }
        spacing = near / 2 if options.spacing is None else options.spacing
        width = near if options.width is None else options.width
        write_vti(options.output, gridded(atoms.positions, means, spacing, width), options.force)
    print(options.output)
    return 0
