"""Vacant sites of the lattice at the surface of an object, and how likely they are taken.

In fcc and bcc every atom is a centre of symmetry of its neighbours: where an atom has a
neighbour on one side and none on the other, there is a vacant site. In other structures an atom
with all its neighbours shows where others of its kind, with the same neighbours as far as they
have them, lack one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.spatial import cKDTree

from prammol.structure.separation import TOO_CLOSE

# chosen: 600 atoms at 1e18; same atoms from 0.175 to 0.7
_SAME = 0.35  # sites closer than this are one [neighbour distances]
_MODELS = 16  # chosen: so many that all kinds of atoms are among them; not varied
_MOST = 0.6  # chosen: more than half, and not all, as a wrong atom may be among them; not varied
_CHUNK = 500  # chosen: memory, some 100 MB; not varied


def vacant_sites(
    x: NDArray[np.float64],
    reach: float,
    neighbour_distance: float,
    bonds: Sequence[int] = (),
    fewest: int = 3,  # chosen: as candidate_sites; see there
) -> NDArray[np.float64]:
    """Return the vacant sites beside an object, by what its atoms tell of their neighbours.

    Parameters
    ----------
    x : (n, 3) ndarray
        Atoms [Å].
    reach : float
        What counts as a neighbour [Å].
    neighbour_distance : float
        Nearest-neighbour distance [Å].
    bonds : sequence of int
        Numbers of neighbours of atoms inside the crystal; none if each is a centre of symmetry.
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
    images = 2.0 * x[i] - x[j] if not bonds else _completed(x, i, j, bonds, neighbour_distance)
    images = images[tree.query(images)[0] > TOO_CLOSE * neighbour_distance]
    groups = DisjointSet(range(len(images)))
    for a, b in cKDTree(images).query_pairs(_SAME * neighbour_distance):
        groups.merge(a, b)
    members = [list(s) for s in groups.subsets() if len(s) >= fewest]
    return np.array([images[m].mean(axis=0) for m in members]).reshape(-1, 3)


def _completed(
    x: NDArray[np.float64],
    i: NDArray[np.intp],
    j: NDArray[np.intp],
    bonds: Sequence[int],
    neighbour_distance: float,
) -> NDArray[np.float64]:
    """Return where atoms have the neighbours of the atom inside that is most like them, (m, 3).

    Parameters
    ----------
    x : (n, 3) ndarray
        Atoms [Å].
    i, j : (p,) int ndarray
        Pairs of neighbours, each in both orders.
    bonds : sequence of int
        Numbers of neighbours of atoms inside.
    neighbour_distance : float
        [Å].
    """
    count = np.bincount(i, minlength=len(x))
    order = np.argsort(i, kind="stable")
    place = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
    most = max(bonds)
    around = np.full((len(x), max(int(count.max()), most), 3), np.inf)
    around[i[order], place] = x[j[order]] - x[i[order]]
    whole = np.isin(count, bonds)
    inside, beside = np.flatnonzero(whole), np.flatnonzero((count < most) & (count > 0) & ~whole)
    if not len(inside) or not len(beside):
        return np.empty((0, 3))
    number = min(_MODELS, len(inside))
    near = inside[cKDTree(x[inside]).query(x[beside], k=number)[1].reshape(len(beside), number)]
    images = []
    for start in range(0, len(beside), _CHUNK):
        atoms, models = beside[start : start + _CHUNK], near[start : start + _CHUNK]
        own, theirs = around[atoms], around[models][:, :, :most]
        own = np.where(np.isfinite(own), own, 1e6)  # nowhere near
        gap = np.linalg.norm(own[:, None, :, None] - theirs[:, :, None], axis=4)
        alike = (gap < _SAME * neighbour_distance).any(axis=3).sum(axis=2)
        best = alike.argmax(axis=1)  # of equals the nearest
        sure = alike.max(axis=1) > _MOST * count[atoms]
        rows = np.arange(len(atoms))[sure]
        images.append((x[atoms[sure], None] + theirs[rows, best[sure]]).reshape(-1, 3))
    found = np.concatenate(images)
    return np.asarray(found[np.isfinite(found).all(axis=1)])
