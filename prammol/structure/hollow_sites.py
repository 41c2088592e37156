"""Hollows of a surface: where one more atom touches three others that touch each other.

Half of those on a {111} facet are sites of the lattice, the others those of a stacking fault. Small
groups of atoms at an edge slip there when a crystal relaxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.structure.separation import TOO_CLOSE, apart

# derived: of a tetrahedron, in units of its edge
_HEIGHT = np.sqrt(2.0 / 3.0)
# chosen: as complete_atoms; not varied
_SAME = 0.15  # sites closer than this are one [neighbour distances]


def hollow_sites(
    x: NDArray[np.float64], reach: float, neighbour_distance: float
) -> NDArray[np.float64]:
    """Return the hollows beside an object, (m, 3) [Å].

    Parameters
    ----------
    x : (n, 3) ndarray
        Atoms [Å].
    reach : float
        What counts as a neighbour [Å].
    neighbour_distance : float
        [Å].
    """
    tree = cKDTree(x)
    near = [set(found) - {k} for k, found in enumerate(tree.query_ball_point(x, reach))]
    number = np.array([len(found) for found in near])
    inside = np.bincount(number).argmax()
    surface = set(np.flatnonzero(number < inside).tolist())
    triangles = [
        (i, j, k)
        for i in surface
        for j in near[i] & surface
        if i < j
        for k in near[i] & near[j] & surface
        if j < k
    ]
    if not triangles:
        return np.empty((0, 3))
    a, b, c = x[np.array(triangles)].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    normal *= _HEIGHT * neighbour_distance / np.linalg.norm(normal, axis=1, keepdims=True)
    middle = (a + b + c) / 3.0
    sites = np.concatenate([middle + normal, middle - normal])
    sites = sites[tree.query(sites)[0] > TOO_CLOSE * neighbour_distance]
    return np.asarray(sites[apart(sites, _SAME * neighbour_distance)])
