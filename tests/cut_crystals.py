"""Crystals without any symmetry, and short words for what metrics say of them."""

from __future__ import annotations

import numpy as np

from prammol.evaluation.metrics import evaluate

A = 4.05
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def crystal(n: int, seed: int = 0) -> np.ndarray:
    """Return ``n`` atoms of a bulk fcc lattice cut by random planes: no symmetry left."""
    rng = np.random.default_rng(seed)
    x = (np.indices((16,) * 3).reshape(3, -1).T[:, None] - 8 + FCC).reshape(-1, 3) * A
    x = x + rng.uniform(0, A, 3)
    normals = rng.normal(size=(12, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    reach = (x @ normals.T / rng.uniform(0.8, 1.2, 12)).max(axis=1)
    return x[np.argsort(reach)[:n]]


def quick(found: np.ndarray, truth: np.ndarray):
    return evaluate(found, truth, with_resolution=False)


def counts(m) -> tuple[int, int]:
    return m.n_missing, m.n_extra
