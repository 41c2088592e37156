"""Vacant sites of the lattice at the surface of an object, and how likely they are taken.

In fcc and bcc every atom is a centre of symmetry of its neighbours: where an atom has a
neighbour on one side and none on the other, there is a vacant site.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.spatial import cKDTree

from prammol.structure.separation import TOO_CLOSE

# chosen: not varied
_SAME = 0.35  # sites closer than this are one [neighbour distances]


def vacant_sites(
    x: NDArray[np.float64],
    reach: float,
    neighbour_distance: float,
    fewest: int = 3,  # chosen: as candidate_sites; see there
) -> NDArray[np.float64]:
    """Return the vacant sites beside an object, by inversion of the neighbours of its atoms.

    Parameters
    ----------
    x : (n, 3) ndarray
        Atoms [Å].
    reach : float
        What counts as a neighbour [Å].
    neighbour_distance : float
        Nearest-neighbour distance [Å].
    fewest : int
        Sites that fewer atoms point to are left out.

    Returns
    -------
    (m, 3) ndarray
        Means of what the atoms point to [Å].
    """
    tree = cKDTree(x)
    pairs = tree.query_pairs(reach, output_type="ndarray")
    if len(pairs) == 0:
        return np.empty((0, 3))
    i, j = np.concatenate([pairs, pairs[:, ::-1]]).T
    images = 2.0 * x[i] - x[j]
    images = images[tree.query(images)[0] > TOO_CLOSE * neighbour_distance]
    groups = DisjointSet(range(len(images)))
    for a, b in cKDTree(images).query_pairs(_SAME * neighbour_distance):
        groups.merge(a, b)
    members = [list(s) for s in groups.subsets() if len(s) >= fewest]
    return np.array([images[m].mean(axis=0) for m in members]).reshape(-1, 3)
