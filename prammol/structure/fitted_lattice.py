"""The perfect lattice that fits atoms best, and which of its vectors each bond is.

Scale and orientation come from the vectors between nearest neighbours: no peaks, no potential.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.structure.lattices import Lattice

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# A bond across a stacking fault is 0.58 from the nearest vector of the lattice.
_NEAR = 0.35  # chosen: not varied; of a bond from its lattice vector [neighbour distances]
_SEEDS = 12  # chosen: not varied; atoms at which an orientation is tried
_ENOUGH = 10_000  # chosen: not varied; bonds that judge a trial
_ROUNDS = 20  # chosen: not varied; the fit ends when no bond changes its vector
_MOST_OF_IT = 0.5  # derived: more than a half of the bonds of a crystal are its lattice's


@dataclass(frozen=True, eq=False)
class FittedLattice:
    """A cubic lattice as it lies in the crystal.

    Attributes
    ----------
    lattice : Lattice
        Its kind.
    constant : float
        Edge of the cubic cell [Å].
    axes : (3, 3) ndarray
        Unit vectors of the cubic axes as rows; of the equivalent choices the one nearest to x, y
        and z.
    """

    lattice: Lattice
    constant: float
    axes: FloatArray

    @property
    def neighbour_distance(self) -> float:
        """Nearest-neighbour distance [Å]."""
        return self.constant * self.lattice.neighbour

    def place(self, sites: FloatArray) -> FloatArray:
        """Return where sites, (..., 3) [edges], lie [Å], the site (0, 0, 0) at the origin."""
        return np.asarray(self.constant * sites @ self.axes)

    def nearest_sites(self, positions: FloatArray) -> FloatArray:
        """Return the lattice sites, (n, 3) [edges], nearest to positions, (n, 3) [Å]."""
        p = positions @ self.axes.T / self.constant
        rounded = np.stack([b + np.rint(p - b) for b in self.lattice.basis])
        best = np.sum((rounded - p) ** 2, axis=2).argmin(axis=0)
        return np.asarray(rounded[best, np.arange(len(p))])


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonds between nearest neighbours, each in both directions.

    Attributes
    ----------
    first, second : (m,) int ndarray
        Their atoms.
    ideal : (m, 3) ndarray
        The lattice vector that each is [edges].
    """

    first: IntArray
    second: IntArray
    ideal: FloatArray


def fit_lattice(x: FloatArray, lattice: Lattice) -> FittedLattice | None:
    """Fit scale and orientation of a lattice to the bonds of atoms with all their neighbours.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    lattice : Lattice
        Kind of crystal.

    Returns
    -------
    FittedLattice or None
        None if less than half of the bonds lie along vectors of the lattice, or its atoms don't
        all have the same ones.
    """
    if len(x) <= lattice.coordination or not (lattice.centred and lattice.cubic):
        return None
    tree = cKDTree(x)
    distance, _ = tree.query(x, k=lattice.coordination + 1)
    spacing = float(np.median(distance[:, 1:]))
    if not spacing > 0:
        return None
    i, j = _pairs(tree, lattice.first_shell * spacing)
    count = np.bincount(i, minlength=len(x))
    whole = count == lattice.coordination
    bulk = whole[i] if whole.any() else np.ones(len(i), dtype=bool)
    i, d = i[bulk], (x[j] - x[i])[bulk] / (spacing / lattice.neighbour)
    if not len(d):
        return None
    shell = first_shell(lattice)
    axes = _orientation(i, d, shell, lattice.neighbour)
    scale, vectors = 1.0, cKDTree(shell)
    last = np.empty(0)
    for _ in range(_ROUNDS):
        gap, index = vectors.query(d @ axes.T / scale)
        near = gap < _NEAR * lattice.neighbour
        if near.sum() < max(3, _MOST_OF_IT * len(d)):
            return None
        axes, scale = _similarity(d[near], shell[index[near]])
        if np.array_equal(index, last):
            break
        last = index
    return FittedLattice(lattice, scale * spacing / lattice.neighbour, _nearest_to_frame(axes))


