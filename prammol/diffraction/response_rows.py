"""Rows of the matrix that makes of the intensities on a line what a detector sees of them.

The least-squares fit that :mod:`prammol.diffraction.response` explains.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NODES = 4  # derived: for each point of a line; the integrand has one wave for each
_SPARE = 0.1  # derived: so far below the accuracy asked for is what the regularisation leaves out


def transfer(u: Floats, box: Floats | float, blur: Floats | float) -> Floats:
    """Return K at spatial frequencies [cycles per step] of widths that broadcast with them."""
    return np.asarray(np.sinc(box * u) * np.exp(-2.0 * (np.pi * np.asarray(blur) * u) ** 2))


@lru_cache(maxsize=16)  # derived: does not depend on the widths, which may be fitted
def _waves(n: int, filled: float) -> tuple[Floats, ...]:
    """Return abs(u), and the singular value decomposition of the weighted waves of a line."""
    z, w = np.polynomial.legendre.leggauss(_NODES * n)
    u = 0.5 * filled * (z + 1.0)
    w = w * (1.0 - u / filled)
    w = np.sqrt(w / w.sum())[:, None]
    phase = 2.0 * np.pi * np.outer(u, np.arange(n) - 0.5 * (n - 1))
    waves = np.concatenate([w * np.cos(phase), w * np.sin(phase)])
    return u, *np.linalg.svd(waves, full_matrices=False)


@lru_cache(maxsize=64)  # chosen: a few patches with three axes, fine and coarse; not varied
def fitted_rows(
    n: int, box: float, blur: float, filled: float, error: float
) -> tuple[Floats, Floats]:
    """Return the matrix of one axis, (n, n), and the error of each of its rows, (n,).

    Least squares over the waves abs(u) <= filled, weighted as often as an object has pairs of
    points so far apart; singular values below the accuracy are damped (Tikhonov).
    """
    matrix = np.eye(n)
    if box == 0 and blur == 0:
        return matrix, np.zeros(n)
    if n == 1:
        return matrix, np.full(n, np.inf)
    u, left, singular, right = _waves(n, filled)
    waves = (left * singular) @ right
    wanted = waves * np.tile(transfer(u, box, blur), 2)[:, None]
    damped = singular / (singular**2 + (_SPARE * error) ** 2)
    columns = right.T @ (damped[:, None] * (left.T @ wanted))
    misses = np.linalg.norm(waves @ columns - wanted, axis=0)
    matrix = np.ascontiguousarray(columns.T)
    matrix.flags.writeable = misses.flags.writeable = False
    return matrix, misses
