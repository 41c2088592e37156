"""Counts with the diffuse scattering of warm crystals, as a detector sees: are the atoms right?

    prammol crystal bulk-large -o t/crystal.xyz
    prammol dynamics t/crystal.xyz --temperature 300 --seed 1 --timestep 2 --equilibrate 2500 \
        --steps 10000 --every 50 -o t/300.npz --mean t/300.xyz
    python benchmarks/diffuse.py t 300 -o docs/results/diffuse.csv

This makes docs/results/diffuse.csv; no picture. Trajectories of other temperatures are named alike.
Rows are added to a table that is there; the atoms found are written beside the trajectories.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from provenance import add_row, provenance
from reconstructed import reconstructed

import prammol
from prammol.evaluation import of_staying
from prammol.io.atoms import read_atoms, write_atoms
from prammol.io.mean_amplitude import read_mean_amplitude
from prammol.simulation.counts import draw_counts

COLUMNS = ("temperature_kelvin", "snapshots", "flux", "seed", "atoms", "n_hopping", "n_missing")
COLUMNS += ("n_missing_staying", "n_extra", "mae_pm", "excess", "temperature", "diffuse_error")
COLUMNS += ("iterations", "converged", "reason", "cause", "core_s")


def examined(folder: Path, kelvin: int, flux: float, seed: int) -> dict[str, Any]:
    """Draw counts, reconstruct and return a row."""
    crystal, mean = (read_atoms(folder / f"{name}.xyz") for name in ("crystal", kelvin))
    amplitude = read_mean_amplitude(folder / f"{kelvin}.npz")
    data = draw_counts(amplitude, flux, seed, diffuse=True, form_factor="constant")
    support = prammol.support_from_truth(crystal)
    result, found, row = reconstructed(data, support, mean, seed, settings={"diffuse": True})
    write_atoms(folder / f"found-{kelvin}-{flux:g}-{seed}.xyz", result.atoms, force=True)
    staying, last = of_staying(found, mean), result.history[-1]
    return {
        **row,
        "temperature_kelvin": kelvin,
        "snapshots": amplitude.meta["snapshots"],
        "flux": f"{flux:g}",
        "n_hopping": "" if staying is None else staying.n_hopping,
        "n_missing_staying": "" if staying is None else staying.n_missing_staying,
        "temperature": f"{last.get('temperature', float('nan')):.4g}",
        "diffuse_error": f"{last.get('diffuse_error', float('nan')):.3g}",
        "cause": result.diagnosis[0].effect if result.diagnosis else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with the crystal and its trajectories")
    parser.add_argument("temperatures", type=int, nargs="+", help="[K]")
    parser.add_argument("--flux", type=float, nargs="+", default=[1e20, 1e18])
    parser.add_argument("--seeds", type=int, default=1, help="counts [1]")
    parser.add_argument("-o", "--output", type=Path, default=Path("diffuse.csv"))
    options = parser.parse_args()
    origin = provenance()
    for kelvin in options.temperatures:
        for flux in options.flux:
            for seed in range(1, options.seeds + 1):
                row = examined(options.folder, kelvin, flux, seed)
                add_row(options.output, row, origin, COLUMNS)


if __name__ == "__main__":
    main()
