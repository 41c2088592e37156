"""Draw one trial's photon counts from the averaged scattering of a temperature."""

import json

import numpy as np
from tables import logged

from prammol.diffraction.dataset import Diffraction
from prammol.io import provenance, read_atoms, write_diffraction
from prammol.simulation.averages import innermost_patches
from prammol.simulation.counts import draw_counts
from prammol.structure.atoms import Atoms


def counts(
    amplitude: str, atoms: Atoms, points: int, flux: float, seed: int, wavelength: float
) -> Diffraction:
    """Return counts of the scattering that prammol.cli.dynamics wrote."""
    with np.load(amplitude) as kept:
        omega, meta = kept["omega"], json.loads(str(kept["meta"]))
    patches = innermost_patches(atoms, points)
    return draw_counts(omega, patches, atoms.element, flux, seed, wavelength, meta)


def main(job) -> None:
    """Read, draw, write."""
    p = job.params
    atoms = read_atoms(job.input.crystal)
    data = counts(job.input.amplitude, atoms, p.points, float(p.flux), p.seed, p.wavelength)
    seeds = {"simulate": p.seed, "dynamics": data.meta["dynamics_seed"]}
    write_diffraction(job.output[0], data, provenance(seeds=seeds))


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
