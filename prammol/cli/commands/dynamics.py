"""Average the scattering of a crystal over canonical dynamics (paper Eq. 12).

Runs NVT molecular dynamics at a temperature and writes the mean structure factor and the mean
intensity on cubes around three of the innermost Bragg peaks, from which "prammol simulate
--amplitude" draws photon counts: many measurements share one trajectory. The square of the first
is the coherent part, the second has the diffuse one, too (--diffuse). "mpiexec -n N prammol
dynamics ..." shares the work.

  -o a.npz           omega and intensity on the patches, and what the trajectory tells of each atom:
                     mean position [Å], mean square displacement [Å^2], whether it hops
  --mean m.xyz       the mean positions as atoms
  --scattering f.npz the mean scattering on spheres, for "prammol evaluate --scattering"
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from prammol.cli import messages
from prammol.cli.commands.common import (
    add_dynamics,
    add_output,
    count,
    on_root,
    positive,
    read_crystal,
    require_element,
    require_inputs,
    seed,
    warn_of_tasks,
    written_as,
)
from prammol.cli.commands.potential_options import add_potential, potential_of
from prammol.core.defaults import MEASUREMENT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prammol.core.parallel import Communicator
    from prammol.evaluation.mean_scattering import ScatteringAverage
    from prammol.evaluation.trajectory_statistics import Motion
    from prammol.simulation.averages import MeanAmplitude
    from prammol.structure.atoms import Atoms

EXAMPLES = """\
examples:
  prammol dynamics s.xyz --temperature 300 --seed 1 -o a.npz
  mpiexec -n 4 prammol dynamics s.xyz --temperature 700 -o a.npz --mean m.xyz --scattering f.npz
  prammol simulate s.xyz --amplitude a.npz --flux 1e20 --seed 1 -o d.h5
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("crystal", metavar="CRYSTAL", help="XYZ file, positions in Å")
    add_output(parser, "NPZ", "NPZ file to write")
    parser.add_argument(
        "--temperature", type=positive, required=True, metavar="K", help="temperature [K]"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the velocities [0]")
    parser.add_argument(
        "--points",
        type=count,
        default=MEASUREMENT["points"],
        metavar="N",
        help="points along each edge [%(default)s]",
    )
    add_dynamics(parser)
    parser.add_argument(
        "--mean",
        type=written_as("XYZ"),
        metavar="FILE",
        help="XYZ file to write the mean positions to",
    )
    parser.add_argument(
        "--scattering",
        type=written_as("NPZ"),
        metavar="FILE",
        help="NPZ file to write the mean scattering to",
    )
    add_potential(parser)


def run(options: argparse.Namespace, comm: Communicator) -> int:
    """Run the dynamics on all ranks, write on the first."""
    from prammol.evaluation.mean_scattering import ScatteringAverage
    from prammol.evaluation.trajectory_statistics import Motion
    from prammol.simulation.averages import innermost_patches, mean_structure_factor

    atoms = on_root(comm, lambda: _inputs(options))
    warn_of_tasks(comm)
    potential = potential_of(options, atoms.element)
    require_element(potential.element, options.crystal, atoms.element)
    motion = Motion(atoms.positions, potential.neighbour_distance)
    spheres = ScatteringAverage(atoms.positions) if options.scattering and comm.is_root else None

    def visit(x: NDArray[np.float64]) -> None:
        motion.add(x)
        if spheres is not None:
            spheres.add(x)

    patches = innermost_patches(atoms, options.points)
    mean = mean_structure_factor(
        atoms,
        options.temperature,
        options.seed,
        patches,
        potential,
        comm=comm,
        equilibrate=options.equilibrate,
        steps=options.steps,
        every=options.every,
        timestep=options.timestep,
        visit=visit,
    )
    on_root(comm, lambda: _write(options, atoms, mean, motion, spheres))
    return 0


def _inputs(options: argparse.Namespace) -> Atoms:
    from prammol.io import require_absent

    require_inputs(options.crystal, potential=options.potential)
    for path in (options.output, options.mean, options.scattering):
        if path is not None:
            require_absent(path, options.force)
    return read_crystal(options.crystal)


def _write(
    options: argparse.Namespace,
    atoms: Atoms,
    mean: MeanAmplitude,
    motion: Motion,
    spheres: ScatteringAverage | None,
) -> None:
    import numpy as np

    from prammol.io import write_atoms
    from prammol.io.mean_amplitude import write_mean_amplitude
    from prammol.io.mean_scattering import write_mean_scattering
    from prammol.structure.atoms import Atoms

    write_mean_amplitude(options.output, mean, _trajectory(motion), options.force)
    if options.mean:
        columns = {"mean_square_displacement": motion.displacements}
        placed = Atoms(motion.mean_positions, atoms.element, columns, atoms.info)
        write_atoms(options.mean, placed, force=options.force)
    if spheres is not None:
        write_mean_scattering(options.scattering, spheres.mean(), options.force)
    messages.result(f"{options.output}: mean of {mean.meta['snapshots']} snapshots")
    messages.result(
        f"mean square displacement along an axis, median "
        f"{np.median(motion.displacements):.4f} Å^2; {motion.moved().sum()} of {len(atoms)} "
        f"atoms hop or flow; gap between the first two shells {motion.order():.2f}"
    )


def _trajectory(motion: Motion) -> dict[str, Any]:
    """Return what is kept of the trajectory besides the amplitude."""
    import numpy as np

    distance, density = motion.shells()
    return {
        "mean_positions": motion.mean_positions,
        "displacements": motion.displacements,
        "moved": motion.moved(),
        "shells": np.array([distance, density]),
        "order": motion.order(),
    }
