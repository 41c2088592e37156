"""A twinned ball of aluminium: known planes, known atoms, not relaxed."""

from __future__ import annotations

import numpy as np
from ase.build import bulk

A = 4.05
CELL = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * A / 2


def ball(radius: float = 11.0, offset=(0.3, 0.7, 0.2)) -> np.ndarray:
    """Return a perfect ball, cube axes along x, y, z."""
    n = int(2 * radius / A) + 3
    x = bulk("Al", "fcc", a=A, cubic=True).repeat(n).get_positions()
    x = x - x.mean(axis=0) + np.array(offset)
    return x[np.linalg.norm(x, axis=1) < radius]


def twinned(plane=(1, 1, 1), height: float = 0.0, radius: float = 11.0) -> np.ndarray:
    """Return a ball of which what is above a plane of atoms is the mirror image of the rest."""
    x = ball(radius + 2 * abs(height) + A)
    n = np.array(plane) / np.linalg.norm(plane)
    layers = np.unique(np.round(x @ n, 6))
    h = layers[np.abs(layers - height).argmin()]
    below = x[x @ n < h + 1e-3]
    strictly = below[below @ n < h - 1e-3]
    x = np.concatenate([below, strictly - 2 * (strictly @ n - h)[:, None] * n])
    return x[np.linalg.norm(x, axis=1) < radius]
