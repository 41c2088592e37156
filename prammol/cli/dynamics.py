"""Average the scattering of a crystal over canonical dynamics (paper Eq. 12).

    python -m prammol.cli.dynamics s.xyz --temperature 300 --seed 1 ... -o amplitude.npz

alone or under mpiexec. A module, not a script of the workflow: a script is an input of its
rule, and days of trajectories would be run again whenever one is edited.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.cli.commands.common import add_potential, potential_of
from prammol.core.parallel import abort_on_exception, world
from prammol.evaluation.mean_scattering import ScatteringAverage
from prammol.evaluation.trajectory_statistics import Motion
from prammol.io import read_atoms, write_atoms
from prammol.io.atomic_write import replacing
from prammol.io.mean_scattering import write_mean_scattering
from prammol.simulation.averages import innermost_patches, mean_structure_factor
from prammol.structure.atoms import Atoms


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, run on all ranks, write on the first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("crystal")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    for name in ("points", "equilibrate", "steps", "every"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--timestep", type=float, required=True)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--mean", help="XYZ file to write the mean positions to")
    parser.add_argument(
        "--scattering",
        help="NPZ file to write the mean scattering on spheres to, for prammol evaluate",
    )
    add_potential(parser)
    options = parser.parse_args(arguments)
    comm = world()
    abort_on_exception(comm)
    atoms = read_atoms(options.crystal)
    potential = potential_of(options, atoms.element)
    motion = Motion(atoms.positions, potential.neighbour_distance)
    spheres = ScatteringAverage(atoms.positions) if options.scattering and comm.is_root else None

    def visit(x: NDArray[np.float64]) -> None:
        motion.add(x)
        if spheres is not None:
            spheres.add(x)

    omega = mean_structure_factor(
        atoms,
        options.temperature,
        options.seed,
        innermost_patches(atoms, options.points),
        potential,
        comm=comm,
        equilibrate=options.equilibrate,
        steps=options.steps,
        every=options.every,
        timestep=options.timestep,
        visit=visit,
    )
    if comm.is_root:
        # What the counts drawn from it will record.
        meta = {
            "temperature": options.temperature,
            "equilibrate": options.equilibrate,
            "snapshots": options.steps // options.every,
            "every": options.every,
            "timestep": options.timestep,
            "remove_rigid_motion": True,
            "dynamics_seed": options.seed,
        }
        with replacing(options.output) as path, open(path, "wb") as file:
            np.savez(file, omega=omega, meta=json.dumps(meta), **kept(motion))
        if options.mean:
            columns = {"mean_square_displacement": motion.displacements}
            mean = Atoms(motion.mean_positions, atoms.element, columns, atoms.info)
            write_atoms(options.mean, mean, force=True)
        if spheres is not None:
            write_mean_scattering(options.scattering, spheres.mean())
        print(f"{options.output}: mean of {meta['snapshots']} snapshots")
        print(
            f"mean square displacement along an axis, median "
            f"{np.median(motion.displacements):.4f} Å^2; {motion.moved().sum()} of {len(atoms)} "
            f"atoms hop or flow; gap between the first two shells {motion.order():.2f}"
        )


def kept(motion: Motion) -> dict[str, Any]:
    """Return what is kept of the trajectory besides the amplitude."""
    distance, density = motion.shells()
    return {
        "mean_positions": motion.mean_positions,
        "displacements": motion.displacements,
        "moved": motion.moved(),
        "shells": np.array([distance, density]),
        "order": motion.order(),
    }


if __name__ == "__main__":
    main()
