"""Where does the likelihood alone end, without any energy? Against likelihood plus energy.

    python benchmarks/likelihood_alone.py s.xyz run-1 run-2 ... -o likelihood-alone.csv

Each folder has diffraction.h5 and reconstruction.h5. The misfit alone is minimised by L-BFGS
from the atoms of the reconstruction, and once from the true ones; rows after 0, 50, 300 and 600
iterations. This makes docs/results/likelihood-alone.csv; no picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance, write_rows

from prammol.core.parallel import Communicator
from prammol.diffraction.support import Support
from prammol.evaluation.metrics import evaluate
from prammol.io import read_atoms, read_diffraction, read_reconstruction
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.refinement.restrained_fit import restrained_fit

ANYWHERE = Support(np.zeros(3), np.eye(3), np.ones((1, 1, 1), dtype=bool))
STEPS = (0, 50, 250, 300)


def examine(folder: Path, truth: np.ndarray, from_truth: bool) -> list[dict[str, Any]]:
    """Return the rows of one reconstruction."""
    data = read_diffraction(folder / "diffraction.h5")
    result = read_reconstruction(folder / "reconstruction.h5")
    problem = make_problem(data, ANYWHERE, aluminium(), result.seed, Communicator())
    misfit = PoissonMisfit(problem.shard, problem.factor)
    least = misfit(truth).value
    starts = {"reconstruction": result.atoms.positions}
    if from_truth:
        starts["truth"] = truth
    rows = []
    try:
        for start, positions in starts.items():
            x = positions
            for step, total in zip(STEPS, np.cumsum(STEPS), strict=True):
                x = restrained_fit(misfit, problem.cluster, x, 0.0, step) if step else x
                found = evaluate(x, truth, with_resolution=False)
                rows.append(
                    {
                        "run": folder.name,
                        "start": start,
                        "iterations": int(total),
                        "n_missing": found.n_missing,
                        "n_extra": found.n_extra,
                        "mae_pm": round(found.mae_pm, 4),
                        "max_error_pm": round(found.max_error_pm, 3),
                        "misfit_below_truth": round(least - misfit(x).value, 1),
                    }
                )
                print(*rows[-1].values(), flush=True)
    finally:
        problem.cluster.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("likelihood-alone.csv"))
    options = parser.parse_args()
    truth = read_atoms(options.truth).positions
    rows = [
        row for k, folder in enumerate(options.folders) for row in examine(folder, truth, k == 0)
    ]
    write_rows(options.output, rows, provenance())


if __name__ == "__main__":
    main()
