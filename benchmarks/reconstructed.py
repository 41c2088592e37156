"""One reconstruction of a benchmark, timed and compared with the truth."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import prammol
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support
from prammol.evaluation.metrics import Metrics
from prammol.potentials.potential import Potential
from prammol.reconstruction.result import Reconstruction


def reconstructed(
    data: Diffraction,
    support: Support,
    truth: prammol.Atoms,
    seed: int,
    potential: Potential | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Reconstruction, Metrics, dict[str, Any]]:
    """Return the result, its comparison with the truth, and the columns all tables have."""
    begin = time.process_time()
    result = prammol.reconstruct(data, support, potential, seed=seed, settings=settings)
    core = time.process_time() - begin
    found = prammol.evaluate(result.atoms, truth, with_resolution=False)
    row = {
        "seed": seed,
        "atoms": len(truth),
        "n_missing": found.n_missing,
        "n_extra": found.n_extra,
        "mae_pm": f"{found.mae_pm:.4g}",
        "excess": f"{result.history[-1]['excess']:.4g}",
        "iterations": result.iterations,
        "converged": result.converged,
        "reason": result.reason,
        "core_s": f"{core:.1f}",
    }
    return result, found, row
