"""Joint site selection: a quadratic function of occupancies 0 and 1, lowered by flips.

Greedy binary quadratic optimisation: the best single flip, and where none helps the best pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Flips:
    """The least of a quadratic function that flips found.

    Attributes
    ----------
    taken : (n,) bool ndarray
    cost : (n,) ndarray
        Of one more flip of each.
    steps : int
        Flips and pairs of flips made.
    gain : float
        By how much the function fell.
    """

    taken: NDArray[np.bool_]
    cost: NDArray[np.float64]
    steps: int
    gain: float


def best_flips(
    taken: NDArray[np.bool_],
    slope: NDArray[np.float64],
    curvature: csr_matrix,
    least: float,
    most: int = 10_000,  # derived: a limit that doesn't bind
    candidates: int = 300,  # chosen: not varied
) -> Flips:
    """Lower a quadratic function of occupancies 0 and 1 by flips and pairs of flips.

    Steepest descent: of all single flips the best; when none helps, of all pairs among the
    least costly flips the best; until none of these helps either.

    Parameters
    ----------
    taken : (n,) bool ndarray
        Where to start.
    slope : (n,) ndarray
        Derivative by each occupancy there.
    curvature : (n, n) sparse array
        Second derivatives, symmetric.
    least : float
        Smallest gain that counts.
    most : int
        Most steps.
    candidates : int
        Flips considered for pairs.
    """
    taken = taken.copy()
    g = slope.astype(float).copy()
    half = 0.5 * curvature.diagonal()

    cost = np.where(taken, -g, g) + half

    def flipped(i: int) -> None:
        # Only its neighbours cost something else then: no pass over all sites.
        flip(i, taken, g, curvature)
        near = np.append(curvature.indices[curvature.indptr[i] : curvature.indptr[i + 1]], i)
        cost[near] = np.where(taken[near], -g[near], g[near]) + half[near]

    gain, steps = 0.0, 0
    while steps < most and len(taken):
        i = int(np.argmin(cost))
        if cost[i] < -least:
            gain -= cost[i]
            steps += 1
            flipped(i)
            continue
        few = _least_of(cost, candidates)
        sign = np.where(taken[few], -1.0, 1.0)
        block = curvature[few][:, few].toarray() * np.outer(sign, sign)
        both = cost[few][:, None] + cost[few] + block
        np.fill_diagonal(both, np.inf)
        a, b = np.unravel_index(int(np.argmin(both)), both.shape)
        if not both[a, b] < -least:
            break
        gain -= both[a, b]
        steps += 1
        flipped(int(few[a]))
        flipped(int(few[b]))
    return Flips(taken, cost, steps, float(gain))


def _least_of(cost: NDArray[np.float64], number: int) -> NDArray[np.intp]:
    """Return where the least costs are, the least first, of equal ones the first first."""
    if number >= len(cost):
        return np.argsort(cost, kind="stable")
    few = np.flatnonzero(cost <= np.partition(cost, number - 1)[number - 1])
    return few[np.argsort(cost[few], kind="stable")[:number]]


def flip(
    i: int, taken: NDArray[np.bool_], slope: NDArray[np.float64], curvature: csr_matrix
) -> None:
    """Flip one occupancy of a quadratic function in place; the slope, (n,), follows."""
    row = slice(curvature.indptr[i], curvature.indptr[i + 1])
    slope[curvature.indices[row]] += (-1.0 if taken[i] else 1.0) * curvature.data[row]
    taken[i] = not taken[i]
