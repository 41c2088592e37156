"""Voronoi grains: what is left of a polycrystal when all grains but one are deleted.

As in atomsk's polycrystal mode: random nodes in a periodic box, the lattice fills
the Voronoi cell of each node. Here only the cell of the first node is filled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Voronoi, cKDTree

from prammol.core.errors import InputError
from prammol.structure.lattices import LATTICES, Lattice

_NODES = 12  # chosen: not varied
_LARGEST_ASPECT = 1.25  # chosen: not varied
_ATTEMPTS = 1000  # chosen: not varied


def voronoi_grain(
    structure: str | Lattice, lattice_constant: float, atoms: int, seed: int, attempt: int = 0
) -> NDArray[np.float64]:
    """Return one Voronoi grain with an exact number of atoms, see :func:`voronoi_grain_sites`."""
    return voronoi_grain_sites(structure, lattice_constant, atoms, seed, attempt)[0]


def voronoi_grain_sites(
    structure: str | Lattice, lattice_constant: float, atoms: int, seed: int, attempt: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return one Voronoi grain with an exact number of atoms, and their sites in the cell.

    A lattice point p, measured from the node, is inside the cell scaled by s when
    g(p) = max_k (n_k . p / d_k) < s, over the faces k with normals n_k at distances
    d_k. So the `atoms` points of smallest g are the grain: the size of the box
    follows from the number of atoms, and no search is needed.

    Parameters
    ----------
    structure : str or Lattice
        One of LATTICES, or its name; the axes of its cell as there.
    lattice_constant : float
        Edge of the cell [Å].
    atoms : int
        Number of atoms.
    seed : int
        Seed of the nodes and of the offset of the lattice. Cells that are far
        from equiaxed, or cut the same distance from two atoms, are skipped.
    attempt : int
        Another grain of the same seed.

    Returns
    -------
    x : (atoms, 3) ndarray
        Positions [Å], the node at the origin.
    sites : (atoms,) int ndarray
        Which of the lattice's sites each of them is.

    Raises
    ------
    InputError
        If the structure is unknown or `atoms` is not positive.
    """
    lattice = LATTICES.get(structure) if isinstance(structure, str) else structure
    if lattice is None:
        msg = f"no crystal structure {structure!r}, expected one of {', '.join(LATTICES)}"
        raise InputError(msg)
    if atoms < 1:
        msg = f"a crystal needs at least 1 atom, got {atoms}"
        raise InputError(msg)
    if seed < 0:
        msg = f"the seed of a crystal can't be negative, got {seed}"
        raise InputError(msg)
    for k in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, attempt, k])
        faces = _cell_faces(rng.random((_NODES, 3)))
        found = _fill(faces, lattice, lattice_constant, atoms, rng.random(3))
        if found is not None and aspect_ratio(found[0]) <= _LARGEST_ASPECT:
            return found
    msg = f"found no Voronoi grain of {atoms} atoms in {_ATTEMPTS} attempts with seed {seed}"
    raise InputError(msg)


def aspect_ratio(x: NDArray[np.float64]) -> float:
    """Return the ratio of the longest to the shortest principal rms extent of (n, 3) points.

    1 for fewer than 30 points, where it says nothing.
    """
    if len(x) < 30:
        return 1.0
    values = np.linalg.eigvalsh(np.cov(x.T))
    return float(np.sqrt(values[-1] / values[0]))


def neighbour_counts(x: NDArray[np.float64], distance: float) -> NDArray[np.int_]:
    """Return how many others each of (n, 3) points has within a distance, (n,) int."""
    tree = cKDTree(x)
    return np.asarray(tree.query_ball_point(x, distance, return_length=True), dtype=int) - 1


def _cell_faces(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return n_k / d_k of the faces of the cell of node 0 in the periodic unit box, (k, 3)."""
    shifts = np.indices((3, 3, 3)).reshape(3, -1).T - 1
    points = (nodes[None] + shifts[:, None]).reshape(-1, 3) - nodes[0]
    own = int(np.linalg.norm(points, axis=1).argmin())
    ridges = Voronoi(points).ridge_points
    neighbours = ridges[(ridges == own).any(axis=1)].sum(axis=1) - own
    towards = points[np.sort(neighbours)]
    # The bisecting plane towards r is p . r = |r|^2 / 2.
    return 2 * towards / (towards**2).sum(axis=1)[:, None]


def _fill(
    faces: NDArray[np.float64],
    lattice: Lattice,
    lattice_constant: float,
    atoms: int,
    offset: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int_]] | None:
    """Return the `atoms` lattice points of smallest gauge, None if the last one isn't unique."""
    basis, cell = np.array(lattice.sites, dtype=float), lattice.vectors
    half = 2 + int(np.ceil((atoms / len(basis)) ** (1 / 3)))
    while True:
        cells = np.indices((2 * half,) * 3).reshape(3, -1).T - half
        x = lattice_constant * ((cells[:, None] + basis + offset).reshape(-1, 3) @ cell)
        gauge = np.full(len(x), -np.inf)
        for face in faces:
            np.maximum(gauge, x @ face, out=gauge)
        order = np.argsort(gauge, kind="stable")
        size, following = gauge[order[atoms - 1]], gauge[order[atoms]]
        inside = np.sort(order[:atoms])
        # All points of the cell were seen if none inside is on the border of the block.
        border = (cells == -half).any(axis=1) | (cells == half - 1).any(axis=1)
        if not border[inside // len(basis)].any():
            break
        half *= 2
    return (x[inside], inside % len(basis)) if following - size > 1e-9 * size else None
