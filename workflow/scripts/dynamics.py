"""Average the scattering of a crystal over canonical dynamics (paper Eq. 12).

python dynamics.py s.xyz --temperature 300 --seed 1 -o amplitude.npz, alone or under mpiexec.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from prammol.comm import abort_on_exception, world
from prammol.commands.common import add_potential, potential_of
from prammol.io import read_atoms
from prammol.io_files import replacing
from prammol.simulate import innermost_patches, mean_structure_factor


def main() -> None:
    """Read the options, run on all ranks, write on the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystal")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    for name in ("points", "equilibrate", "steps", "every"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("-o", "--output", required=True)
    add_potential(parser)
    options = parser.parse_args()
    comm = world()
    abort_on_exception(comm)
    atoms = read_atoms(options.crystal)
    omega = mean_structure_factor(
        atoms,
        options.temperature,
        options.seed,
        innermost_patches(atoms, options.points),
        potential_of(options, atoms.element),
        comm=comm,
        equilibrate=options.equilibrate,
        steps=options.steps,
        every=options.every,
    )
    if comm.is_root:
        # What the counts drawn from it will record.
        meta = {
            "temperature": options.temperature,
            "equilibrate": options.equilibrate,
            "snapshots": options.steps // options.every,
            "every": options.every,
            "remove_rigid_motion": True,
            "dynamics_seed": options.seed,
        }
        with replacing(options.output) as path, open(path, "wb") as file:
            np.savez(file, omega=omega, meta=json.dumps(meta))
        print(f"{options.output}: mean of {meta['snapshots']} snapshots")


if __name__ == "__main__":
    main()
