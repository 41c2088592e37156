"""Joint site selection: a quadratic function of occupancies 0 and 1, lowered by flips.

Greedy binary quadratic optimisation: the best single flip, and where none helps the best pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

# derived: a likelihood ratio of e, same atoms from 0.5 to 2 (600 atoms at 1e18)
LEAST_GAIN = 1.0  # a log-likelihood ratio that counts
# chosen: 600 atoms at 1e18; same atoms from 0.125 to 0.5
_PART = 0.25  # of what a step promised must come true

T = TypeVar("T")


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


@dataclass(frozen=True)
class TrustedFlips(Generic[T]):
    """Flips that the function itself confirms, not only its expansion.

    Attributes
    ----------
    flips : Flips
    result : object
        What came with the cost of the set.
    gain : float
        By how much the function fell.
    most : int
        How many steps the expansion may be trusted for next time.
    """

    flips: Flips
    result: T
    gain: float
    most: int

    @property
    def better(self) -> bool:
        """Whether the set is better than the one before."""
        return self.flips.steps > 0 and self.gain > 0


def trusted_flips(
    taken: NDArray[np.bool_],
    slope: NDArray[np.float64],
    curvature: csr_matrix,
    cost: Callable[[NDArray[np.bool_]], tuple[float, T]],
    before: float,
    most: int,
) -> TrustedFlips[T]:
    """Return the best flips; steps too far for the expansion are taken back by half.

    Parameters
    ----------
    taken, slope, curvature
        As for :func:`best_flips`.
    cost : callable
        The function itself of a set, (n,) bool, and what else the caller wants of the best one.
    before : float
        Its value at the start.
    most : int
        Most steps.
    """
    while True:
        found = best_flips(taken, slope, curvature, LEAST_GAIN, most)
        value, result = cost(found.taken)
        gain = before - value
        if found.steps <= 1 or gain > _PART * found.gain:
            return TrustedFlips(found, result, gain, 2 * most)
        most = max(found.steps // 2, 1)


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
