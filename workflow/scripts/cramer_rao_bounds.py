"""Cramér-Rao bounds of the mean position error against the flux, for Fig. 4.

docs/results/flux-bounds.csv is a copy of the table.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from table_files import logged, origin_of, write_table

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.photon_flux import known_gain, scale_from_flux
from prammol.diffraction.structure_factor import StructureFactor
from prammol.io import read_atoms
from prammol.likelihood.fisher_information import Fisher
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS
from prammol.simulation.averages import innermost_patches
from prammol.structure.atoms import Atoms

PICOMETRES = 100.0
DRAWS = 2000


def bounds(
    atoms: Atoms,
    patches: list[BraggPatch],
    scales: list[float],
    gain: Sequence[NDArray[np.float64]] = (),
) -> NDArray[np.float64]:
    """Return two least mean errors for each C [sqrt(photons)], (k, 2) [pm].

    That of one atom when all others are known, without potential; and that of all atoms when
    the potential is known and only the orientation isn't.
    """
    # Only the patches matter, but a photon has to be there.
    data = Diffraction(patches, [np.ones(p.shape) for p in patches], gain=gain)
    shard = local_shard(data, Communicator())
    factor = StructureFactor(shard.patches, amplitude=shard.amplitude)
    x = atoms.positions
    turns = np.array([(x - x.mean(axis=0)) @ g.T for g in ROTATIONS])
    draws = np.random.default_rng(0).normal(size=(DRAWS, 3))
    out = []
    for scale in scales:
        fisher = Fisher(shard, factor, x, scale)
        alone = np.linalg.inv(fisher.blocks())
        # the mean length of a Gaussian vector
        single = np.sqrt(8 / np.pi * np.trace(alone, axis1=1, axis2=2) / 3).mean()
        angles = draws @ np.linalg.cholesky(fisher.of_maps(ROTATIONS)).T
        some = turns[:, :: max(len(x) // 200, 1)]
        turned = np.linalg.norm(np.einsum("ka,ajx->kjx", angles, some), axis=2).mean()
        out.append((single, turned))
    return PICOMETRES * np.array(out)


def main(job) -> None:
    """Read, compute, write."""
    atoms = read_atoms(job.input.crystal)
    patches = innermost_patches(atoms, job.params.points)
    fluxes = [float(f) for f in job.params.fluxes]
    wavelength = job.params.wavelength
    scales = [scale_from_flux(f, patches, atoms.element, wavelength) for f in fluxes]
    varies = job.params.form_factor == "q"
    gain = known_gain(patches, atoms.element, wavelength) if varies else ()
    origin = origin_of(job.output[0])
    pairs = zip(fluxes, bounds(atoms, patches, scales, gain), strict=True)
    rows = [
        {"value": f, "single_atom_pm": float(single), "with_potential_pm": float(both)} | origin
        for f, (single, both) in pairs
    ]
    write_table(job.output[0], rows)


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
