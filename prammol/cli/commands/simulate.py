"""Draw photon counts of a crystal around its Bragg peaks: Poisson(C^2 |Omega|^2 + B).

Measured are cubes around three of the innermost peaks, (-1,1,1), (1,-1,1) and (1,1,-1)
of fcc, (0,1,1), (1,0,1) and (1,1,0) of bcc, 50 points along each edge of 1.2 reciprocal
lattice units, unless --peak, --half-width and --points say otherwise. Structure and
lattice constant are those of the potential, if options describe one, else those in the
crystal's file. C follows from the flux. With --temperature, Omega is the mean over
snapshots of canonical dynamics (the coherent part; no diffuse scattering). Writes HDF5
in the CXI layout."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from prammol.cli.commands.common import (
    add_output,
    add_potential,
    command_line,
    count,
    on_root,
    positive,
    potential_of,
    seed,
)
from prammol.core.defaults import DYNAMICS, MEASUREMENT

if TYPE_CHECKING:
    from prammol.core.parallel import Communicator
    from prammol.diffraction.bragg_patch import BraggPatch
    from prammol.potentials.potential import Potential
    from prammol.structure.atoms import Atoms

EXAMPLES = """\
examples:
  prammol simulate s.xyz --flux 1e20 --seed 1 -o d.h5
  prammol simulate s.xyz --flux 1e18 --points 30 --background 5 -o coarse.h5
  prammol simulate s.xyz --flux 1e20 --peak=2,0,0 --peak=0,2,0 --peak=1,1,1 -o d200.h5
  mpiexec -n 2 prammol simulate s.xyz --flux 1e20 --temperature 300 -o warm.h5
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("crystal", metavar="CRYSTAL", help="XYZ file, positions in Å")
    add_output(parser, "HDF5 file to write")
    parser.add_argument(
        "--flux",
        type=positive,
        required=True,
        metavar="PHI",
        help="time-integrated flux [photons/um^2], for example 1e20",
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the counts [0]")
    parser.add_argument(
        "--points",
        type=count,
        default=MEASUREMENT["points"],
        metavar="N",
        help="points along each edge [%(default)s]",
    )
    parser.add_argument(
        "--peak",
        action="append",
        type=_peak,
        metavar="H,K,L",
        help="centre of a cube in reciprocal lattice units; once for each, written --peak=-1,1,1",
    )
    parser.add_argument(
        "--half-width",
        type=positive,
        default=0.6,
        metavar="RLU",
        help="half the edge of a cube in reciprocal lattice units [0.6]",
    )
    parser.add_argument(
        "--wavelength",
        type=positive,
        default=MEASUREMENT["wavelength"],
        metavar="A",
        help="wavelength [Å] [%(default)s]",
    )
    parser.add_argument(
        "--background",
        action="append",
        default=[],
        metavar="B",
        help="photons per point that the crystal didn't scatter: a number or a .npy file with an "
        "array; once for all patches or once for each [0]",
    )
    dynamics = parser.add_argument_group("dynamics")
    dynamics.add_argument("--temperature", type=positive, metavar="K", help="temperature [K]")
    for name, kind, unit, text in (
        ("equilibrate", count, "N", "steps before the first snapshot"),
        ("steps", count, "N", "steps with snapshots"),
        ("every", count, "N", "steps between two snapshots"),
        ("timestep", positive, "FS", "time step [fs]"),
    ):
        dynamics.add_argument(
            f"--{name}",
            type=kind,
            default=DYNAMICS[name],
            metavar=unit,
            help=f"{text} [%(default)s]",
        )
    add_potential(parser)


def run(options: argparse.Namespace, comm: Communicator) -> int:
    """Simulate on all ranks, write on the first."""
    from prammol.io import provenance, read_atoms, require_absent, write_diffraction
    from prammol.io.arrays import read_background
    from prammol.io.atomic_write import naming
    from prammol.simulation.counts import require_apart, simulate

    def inputs() -> Atoms:
        require_absent(options.output, options.force)
        atoms = read_atoms(options.crystal)
        with naming(options.crystal):
            require_apart(atoms)
        return atoms

    atoms = on_root(comm, inputs)
    potential = _potential(options, atoms)
    patches = _patches(options, atoms, potential)
    data = simulate(
        atoms,
        options.flux,
        options.seed,
        patches=patches,
        temperature=options.temperature,
        wavelength=options.wavelength,
        potential=potential,
        comm=comm,
        equilibrate=options.equilibrate,
        steps=options.steps,
        every=options.every,
        timestep=options.timestep,
        background=on_root(comm, lambda: read_background(options.background, patches)),
    )

    def write() -> None:
        origin = provenance(
            command=command_line(), seeds={"simulate": options.seed}, potential=potential
        )
        write_diffraction(options.output, data, origin, options.force)

    on_root(comm, write)
    if comm.is_root:
        print(
            f"{options.output}: {len(data.patches)} patches, {data.total_counts:.4g} photons, "
            f"{data.meta['peak_counts']:.4g} in the brightest point, C = {data.meta['scale']:.4g}"
        )
    return 0


def _peak(text: str) -> tuple[float, ...]:
    try:
        hkl = tuple(float(part) for part in text.split(","))
    except ValueError:
        hkl = ()
    if len(hkl) != 3:
        msg = f"{text!r} isn't three numbers such as -1,1,1"
        raise argparse.ArgumentTypeError(msg)
    return hkl


def _potential(options: argparse.Namespace, atoms: Atoms) -> Potential | None:
    """Return the potential if the simulation needs one or the options describe one."""
    from prammol.cli.commands.common import require_element

    if options.temperature is None and options.potential is None and options.pair_style is None:
        return None
    potential = potential_of(options, atoms.element)
    require_element(potential.element, options.crystal, atoms.element)
    return potential


def _patches(
    options: argparse.Namespace, atoms: Atoms, potential: Potential | None
) -> list[BraggPatch]:
    from prammol.core.errors import InputError
    from prammol.simulation.averages import innermost_patches

    edge, structure = options.lattice_constant, options.structure
    if potential is not None:
        edge, structure = potential.lattice_constant, potential.structure
    try:
        return innermost_patches(
            atoms, options.points, edge, structure, options.peak, options.half_width
        )
    except InputError as error:
        msg = f"{options.crystal}: {error}"
        raise InputError(msg) from None
