"""The surface of an object: which atoms lie there, how many neighbours each has, its size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_SMALLEST_CLASS = 20  # chosen: not varied


def on_surface(x: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """Tell which atoms have fewer neighbours than most within a distance [Å]."""
    count = cKDTree(x).query_ball_point(x, reach, return_length=True)
    return np.asarray(count < np.median(count))


def equivalent_diameter(x: NDArray[np.float64]) -> float:
    """Return the diameter of a ball with the same moment of inertia as the atoms [Å]."""
    square = np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))
    return max(2.0 * float(np.sqrt(5.0 / 3.0 * square)), 1e-3)


def neighbour_classes(
    x: NDArray[np.float64], reach: float, fewest: int = _SMALLEST_CLASS
) -> NDArray[np.intp]:
    """Sort atoms by their number of neighbours, 0 for the bulk.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    reach : float
        What counts as a neighbour [Å].
    fewest : int
        A class with fewer atoms joins the one with more neighbours.

    Returns
    -------
    (n,) int ndarray
    """
    count = cKDTree(x).query_ball_point(x, reach, return_length=True)
    most = int(np.median(count))
    out = np.zeros(len(x), dtype=np.intp)
    label, members = 0, int(np.sum(count >= most))
    for number in range(most - 1, 0, -1):
        here = count == number
        if members >= fewest and np.sum(count <= number) >= fewest:
            label, members = label + 1, 0
        out[here] = label
        members += int(here.sum())
    return out


def mean_of_class(values: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean of each atom's class, (n, ...), from (n, ...)."""
    out = np.empty_like(values)
    for label in range(int(classes.max()) + 1):
        out[classes == label] = values[classes == label].mean(axis=0)
    return out
