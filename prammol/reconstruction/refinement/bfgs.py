"""BFGS without the matrix, for the few iterations Algorithm 1 asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import line_search

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]

_KEPT_POINTS = 4  # chosen: speed only; not varied


def bfgs(objective: Objective, x: Vector, iterations: int) -> Vector:
    """Minimise a function by a few iterations of BFGS.

    The inverse Hessian is never formed (1.6 GB at 4679 atoms): it is applied by the
    two-loop recursion over *all* steps so far, which is BFGS to the last digit
    (Nocedal & Wright, Numerical Optimization, ch. 6 and 7.2), started from a multiple of the
    unit matrix (their Eq. 6.20). The first step has length 1, later ones meet the
    strong Wolfe conditions.

    Parameters
    ----------
    objective : callable
        Returns the value and the gradient, (k,), at x.
    x : (k,) ndarray
        Start.
    iterations : int
        Most iterations; fewer if the line search finds no better point.

    Returns
    -------
    (k,) ndarray
    """
    calls = _Remember(objective)
    value, gradient = calls.value(x), calls.gradient(x)
    pairs: list[tuple[Vector, Vector]] = []
    for _ in range(iterations):
        size = float(np.linalg.norm(gradient))
        if size == 0:
            break
        direction = -_inverse_hessian(pairs, gradient) if pairs else -gradient / size
        with warnings.catch_warnings():
            # It warns when it finds no step, which ends the search here.
            warnings.simplefilter("ignore", RuntimeWarning)
            step, _, _, after, _, _ = line_search(
                calls.value, calls.gradient, x, direction, gradient, value
            )
        if step is None:
            break
        new = x + step * direction
        slope = calls.gradient(new)
        pairs.append((new - x, slope - gradient))
        x, gradient, value = new, slope, after
    return x


def _inverse_hessian(pairs: list[tuple[Vector, Vector]], gradient: Vector) -> Vector:
    """Return H g of BFGS after the steps s and changes of gradient y in `pairs`."""
    out = gradient.copy()
    weights = []
    for s, y in reversed(pairs):
        weights.append((s @ out) / (s @ y))
        out -= weights[-1] * y
    s, y = pairs[0]
    out *= (s @ y) / (y @ y)
    for (s, y), weight in zip(pairs, reversed(weights), strict=True):
        out += (weight - (y @ out) / (s @ y)) * s
    return out


class _Remember:
    """An objective split in value and gradient, both kept for the points seen last."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._seen: dict[bytes, tuple[float, Vector]] = {}

    def value(self, x: Vector) -> float:
        return self._at(x)[0]

    def gradient(self, x: Vector) -> Vector:
        return self._at(x)[1]

    def _at(self, x: Vector) -> tuple[float, Vector]:
        key = x.tobytes()
        if key not in self._seen:
            if len(self._seen) == _KEPT_POINTS:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = self._objective(x)
        return self._seen[key]
