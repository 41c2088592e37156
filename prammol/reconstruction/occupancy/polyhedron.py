"""A crystal bounded by faces of its lattice: how many layers it has along each.

Far fewer numbers than sites, and each decided even where the counts see single atoms no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.surface_blocks import Ints, SurfaceLattice

_REACH = (1, -1, 2, -2)  # layers; chosen: not varied
_LEAST = 1.0  # derived: a log-likelihood ratio that counts
Cost = Callable[[NDArray[np.bool_]], float]


def within(layers: Ints, heights: Ints) -> NDArray[np.bool_]:
    """Return which sites no face cuts off, (n,).

    Parameters
    ----------
    layers : (faces, n) int ndarray
        See :class:`~prammol.reconstruction.occupancy.surface_blocks.SurfaceLattice`.
    heights : (faces,) int ndarray
        The outermost layer along each face.
    """
    return np.asarray((layers <= heights[:, None]).all(axis=0))


def bounding(layers: Ints, taken: NDArray[np.bool_]) -> Ints:
    """Return the heights of the smallest polyhedron that has some sites, (faces,)."""
    return np.asarray(layers[:, taken].max(axis=1))


def nearest(layers: Ints, taken: NDArray[np.bool_]) -> Ints:
    """Return heights of a polyhedron that differs from a set in few sites, (faces,)."""

    def differing(inside: NDArray[np.bool_]) -> float:
        return float((inside ^ taken).sum())

    return descended(layers, bounding(layers, taken), differing, pairs=False)


def likeliest(
    lattice: SurfaceLattice, misfit: PoissonMisfit, heights: Ints, pairs: bool = True
) -> tuple[Ints, float]:
    """Return heights of a local minimum of J, (faces,), and J; positions are fixed.

    Parameters
    ----------
    lattice : SurfaceLattice
    misfit : PoissonMisfit
    heights : (faces,) int ndarray
        To start from.
    pairs : bool
        Whether two faces may move at once.
    """

    def cost(inside: NDArray[np.bool_]) -> float:
        return misfit.field(misfit.factor.forward(lattice.atoms(inside)))[0]

    found = descended(lattice.layers, heights, cost, pairs)
    return found, cost(within(lattice.layers, found))


def descended(layers: Ints, heights: Ints, cost: Cost, pairs: bool) -> Ints:
    """Return heights that no change of one face, or of two, makes better, (faces,)."""
    inside = within(layers, heights)
    value = cost(inside)
    while True:
        found = None
        for tried in _changes(heights, pairs):
            other = within(layers, tried)
            if np.array_equal(other, inside) or not other.any():
                continue
            now = cost(other)
            if now < value - _LEAST:
                # What nothing touches any more would come back with the first that moves.
                found, value, inside = bounding(layers, other), now, other
                break
        if found is None:
            return heights
        heights = found


def _changes(heights: Ints, pairs: bool) -> Iterator[Ints]:
    faces = len(heights)
    for step in _REACH:
        for face in range(faces):
            yield _moved(heights, (face, step))
    if not pairs:
        return
    # Faces are ordered so that the opposite of each is its mirror image in the list.
    for face in range(faces):
        for step in _REACH[::2]:
            yield _moved(heights, (face, step), (faces - 1 - face, -step))
    for one, other in permutations(range(faces), 2):
        yield _moved(heights, (one, 1), (other, -1))


def _moved(heights: Ints, *moves: tuple[int, int]) -> Ints:
    out = heights.copy()
    for face, step in moves:
        out[face] += step
    return out
