"""What a crystal's atoms say of its lattice: displacement, strain, coordination, order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from prammol.structure.fitted_lattice import (
    Bonds,
    FittedLattice,
    fit_lattice,
    lattice_bonds,
)
from prammol.structure.lattices import Lattice

FloatArray = NDArray[np.float64]

STRAIN = ("xx", "yy", "zz", "xy", "xz", "yz")
STRUCTURES = ("other", "fcc", "hcp", "bcc")  # as OVITO counts them
_INDEPENDENT = 1e-3  # chosen: not varied; smallest over largest eigenvalue of the bonds' directions
# derived: Honeycutt and Andersen 1987
_KINDS = ((4, 2, 1), (4, 2, 2), (4, 4, 2), (6, 6, 2))
# Neighbours -> structure -> its bonds of each kind.
_PATTERNS = {
    12: {"fcc": (12, 0, 0, 0), "hcp": (6, 6, 0, 0)},  # derived: as above
    14: {"bcc": (0, 0, 6, 8)},
}
# derived: half way to the next shell [edges]; other crystals have none of these structures
_CUTOFF = {12: (0.5**0.5 + 1) / 2, 8: (1 + 2**0.5) / 2}
_CHUNK = 10_000  # chosen: memory, some 100 MB; not varied


def crystal_fields(
    x: FloatArray, lattice: Lattice
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return columns that describe how a crystal differs from its perfect lattice.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    lattice : Lattice
        Kind of crystal; scale and orientation are fitted, :func:`fit_lattice`.

    Returns
    -------
    columns : dict of str to ndarray
        ``displacement``, (n, 3) [Å], see :func:`displacements`; ``strain``, (n, 6), see
        :func:`lattice_strain`; ``coordination``, (n,); ``centro_symmetry``, (n,) [Å^2];
        ``structure_type``, (n,), see :func:`structure_types`. Displacement and strain are NaN
        where no lattice fits; none does with several atoms per primitive cell.
    info : dict
        ``lattice_constant`` [Å] and ``lattice_axes``, the cubic axes one after the other;
        empty if no lattice fits.
    """
    fitted = fit_lattice(x, lattice)
    columns: dict[str, NDArray[Any]] = {
        "displacement": np.full((len(x), 3), np.nan),
        "strain": np.full((len(x), len(STRAIN)), np.nan),
        "coordination": np.zeros(len(x), dtype=int),
        "centro_symmetry": centro_symmetry(x, lattice.coordination),
        "structure_type": np.zeros(len(x), dtype=int),
    }
    if fitted is None:
        if not (lattice.centred and lattice.cubic) and len(x) > 1:
            spacing = float(np.median(cKDTree(x).query(x, k=2)[0][:, 1]))
            columns["coordination"] = coordination(x, lattice.first_shell * spacing)
            columns["structure_type"] = structure_types(x, _CUTOFF[12] * 2**0.5 * spacing)
        return columns, {}
    bonds = lattice_bonds(x, fitted)
    columns["displacement"] = displacements(x, fitted, bonds)
    columns["strain"] = lattice_strain(x, fitted, bonds)
    columns["coordination"] = coordination(x, lattice.first_shell * fitted.neighbour_distance)
    if lattice.coordination in _CUTOFF:
        reach = _CUTOFF[lattice.coordination] * fitted.constant
        columns["structure_type"] = structure_types(x, reach)
    return columns, {
        "lattice_constant": fitted.constant,
        "lattice_axes": fitted.axes.ravel().tolist(),
    }


def lattice_strain(x: FloatArray, fitted: FittedLattice, bonds: Bonds) -> FloatArray:
    """Return the Green-Lagrange strain of each atom's neighbourhood.

    The deformation gradient F is the one that lays lattice vectors to nearest neighbours over
    the bonds in the least squares (Falk and Langer 1998; Shimizu et al. 2007). The strain is
    (F^T F - 1) / 2: no rotation changes it, and it isn't the small strain, from which it differs
    by squares.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    fitted : FittedLattice
        What strain is relative to.
    bonds : Bonds
        See :func:`lattice_bonds`.

    Returns
    -------
    (n, 6) ndarray
        Components xx, yy, zz, xy, xz, yz along the axes of the positions, tensor shears (half
        of the engineering ones). NaN for an atom whose bonds lie in a plane.
    """
    v, d = fitted.place(bonds.ideal), x[bonds.second] - x[bonds.first]
    ideal = _sums(v[:, :, None] * v[:, None], bonds.first, len(x))
    found = _sums(d[:, :, None] * v[:, None], bonds.first, len(x))
    eigenvalues = np.linalg.eigvalsh(ideal)
    known = eigenvalues[:, 0] > _INDEPENDENT * np.maximum(eigenvalues[:, 2], 1e-12)
    gradient = np.full_like(ideal, np.nan)
    gradient[known] = found[known] @ np.linalg.inv(ideal[known])
    strain = (np.swapaxes(gradient, 1, 2) @ gradient - np.eye(3)) / 2
    rows, columns = np.array([["xyz".index(axis) for axis in pair] for pair in STRAIN]).T
    return np.asarray(strain[:, rows, columns])


def displacements(x: FloatArray, fitted: FittedLattice, bonds: Bonds) -> FloatArray:
    """Return how far atoms are from their sites of the lattice, (n, 3) [Å].

    They may exceed the distance of atoms; beyond a dislocation they jump. The lattice lies where
    the mean over the atoms that bonds reach is zero, see :func:`lattice_sites`.

    Parameters
    ----------
    x, fitted, bonds
        As of :func:`lattice_strain`.
    """
    site, origin = lattice_sites(x, fitted, bonds)
    return np.asarray(x - origin - fitted.place(site))


