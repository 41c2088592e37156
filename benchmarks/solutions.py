"""Aluminium with copper in solution and a Guinier-Preston zone: every atom, and every element?

    python benchmarks/solutions.py --atoms 600 1500 --flux 1e18 1e17 -o docs/results/solutions.csv

This makes docs/results/solutions.csv; no picture. A rough grain gets copper at random and a disc of
it on a {001} plane through its middle, half as wide as the grain, and is put to rest. Its support
is that of the truth at 5 Å. Rows are added to a table that is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from provenance import add_row, provenance
from reconstructed import reconstructed

import prammol
from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.simulation.averages import innermost_patches
from prammol.simulation.samples import make_crystal
from prammol.structure import Atoms
from prammol.structure.labels import Labels

COLUMNS = ("atoms", "copper", "fraction", "flux", "seed", "points", "n_missing", "n_extra")
COLUMNS += ("n_wrong_element", "mae_pm", "excess", "iterations", "converged", "reason", "core_s")
PART = 0.03  # of the atoms, copper in solution


def alloy(number: int, seed: int) -> tuple[Atoms, prammol.Potential]:
    """Return a grain of so many atoms and the potential it is at rest with."""
    pure = choose_potential("Al", "AlCu.eam.alloy")
    both = choose_potential("Al", "AlCu.eam.alloy", solutes=["Cu"])
    x = make_crystal("bulk", pure, number, seed).positions
    rng = np.random.default_rng(seed)
    kinds = (rng.random(number) < PART).astype(int)
    radius = 0.25 * np.ptp(x, axis=0).min()
    level = x[np.abs(x[:, 2]).argmin(), 2]
    kinds[(np.abs(x[:, 2] - level) < 1.0) & (np.hypot(x[:, 0], x[:, 1]) < radius)] = 1
    cluster = Cluster(both)
    cluster.labels = Labels.of_atoms(x, kinds)
    x, _, _ = cluster.relax(x, force_tolerance=1e-5)
    cluster.close()
    return Atoms.of_elements(x - x.mean(axis=0), np.array(both.elements)[kinds]), both


def examined(number: int, flux: float, seed: int) -> dict[str, Any]:
    """Draw counts, reconstruct and return a row."""
    truth, potential = alloy(number, seed)
    points = int(np.ceil(28 * (number / 500) ** (1 / 3) / 2) * 2)
    lattice, edge = potential.lattice, potential.lattice_constant
    patches = innermost_patches(truth, points, edge, lattice)
    data = prammol.simulate(truth, flux, seed, patches)
    support = prammol.support_from_truth(truth)
    _, found, row = reconstructed(data, support, truth, seed, potential)
    return {
        **row,
        "copper": int((truth.symbols == "Cu").sum()),
        "fraction": PART,
        "flux": f"{flux:g}",
        "points": sum(p.size for p in patches),
        "n_wrong_element": found.n_wrong_element,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[600])
    parser.add_argument("--flux", type=float, nargs="+", default=[1e18])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("-o", "--output", type=Path, default=Path("solutions.csv"))
    options = parser.parse_args()
    origin = provenance()
    for number in options.atoms:
        for flux in options.flux:
            for seed in options.seeds:
                row = examined(number, flux, seed)
                add_row(options.output, row, origin, COLUMNS)


if __name__ == "__main__":
    main()
