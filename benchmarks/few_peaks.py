"""One or two Bragg peaks of a crystal whose orientation is known: every atom?

    python benchmarks/few_peaks.py -o docs/results/few-peaks.csv

This makes docs/results/few-peaks.csv; no picture. The program makes the crystals, grains of other
shapes with other seeds; their support is the truth's at 5 Å. Rows are added to a table that is
there.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from provenance import add_row, provenance
from reconstructed import reconstructed

import prammol
from prammol.simulation.samples import make_crystal

COLUMNS = ("crystal", "grain", "peaks", "flux", "seed", "atoms", "n_missing", "n_extra", "mae_pm")
COLUMNS += ("sigma_pm", "excess", "iterations", "converged", "reason", "core_s")


def examined(kind: str, number: int | None, grain: int, peaks: int, flux: float, seed: int) -> Any:
    """Draw counts, reconstruct and return a row."""
    potential = prammol.aluminium()
    truth = make_crystal(kind, potential, number, grain)
    full = prammol.simulate(truth, flux, seed)
    data = full.of_patches(range(peaks))
    if peaks == 1:
        data = replace(data, unmeasured=full.peaks()[peaks:])
    result, _, row = reconstructed(data, prammol.support_from_truth(truth), truth, seed, potential)
    sigma = result.atoms.columns["position_sigma"]
    return {
        **row,
        "crystal": kind,
        "grain": grain,
        "peaks": peaks,
        "flux": f"{flux:g}",
        # The mean of an absolute value of three Gaussians, as mae_pm is of distances.
        "sigma_pm": f"{100 * float(np.sqrt(8 / np.pi) * sigma.mean()):.4g}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystal", default="bulk", help="kind of crystal [bulk]")
    parser.add_argument("--atoms", type=int, help="how many [that of the kind]")
    parser.add_argument("--grains", type=int, nargs="+", default=[1, 2, 3], help="seeds of shapes")
    parser.add_argument("--peaks", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument("--flux", type=float, nargs="+", default=[1e19])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of counts and run [1]")
    parser.add_argument("-o", "--output", type=Path, default=Path("few-peaks.csv"))
    options = parser.parse_args()
    origin = provenance()
    for seed in options.seeds:
        for grain in options.grains:
            for peaks in options.peaks:
                for flux in options.flux:
                    row = examined(options.crystal, options.atoms, grain, peaks, flux, seed)
                    add_row(options.output, row, origin, COLUMNS)


if __name__ == "__main__":
    main()
