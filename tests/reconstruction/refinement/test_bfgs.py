"""BFGS without its matrix, against the textbook with it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import line_search

from prammol.reconstruction.refinement.bfgs import bfgs


def dense_bfgs(f, g, x, iterations):
    """Textbook BFGS with the matrix: Nocedal & Wright, Eqs. 6.17 and 6.20."""
    eye = np.eye(len(x))
    inverse = None
    for _ in range(iterations):
        slope = g(x)
        p = -slope / np.linalg.norm(slope) if inverse is None else -inverse @ slope
        s = line_search(f, g, x, p, slope, f(x))[0] * p
        y = g(x + s) - slope
        if inverse is None:
            inverse = eye * (y @ s) / (y @ y)
        rho = 1 / (y @ s)
        left = eye - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
        x = x + s
    return x


def test_bfgs_without_the_matrix_is_bfgs(rng):
    a = rng.normal(size=(6, 6))
    a = a @ a.T + np.eye(6)

    def f(x):
        return float(x @ a @ x + np.sum(x**4) - np.sum(np.sin(3 * x)))

    def g(x):
        return 2 * a @ x + 4 * x**3 - 3 * np.cos(3 * x)

    start = rng.normal(size=6) * 2
    for n in (1, 2, 5, 9):
        ours = bfgs(lambda x: (f(x), g(x)), start, n)
        np.testing.assert_allclose(ours, dense_bfgs(f, g, start, n), rtol=1e-6, atol=1e-8)


def test_bfgs_stops_where_there_is_nothing_to_gain():
    x = np.zeros(3)
    np.testing.assert_array_equal(bfgs(lambda v: (float(v @ v), 2 * v), x, 10), x)
