"""A few atoms, weak against their background: what files and likelihood are tested with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor

SCALE = 1.3

SHEARED = BraggPatch(
    [-0.5, 1.5, 1.4],
    [[0.03, 0.002, -0.001], [0.012, 0.028, 0.003], [-0.004, 0.015, 0.031]],
    (9, 6, 7),
)


def few_atoms(rng: np.random.Generator) -> tuple[NDArray[np.float64], Diffraction]:
    """Positions and their counts; the background varies over each patch, some points are masked."""
    patches = [cubic_patch((-1, 1, 1), 0.6, 8, 4.05), SHEARED]
    x = rng.uniform(-6, 6, (12, 3))
    background = [rng.uniform(0, 20, p.shape) for p in patches]
    counts, valid = [], []
    for p, b in zip(patches, background, strict=True):
        omega = direct_structure_factor(p.q(), x).reshape(p.shape)
        counts.append(rng.poisson(SCALE**2 * np.abs(omega) ** 2 + b).astype(float))
        valid.append(rng.random(p.shape) > 0.1)
    return x, Diffraction(patches, counts, valid, background=background)
