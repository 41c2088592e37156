"""A facet of one side of a crystal moved to the opposite one.

Three Bragg peaks of one family hardly tell a crystal from the same shape whose lattice is shifted
by half a cell: all its atoms are right but those of one facet, which are on the other side. No
change of single atoms leads from one to the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

# chosen: less than half the distance of two layers, more than relaxation bends one; not varied
_LAYER = 0.35  # neighbour distances
_NEXT = 1.2  # derived: no two close-packed layers are further apart [neighbour distances]
_SAME = 0.3  # chosen: as of vacant sites, positions closer than this are one; not varied
_ALIKE = 0.95  # derived: cosine of far less than the angle between two kinds of facets
_SKEW = 0.5  # derived: sine below that of two bonds of fcc or bcc
_TRIED = 50  # chosen: pairs of atom and site from which a shift is read; not varied


def moved_facets(
    x: NDArray[np.float64], vacant: NDArray[np.float64], reach: float, distance: float
) -> Iterator[NDArray[np.float64]]:
    """Yield the atoms with one facet each moved to the opposite side.

    Parameters
    ----------
    x : (n, 3) ndarray
        Atoms [Å].
    vacant : (m, 3) ndarray
        Vacant sites beside them [Å].
    reach, distance : float
        What counts as a neighbour, and the distance of nearest ones [Å].

    Yields
    ------
    (n, 3) ndarray
        Positions [Å], the facet that was moved last.
    """
    if not len(vacant):
        return
    for normal in _normals(x, reach):
        height = x @ normal
        facet = height > height.max() - _LAYER * distance
        below = height.min() - vacant @ normal
        layer = vacant[(below > _LAYER * distance) & (below < _NEXT * distance)]
        if len(layer) and not facet.all():
            yield np.concatenate([x[~facet], _laid_on(x[facet], layer, distance)])


def _normals(x: NDArray[np.float64], reach: float) -> list[NDArray[np.float64]]:
    """Return the normals of the planes that two bonds of the innermost atom span."""
    centre = x[np.argmin(np.linalg.norm(x - x.mean(axis=0), axis=1))]
    length = np.linalg.norm(x - centre, axis=1)
    bonds = (x - centre)[(length > 0) & (length < reach)]
    bonds /= np.maximum(np.linalg.norm(bonds, axis=1, keepdims=True), 1e-12)
    found: list[NDArray[np.float64]] = []
    for normal in np.cross(bonds[:, None], bonds[None]).reshape(-1, 3):
        size = float(np.linalg.norm(normal))
        if size > _SKEW and all(normal @ other < _ALIKE * size for other in found):
            found.append(normal / size)
    return found


def _laid_on(
    facet: NDArray[np.float64], layer: NDArray[np.float64], distance: float
) -> NDArray[np.float64]:
    """Return a facet shifted so that most of its atoms are on sites of a layer, and on these."""
    tree = cKDTree(layer)
    middle = facet[np.argmin(np.linalg.norm(facet - facet.mean(axis=0), axis=1))]
    near = np.argsort(np.linalg.norm(layer - layer.mean(axis=0), axis=1))[:_TRIED]
    shifts = layer[near] - middle
    fits = [int((tree.query(facet + s)[0] < _SAME * distance).sum()) for s in shifts]
    moved = facet + shifts[int(np.argmax(fits))]
    gap, k = tree.query(moved)
    on = gap < _SAME * distance
    moved[on] = layer[k[on]]
    return moved