def lattice_bonds(x: FloatArray, fitted: FittedLattice) -> Bonds:
    """Return the bonds that are vectors between nearest neighbours of the lattice.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    fitted : FittedLattice
        See :func:`fit_lattice`.
    """
    shell = first_shell(fitted.lattice)
    i, j = _pairs(cKDTree(x), (1 + _NEAR) * fitted.neighbour_distance)
    # The second shell of bcc is nearer to the first than the limit.
    vectors = cKDTree(np.concatenate([shell, _shell(fitted.lattice, 1)]))
    gap, index = vectors.query(
        (x[j] - x[i]) @ fitted.axes.T / fitted.constant,
        distance_upper_bound=_NEAR * fitted.lattice.neighbour,
    )
    near = index < len(shell)
    i, j, gap, index = i[near], j[near], gap[near], index[near]
    # Where two atoms are near the end of one vector, it is the nearer one's.
    order = np.lexsort((gap, index, i))
    key = (i * len(shell) + index)[order]
    kept = order[np.concatenate([[True], key[1:] != key[:-1]])] if len(order) else order
    return Bonds(i[kept], j[kept], shell[index[kept]])


def first_shell(lattice: Lattice) -> FloatArray:
    """Return the vectors to nearest neighbours, (k, 3) [edges]."""
    return _shell(lattice, 0)


def _shell(lattice: Lattice, number: int) -> FloatArray:
    cells = np.array(list(product((-1, 0, 1), repeat=3)), dtype=float)
    sites = (cells[:, None] + lattice.basis).reshape(-1, 3)
    length = np.round(np.linalg.norm(sites, axis=1), 9)
    return np.asarray(sites[length == np.unique(length)[number + 1]])


def _pairs(tree: cKDTree, reach: float) -> tuple[IntArray, IntArray]:
    pairs = tree.query_pairs(reach, output_type="ndarray")
    i, j = np.concatenate([pairs, pairs[:, ::-1]]).T
    return i, j


def _orientation(i: IntArray, d: FloatArray, shell: FloatArray, length: float) -> FloatArray:
    """Return axes that explain most bonds, tried on the bonds of single atoms."""
    atoms = np.unique(i)
    chosen = atoms[np.linspace(0, len(atoms) - 1, min(_SEEDS, len(atoms))).astype(int)]
    sample = d[:: 1 + len(d) // _ENOUGH]
    vectors = cKDTree(shell)
    best, axes = -1, np.eye(3)
    for atom in chosen:
        own = d[i == atom]
        for trial in _trials(own, shell):
            gap, _ = vectors.query(own @ trial.T)
            if (gap < _NEAR * length).sum() < len(own):
                continue
            gap, index = vectors.query(sample @ trial.T)
            near = gap < _NEAR * length
            if near.sum() > best:
                best, axes = int(near.sum()), _similarity(sample[near], shell[index[near]])[0]
            break  # all that explain the atom's own bonds are equivalent
    return axes


def _trials(own: FloatArray, shell: FloatArray) -> list[FloatArray]:
    """Return axes that lay one bond along the first lattice vector, another along each."""
    cosine = own @ own[0] / (np.linalg.norm(own, axis=1) * np.linalg.norm(own[0]))
    other = own[np.abs(cosine).argmin()]
    ideal = shell @ shell[0] / np.sum(shell[0] ** 2)
    likely = np.abs(ideal - cosine[np.abs(cosine).argmin()]).argsort(kind="stable")
    frame = _frame(own[0], other)
    # A vector along the first one doesn't fix a frame.
    return [_frame(shell[0], shell[k]).T @ frame for k in likely if abs(ideal[k]) < 1 - 1e-6]


def _frame(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return three orthonormal rows, the first along a, the second in the plane of a and b."""
    first = a / np.linalg.norm(a)
    third = np.cross(a, b)
    third /= max(float(np.linalg.norm(third)), 1e-12)
    return np.stack([first, np.cross(third, first), third])


def _similarity(d: FloatArray, v: FloatArray) -> tuple[FloatArray, float]:
    """Return axes and scale for which d = scale v axes in the least squares (Umeyama 1991)."""
    u, s, w = np.linalg.svd(v.T @ d)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ w))])
    return (u * sign) @ w, float((s * sign).sum() / np.sum(v**2))


def _nearest_to_frame(axes: FloatArray) -> FloatArray:
    """Return the equivalent axes, by rotations of a cube, that are nearest to x, y and z."""
    turns = []
    for order, signs in product(permutations(range(3)), product((-1.0, 1.0), repeat=3)):
        turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
        if np.linalg.det(turn) > 0:
            turns.append(turn @ axes)
    return max(turns, key=lambda turn: round(float(np.trace(turn)), 9))