def lattice_sites(
    x: FloatArray, fitted: FittedLattice, bonds: Bonds
) -> tuple[FloatArray, FloatArray]:
    """Return the site of the lattice that each atom is at.

    Sites are counted along bonds, on the shortest way from the middle. Atoms that no such way
    reaches (across a grain boundary or a stacking fault) are taken to the nearest site.

    Parameters
    ----------
    x, fitted, bonds
        As of :func:`lattice_strain`.

    Returns
    -------
    sites : (n, 3) ndarray
        [edges].
    origin : (3,) ndarray
        Where the site (0, 0, 0) lies [Å].
    """
    site, reached = np.zeros_like(x), np.ones(len(x), dtype=bool)
    if len(bonds.first):
        shape = (len(x), len(x))
        number = np.arange(1, len(bonds.first) + 1)
        graph = sparse.csr_array((number, (bonds.first, bonds.second)), shape=shape)
        label = csgraph.connected_components(graph, directed=False)[1]
        members = np.flatnonzero(label == np.bincount(label).argmax())
        middle = x[members].mean(axis=0)
        root = members[np.linalg.norm(x[members] - middle, axis=1).argmin()]
        order, parent = csgraph.breadth_first_order(graph, root)
        reached = np.isin(np.arange(len(x)), order)
        way = order[1:]
        bond = np.asarray(graph[parent[way], way]).ravel() - 1
        site[way] = bonds.ideal[bond]
        parent[~reached] = root
        parent[root] = root
        while (parent != root).any():  # each round doubles how far back a site is counted from
            site += site[parent]
            parent = parent[parent]
    origin = (x - fitted.place(site))[reached].mean(axis=0)
    site[~reached] = fitted.nearest_sites(x[~reached] - origin)
    return site, np.asarray(origin)


def coordination(x: FloatArray, reach: float) -> NDArray[np.intp]:
    """Return the number of neighbours of each atom, (n,), within a distance [Å]."""
    count = cKDTree(x).query_ball_point(x, reach, return_length=True)
    return np.asarray(count - 1, dtype=np.intp)


def centro_symmetry(x: FloatArray, neighbours: int) -> FloatArray:
    """Return the centro-symmetry parameter of each atom (Kelchner et al. 1998).

    The sum of the N / 2 smallest squares of r_i + r_j over pairs of its N nearest neighbours, as
    LAMMPS and OVITO take it: 0 for an atom in the middle of opposite ones.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    neighbours : int
        N.

    Returns
    -------
    (n,) ndarray
        [Å^2]; NaN if there are too few atoms.
    """
    if len(x) <= neighbours:
        return np.full(len(x), np.nan)
    _, near = cKDTree(x).query(x, k=neighbours + 1)
    a, b = np.triu_indices(neighbours, 1)
    half, out = neighbours // 2, np.empty(len(x))
    for begin in range(0, len(x), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        d = x[near[part, 1:]] - x[part, None]
        square = np.sum((d[:, a] + d[:, b]) ** 2, axis=2)
        out[part] = np.partition(square, half - 1, axis=1)[:, :half].sum(axis=1)
    return out


def structure_types(x: FloatArray, reach: float) -> NDArray[np.intp]:
    """Classify the order around each atom by its common neighbours (Honeycutt and Andersen 1987).

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    reach : float
        What counts as a neighbour [Å]: half way between first and second shell of fcc, second
        and third of bcc.

    Returns
    -------
    (n,) int ndarray
        0 for other, 1 for fcc, 2 for hcp, 3 for bcc. Surface atoms are "other".
    """
    tree = cKDTree(x)
    count = tree.query_ball_point(x, reach, return_length=True) - 1
    out = np.zeros(len(x), dtype=np.intp)
    for number, patterns in _PATTERNS.items():
        atoms = np.flatnonzero(count == number)
        for begin in range(0, len(atoms), _CHUNK):
            part = atoms[begin : begin + _CHUNK]
            near = x[tree.query(x[part], k=number + 1)[1][:, 1:]]
            kinds = _bond_kinds(near, reach)
            for name, wanted in patterns.items():
                out[part[(kinds == wanted).all(axis=1)]] = STRUCTURES.index(name)
    return out


def _bond_kinds(near: FloatArray, reach: float) -> NDArray[np.intp]:
    """Count, for atoms with neighbours at near, (n, k, 3), their bonds of each kind, (n, 4).

    The kinds are 421, 422, 444 and 666: common neighbours, bonds between them, longest chain of
    these, which is told by the most bonds of one of them.
    """
    joined = np.sum((near[:, :, None] - near[:, None]) ** 2, axis=3) < reach**2
    joined &= ~np.eye(near.shape[1], dtype=bool)
    share = joined.astype(np.float32)
    degree = (share @ share) * share  # of each common neighbour, for each bond
    common, between, most = share.sum(axis=2), degree.sum(axis=2) / 2, degree.max(axis=2)
    return np.stack(
        [
            ((common == n) & (between == bonds) & (most == highest)).sum(axis=1)
            for n, bonds, highest in _KINDS
        ],
        axis=1,
    )


def _sums(values: FloatArray, atoms: NDArray[np.intp], n: int) -> FloatArray:
    """Return the sum over each atom's bonds, (n, 3, 3), of (m, 3, 3)."""
    flat = values.reshape(len(values), -1)
    sums = [np.bincount(atoms, weights=column, minlength=n) for column in flat.T]
    return np.asarray(np.stack(sums, axis=1), dtype=float).reshape(n, *values.shape[1:])
