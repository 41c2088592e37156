"""Make one of the paper's samples, a single Voronoi grain in vacuum, relaxed by LAMMPS.

kinds:
  bulk         4791 atoms, no defect
  vacancy      4679 atoms, one missing in the centre
  dislocation  8777 atoms, a screw dislocation through the centre
  bulk-large   8777 atoms, no defect
  dissolved    --of FILE without --by N atoms of its surface
  grown        --of FILE with N atoms more

Writes an extended XYZ file, positions in Å."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from prammol.cli import messages
from prammol.cli.commands.common import add_output, count, on_root, require_inputs, seed
from prammol.cli.commands.potential_options import add_potential, potential_of

if TYPE_CHECKING:
    from prammol.core.parallel import Communicator
    from prammol.potentials.potential import Potential
    from prammol.structure.atoms import Atoms

EXAMPLES = """\
examples:
  prammol crystal vacancy -o s.xyz
  prammol crystal bulk --atoms 600 --seed 5 -o small.xyz
  prammol crystal dissolved --of small.xyz --by 20 --seed 1 -o later.xyz
  prammol crystal bulk --atoms 400 --element CoAl --potential CoAl.eam.alloy -o coal.xyz
  prammol crystal bulk --atoms 2000 --potential Cu_mishin1.eam.alloy -o copper.xyz
  prammol crystal bulk --atoms 2000 --element Nb --pair-style 'uf3 3' \\
      --pair-coeff '* * Nb.uf3 Nb' -o niobium.xyz
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "kind", metavar="KIND", help="bulk, vacancy, dislocation, bulk-large, dissolved or grown"
    )
    add_output(parser, "XYZ", "extended XYZ file to write")
    parser.add_argument("--atoms", type=count, help="number of atoms [that of the paper]")
    parser.add_argument("--seed", type=seed, help="seed of the grain's shape [the kind's own]")
    parser.add_argument(
        "--substitute",
        action="append",
        type=_part,
        default=[],
        metavar="EL:PART",
        help="put atoms of an element in the place of this part of all, at random, before they "
        "relax; can be given several times",
    )
    parser.add_argument("--of", metavar="FILE", help="the crystal that dissolves or grows")
    parser.add_argument("--by", type=count, metavar="N", help="atoms that leave or come")
    parser.add_argument("--no-relax", action="store_true", help="leave the atoms on the lattice")
    add_potential(parser)


def run(options: argparse.Namespace, comm: Communicator) -> int:
    """Make the crystal on all ranks, write it on the first."""
    from prammol.io import require_absent, write_atoms
    from prammol.simulation.samples import make_crystal

    on_root(comm, lambda: require_inputs(options.of, potential=options.potential))
    on_root(comm, lambda: require_absent(options.output, options.force))
    potential = potential_of(options, solutes=[name for name, _ in options.substitute])
    changes = _changed(options, potential, comm)
    atoms = changes or make_crystal(
        options.kind,
        potential,
        atoms=options.atoms,
        seed=options.seed,
        comm=comm,
        relax=not options.no_relax,
        substitute=dict(options.substitute),
    )
    on_root(comm, lambda: write_atoms(options.output, atoms, options.force))
    if comm.is_root:
        energy = atoms.info.get("energy")
        relaxed = "" if energy is None else f", {energy / len(atoms):.4f} eV per atom"
        name = "".join(atoms.elements)
        messages.result(f"{options.output}: {len(atoms)} {name} atoms{relaxed}")
    return 0


def _changed(options: argparse.Namespace, potential: Potential, comm: Communicator) -> Atoms | None:
    """Return a crystal that has dissolved or grown, None for another kind."""
    from prammol.cli.commands.common import read_crystal
    from prammol.core.errors import InputError
    from prammol.io import naming
    from prammol.simulation.surface_changes import change_surface

    sign = {"dissolved": -1, "grown": 1}.get(options.kind)
    given = [f"--{name}" for name in ("of", "by") if getattr(options, name) is not None]
    if sign is None:
        if given:
            msg = f"{given[0]} is for kinds dissolved and grown, leave it out"
            raise InputError(msg)
        return None
    if len(given) < 2 or options.atoms or options.no_relax or options.substitute:
        msg = f"kind {options.kind} needs --of FILE and --by N, and takes --seed besides"
        raise InputError(msg)
    before = on_root(comm, lambda: read_crystal(options.of))
    with naming(options.of):
        return change_surface(before, sign * options.by, potential, options.seed or 0, comm)


def _part(text: str) -> tuple[str, float]:
    """Convert an element and a part, such as Cu:0.03."""
    name, _, part = text.partition(":")
    try:
        value = float(part)
    except ValueError:
        value = 0.0
    if not (name.isalpha() and 0 < value < 1):
        msg = f"{text!r} isn't an element and a part below 1 such as Cu:0.03"
        raise argparse.ArgumentTypeError(msg)
    return name.capitalize(), value
