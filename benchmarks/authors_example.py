"""The example that comes with the authors' program: gold, three peaks of three scales, no support.

    python benchmarks/authors_example.py --seeds 1 2 3 -o docs/results/authors-example.csv

This makes docs/results/authors-example.csv; no picture. The numbers of theirs: 6172 atoms, 50^3
points from 0.1 to 0.4 and -0.4 to -0.1 1/Å in h, k and l (without 2 pi), 1e12 photons in the first
peak, C^2 of the others larger by 1/0.955 and 1/0.929. Their crystal isn't public as coordinates:
this is another one of as many atoms, with the potential of gold that comes with LAMMPS. Form
factors are constant, as in their program. The support says nothing but a box around everything.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from provenance import provenance, write_rows

import prammol
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.potentials.choose import choose_potential

PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
LOW, HIGH = 2 * np.pi * 0.1, 2 * np.pi * 0.4  # 1/Å
POINTS, PHOTONS, MARGIN, VOXEL = 50, 1e12, 8.0, 5.0
SCALES = (1.0, 1 / 0.955, 1 / 0.929)  # of C^2
COLUMNS = ("trial", "atoms", "n_missing", "n_extra", "mae_pm", "max_error_pm", "excess")
COLUMNS += ("converged", "reason", "iterations", "core_s", "scale_2", "scale_3")


def counted(x: np.ndarray, seed: int) -> prammol.Diffraction:
    """Return the counts."""
    step = np.eye(3) * (HIGH - LOW) / (POINTS - 1)
    patches = [
        BraggPatch([LOW if s > 0 else -HIGH for s in peak], step, (POINTS,) * 3) for peak in PEAKS
    ]
    rng = np.random.default_rng([seed, 0])
    powers = [np.abs(StructureFactor([patch], 1e-12).forward(x)) ** 2 for patch in patches]
    square = PHOTONS / powers[0].sum()
    counts = [
        rng.poisson(square * scale * power).reshape(patch.shape).astype(float)
        for patch, scale, power in zip(patches, SCALES, powers, strict=True)
    ]
    return prammol.Diffraction(
        patches,
        counts,
        meta={"element": "Au", "form_factor": "constant"},
        geometry=GeometryUncertainty.none(),
    )


def box(x: np.ndarray) -> Support:
    """Return a box around everything."""
    low, high = x.min(axis=0) - MARGIN, x.max(axis=0) + MARGIN
    shape = np.ceil((high - low) / VOXEL).astype(int) + 1
    return Support(low, np.eye(3) * VOXEL, np.ones(shape, dtype=bool))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=6172)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("-o", "--output", type=Path, default=Path("authors-example.csv"))
    options = parser.parse_args()
    gold = choose_potential("Au", "Au_u3.eam", "eam", "1 1 {file}")
    rows, origin = [], provenance()
    for seed in options.seeds:
        truth = prammol.make_crystal("bulk", gold, atoms=options.atoms, seed=seed)
        data = counted(truth.positions, seed)
        begin = time.process_time()
        result = prammol.reconstruct(data, box(truth.positions), gold, seed=seed)
        core = time.process_time() - begin
        found = prammol.evaluate(result.atoms.positions, truth.positions, with_resolution=False)
        fitted = result.calibration.amplitude if result.calibration else np.ones(3)
        rows.append(
            {
                "trial": seed,
                "atoms": len(truth),
                "n_missing": found.n_missing,
                "n_extra": found.n_extra,
                "mae_pm": f"{found.mae_pm:.3g}",
                "max_error_pm": f"{found.max_error_pm:.3g}",
                "excess": f"{result.misfit_sigma:.4g}",
                "converged": result.converged,
                "reason": result.reason,
                "iterations": result.iterations,
                "core_s": f"{core:.0f}",
                "scale_2": f"{fitted[1] ** 2:.6f}",
                "scale_3": f"{fitted[2] ** 2:.6f}",
            }
        )
        print(rows[-1], result.misfit_text(), flush=True)
        write_rows(options.output, rows, origin, COLUMNS)


if __name__ == "__main__":
    main()
