"""Draw one trial's photon counts from the averaged scattering of a temperature."""

import json

import numpy as np
from tables import logged

from prammol.diffraction import Diffraction
from prammol.io import provenance, read_atoms, write_diffraction
from prammol.patches import paper_patches
from prammol.simulate import draw_counts


def counts(
    amplitude: str, element: str, points: int, flux: float, seed: int, wavelength: float
) -> Diffraction:
    """Return counts of the scattering that dynamics.py wrote."""
    with np.load(amplitude) as kept:
        omega, meta = kept["omega"], json.loads(str(kept["meta"]))
    return draw_counts(omega, paper_patches(points), element, flux, seed, wavelength, meta)


def main(job) -> None:
    """Read, draw, write."""
    p = job.params
    element = read_atoms(job.input.crystal).element
    data = counts(job.input.amplitude, element, p.points, float(p.flux), p.seed, p.wavelength)
    seeds = {"simulate": p.seed, "dynamics": data.meta["dynamics_seed"]}
    write_diffraction(job.output[0], data, provenance(seeds=seeds))


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
