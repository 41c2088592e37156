"""Counts of a detector with pixels, blur and masked peak centres: are the atoms right?

    python benchmarks/response.py -o docs/results/response.csv

This makes docs/results/response.csv; no picture. Vacancy crystals at 1e18, each measured by ideal
points, through each response, declared or not and then fitted, and with the points around each
maximum masked. ``--atoms 4679`` is the paper's crystal; rows are added to a table that is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from calibration import ratio_of, within
from provenance import provenance, read_rows, write_rows
from reconstructed import reconstructed

import prammol
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.response import Response
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal

FLUX = 1e18
PAPER = 4679  # atoms
COLUMNS = ("condition", "flux", "seed", "atoms", "n_missing", "n_extra", "mae_pm", "max_error_pm")
COLUMNS += ("error_bar_pm", "within_68", "blur", "blur_error", "excess", "iterations", "converged")
COLUMNS += ("reason", "core_s")


@dataclass(frozen=True)
class Case:
    """Widths [steps], what is declared of them, and how many points are masked in each patch."""

    name: str
    box: float = 0.0
    blur: float = 0.0
    fitted: bool = False
    masked: int = 0


CASES = (
    Case("none"),
    Case("box 1", box=1.0),
    Case("box 3", box=3.0),
    Case("blur 0.3", blur=0.3),
    Case("blur 0.7", blur=0.7),
    Case("blur 1", blur=1.0),
    Case("blur 0.5, fitted", blur=0.5, fitted=True),
    Case("300 points masked", masked=300),
)


def measured(case: Case, truth: prammol.Atoms, seed: int) -> Diffraction:
    """Return the counts of a case as the program gets them."""
    response = Response.of(3, case.box, case.blur)
    data = simulate(truth, FLUX, seed, paper_patches(), response=response)
    if case.fitted:
        data = replace(data, response=Response.of(3, uncertainty=1.0))
    if case.masked:
        valid = []
        for counts in data.counts:
            top = np.unravel_index(int(counts.argmax()), counts.shape)
            square = np.sum((np.indices(counts.shape).T - top) ** 2, axis=-1).T
            nearest = np.argsort(square, axis=None, kind="stable")[: case.masked]
            seen = np.ones(counts.size, dtype=bool)
            seen[nearest] = False
            valid.append(seen.reshape(counts.shape))
        data = replace(data, valid=valid)
    return data


def row_of(case: Case, truth: prammol.Atoms, seed: int) -> dict[str, Any]:
    """Simulate, reconstruct and return a row."""
    data = measured(case, truth, seed)
    result, found, row = reconstructed(data, prammol.support_from_truth(truth), truth, seed)
    fitted = result.calibration
    widths: Sequence[Sequence[float]] = ((), ())
    if fitted is not None and fitted.blur.any():
        widths = fitted.blur, fitted.blur_error
    sigma = result.atoms.columns["position_sigma"]
    inside = within(ratio_of(found, truth.positions, sigma))
    return {
        **row,
        "condition": case.name,
        "flux": f"{FLUX:g}",
        "max_error_pm": f"{found.max_error_pm:.4g}",
        "error_bar_pm": f"{100 * np.mean(np.linalg.norm(sigma, axis=1)):.4g}",
        "within_68": f"{inside[0]:.3f}",
        "blur": " ".join(f"{s:.4f}" for s in widths[0]),
        "blur_error": " ".join(f"{s:.4f}" for s in widths[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [case.name for case in CASES]
    parser.add_argument("--case", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="[1 2 3]")
    parser.add_argument("--atoms", type=int, default=800, help="of each crystal [800]")
    parser.add_argument("-o", "--output", type=Path, default=Path("response.csv"))
    options = parser.parse_args()
    rows = list(read_rows(options.output)) if options.output.exists() else []
    origin = provenance()
    for seed in options.seeds:
        own = None if options.atoms == PAPER else 100 + seed
        truth = make_crystal("vacancy", atoms=options.atoms, seed=own)
        for case in (c for c in CASES if c.name in options.case):
            rows.append(row_of(case, truth, seed))
            print(rows[-1], flush=True)
            write_rows(options.output, rows, origin, COLUMNS)


if __name__ == "__main__":
    main()
