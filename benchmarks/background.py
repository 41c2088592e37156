"""Counts with a background that the program isn't told of: are the atoms right?

    python benchmarks/background.py -o docs/results/background.csv

This makes docs/results/background.csv; no picture. Vacancy crystals, each measured with another
background and without any; rows are added to a table that is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance, read_rows, write_rows
from reconstructed import reconstructed

import prammol
from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal

COLUMNS = ("condition", "flux", "seed", "atoms", "n_missing", "n_extra", "mae_pm", "excess")
COLUMNS += ("iterations", "converged", "reason", "terms", "background_error", "core_s")
CASES = ("none", "flat 1", "flat 20", "hump")
FLUXES = {"none": (1e18, 1e20), "flat 1": (1e17,), "flat 20": (1e18,), "hump": (1e18,)}


def background(case: str, patches: Sequence[BraggPatch]) -> list[np.ndarray]:
    """Return the photons of a case at each point of the patches."""
    out = []
    for p in patches:
        values = np.full(p.shape, float(case.split()[1]) if case.startswith("flat") else 0.0)
        if case == "hump":  # 10 photons high, half of the patch across, on a little everywhere
            place = np.indices(p.shape).T / p.shape[0] - [0.3, 0.6, 0.5]
            values = 0.1 + 10.0 * np.exp(-0.5 * np.sum(place**2, axis=-1).T / 0.25**2)
        out.append(values)
    return out


def examined(case: str, flux: float, seed: int) -> dict[str, Any]:
    """Simulate, reconstruct and return a row."""
    truth = make_crystal("vacancy", seed=100 + seed)
    patches = paper_patches()
    levels = background(case, patches)
    data = replace(simulate(truth, flux, seed, patches, background=levels), background=())
    result, _, row = reconstructed(data, prammol.support_from_truth(truth), truth, seed)
    seen = result.calibration.background if result.calibration else ()
    terms = result.calibration.terms if result.calibration else {}
    fitted = seen or [np.zeros(p.shape) for p in patches]
    square = [np.mean((a - b) ** 2) for a, b in zip(fitted, levels, strict=True)]
    return {
        **row,
        "condition": case,
        "flux": f"{flux:g}",
        "terms": " ".join(terms),
        "background_error": f"{np.sqrt(np.mean(square)):.3g}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--seeds", type=int, default=3, help="crystals and counts [3]")
    parser.add_argument("-o", "--output", type=Path, default=Path("background.csv"))
    options = parser.parse_args()
    rows = list(read_rows(options.output)) if options.output.exists() else []
    origin = provenance()
    for case in options.case:
        for flux in FLUXES[case]:
            for seed in range(1, options.seeds + 1):
                rows.append(examined(case, flux, seed))
                print(rows[-1], flush=True)
                write_rows(options.output, rows, origin, COLUMNS)


if __name__ == "__main__":
    main()
