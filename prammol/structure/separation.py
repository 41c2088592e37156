"""Points that are too close to each other: which to keep, and how to part them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError

# derived: physics, in no metal are neighbours so close
_ANGSTROM = 1.0  # Å
# chosen: below the 0.71 of octahedral holes; 0, 0, 17 wrong atoms at 0.3, 0.6, 1.2 (600 atoms at
# 1e18)
TOO_CLOSE = 0.6  # two atoms are never closer [neighbour distances]


def require_angstrom(x: NDArray[np.float64]) -> None:
    """Raise InputError if most of the atoms at x, (n, 3) [Å], are closer than in any metal."""
    if len(x) < 2:
        return
    bond = float(np.median(cKDTree(x).query(x, k=2)[0][:, 1]))
    if bond < _ANGSTROM:
        msg = f"nearest neighbours are {bond:.2g} Å apart, expected Å; are positions in nanometres?"
        raise InputError(msg)


def apart(
    x: NDArray[np.float64], distance: float, merit: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]:
    """Tell which points to keep so that no two are closer than a distance.

    Greedy: the best point stays, those close to it go, then the best of the rest.

    Parameters
    ----------
    x : (n, 3) ndarray
        Points [Å].
    distance : float
        Smallest distance [Å].
    merit : (n,) ndarray, optional
        The larger the better; of equals, and without it, the first is better.

    Returns
    -------
    (n,) bool ndarray
    """
    n = len(x)
    if n < 2:
        return np.ones(n, dtype=bool)
    order = np.arange(n) if merit is None else np.argsort(-merit, kind="stable")
    pairs = cKDTree(x[order]).query_pairs(distance, output_type="ndarray")
    keep = np.ones(n, dtype=bool)
    for better, worse in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if keep[better]:
            keep[worse] = False
    out = np.empty(n, dtype=bool)
    out[order] = keep
    return out


def groups_apart(x: NDArray[np.float64], distance: float) -> list[NDArray[np.int_]]:
    """Split points into groups whose members are more than a distance apart.

    Greedy: each point joins the first group where it fits.

    Parameters
    ----------
    x : (n, 3) ndarray
        Points [Å].
    distance : float
        Smallest distance within a group [Å].

    Returns
    -------
    list of int ndarray
        Indices of the members of each group, ascending; together all points.
    """
    group = np.full(len(x), -1)
    for i, others in enumerate(cKDTree(x).query_ball_point(x, distance)):
        taken = set(group[others].tolist())
        group[i] = next(g for g in range(len(x)) if g not in taken)
    return [np.flatnonzero(group == g) for g in range(group.max() + 1)]
