"""Matter that isn't the crystal, of which the program isn't told: are the atoms right?

    python benchmarks/matter.py -o docs/results/matter.csv

This makes docs/results/matter.csv; no picture. Aluminium crystals of about 800 atoms: bare, with
light atoms at random places on the surface, and with the lowest layer held by a substrate; rows
are added to a table that is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance, read_rows, write_rows
from reconstructed import reconstructed
from scipy.spatial import cKDTree

import prammol
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.photon_flux import scale_from_flux
from prammol.diffraction.structure_factor import StructureFactor, squared
from prammol.potentials.lammps import Cluster

COLUMNS = ("condition", "flux", "seed", "atoms", "n_missing", "n_extra", "mae_pm", "max_error_pm")
COLUMNS += ("error_bar_pm", "excess", "iterations", "converged", "reason", "matter", "cause")
COLUMNS += ("core_s",)
LATTICE = 4.05  # Å
LIGHT = 0.47  # f of oxygen over f of aluminium at {111}


def patches() -> list[BraggPatch]:
    """Return three {111} patches of +-0.6 reciprocal lattice units."""
    return [cubic_patch(hkl, 0.6, 30, LATTICE) for hkl in ((-1, 1, 1), (1, -1, 1), (1, 1, -1))]


def bare(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a crystal, (n, 3) [Å], and no other atoms."""
    return prammol.make_crystal("bulk", atoms=800, seed=seed).positions, np.empty((0, 3))


def oxygen(seed: int, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a crystal and light atoms at random places on it, 1.8 to 3 Å away."""
    x, _ = bare(seed)
    rng = np.random.default_rng([4, seed])
    spots = rng.uniform(x.min(0) - 5, x.max(0) + 5, (60000, 3))
    gap = cKDTree(x).query(spots)[0]
    kept: list[np.ndarray] = []
    for s in spots[(gap > 1.8) & (gap < 3.0)]:
        if len(kept) == atoms:
            break
        if all(((s - k) ** 2).sum() > 1.9**2 for k in kept):
            kept.append(s)
    return x, np.array(kept)


def substrate(seed: int, strain: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a crystal whose lowest layer is clamped and strained within its plane."""
    x = prammol.make_crystal("bulk", atoms=800, seed=seed, relax=False).positions
    x = x[x[:, 2] > np.quantile(x[:, 2], 0.15)]
    low = x[:, 2] < x[:, 2].min() + 2.5
    centre = x[low].mean(axis=0)
    x[low] = centre + (x[low] - centre) * [1 + strain, 1 + strain, 1]
    cluster = Cluster(prammol.aluminium(), Communicator())
    try:
        return cluster.relax(x, free=~low, force_tolerance=1e-5)[0], np.empty((0, 3))
    finally:
        cluster.close()


CASES = {
    "bare": bare,
    "oxygen 37": lambda seed: oxygen(seed, 37),
    "oxygen 370": lambda seed: oxygen(seed, 370),
    "substrate 1 %": lambda seed: substrate(seed, 0.01),
}


def counted(x: np.ndarray, light: np.ndarray, flux: float, seed: int) -> prammol.Diffraction:
    """Return photons counted from atoms, (n, 3) [Å], and light ones, (m, 3) [Å]."""
    places = patches()
    weights = np.r_[np.ones(len(x)), np.full(len(light), LIGHT)]
    omega = StructureFactor(places, 1e-9).forward(np.vstack([x, light]), weights)
    mean = scale_from_flux(flux, places, "Al") ** 2 * squared(omega)
    counts = np.random.default_rng([seed, 0]).poisson(mean).astype(float)
    parts = np.split(counts, np.cumsum([p.size for p in places])[:-1])
    shaped = [c.reshape(p.shape) for c, p in zip(parts, places, strict=True)]
    known = GeometryUncertainty.none()
    return prammol.Diffraction(places, shaped, meta={"element": "Al"}, geometry=known)


def examined(case: str, flux: float, seed: int, looking: bool) -> dict[str, Any]:
    """Simulate, reconstruct and return a row."""
    x, light = CASES[case](seed)
    truth = prammol.Atoms(x, "Al")
    data = counted(x, light, flux, seed)
    support = prammol.support_from_truth(truth)
    result, found, row = reconstructed(data, support, truth, seed, settings={"matter": looking})
    bar = np.linalg.norm(result.atoms.columns["position_sigma"], axis=1).mean()
    matter = getattr(result.calibration, "matter", None)
    return {
        **row,
        "condition": case,
        "flux": f"{flux:g}",
        "max_error_pm": f"{found.max_error_pm:.4g}",
        "error_bar_pm": f"{100 * bar:.3g}",
        "matter": f"{matter.weights.sum():.4g}" if matter else "",
        "cause": result.diagnosis[0].effect if result.diagnosis else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--flux", type=float, default=1e19, help="photons/um^2 [1e19]")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="crystals and counts"
    )
    parser.add_argument("--matter", action="store_true", help="look for matter")
    parser.add_argument("-o", "--output", type=Path, default=Path("matter.csv"))
    options = parser.parse_args()
    rows = list(read_rows(options.output)) if options.output.exists() else []
    origin = provenance()
    for case in options.case:
        for seed in options.seeds:
            rows.append(examined(case, options.flux, seed, options.matter))
            print(rows[-1], flush=True)
            write_rows(options.output, rows, origin, COLUMNS)


if __name__ == "__main__":
    main()
