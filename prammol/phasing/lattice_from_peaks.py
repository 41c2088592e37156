"""Which lattice three Bragg peaks leave open, and how the potential settles it.

Three peaks generate a reciprocal lattice. If it is all of the crystal's, their waves are in
phase on the crystal's sites and nowhere else. If it is only a part, as with three {200} peaks
of an fcc crystal, the waves are in phase on a lattice n times as dense, here simple cubic with
half the edge: the crystal is one of the sublattices of index n, and the data near these peaks
can't tell which. A potential knows the volume of an atom, hence n, and its structure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order
from scipy.spatial import cKDTree

from prammol.core.errors import DataError
from prammol.potentials.potential import Potential
from prammol.structure.lattices import Lattice

# Strain and a potential for another lattice constant are less, another lattice is more.
_ALIKE = 0.06  # chosen: between these; not varied
_FEWEST_ATOMS = 0.6  # chosen: between one atom a cell (strained) and two; not varied


@dataclass(frozen=True, eq=False)
class Sublattice:
    """A lattice of one atom per cell that has the peaks.

    Attributes
    ----------
    dense : (3, 3) ndarray
        Rows are primitive vectors of the lattice where the peaks' waves are in phase [Å].
    basis : (3, 3) int ndarray
        Rows are primitive vectors of the sublattice, in units of those.
    deviation : float
        Largest relative deviation of its shells of neighbours from those of the potential's
        structure at the same density.
    """

    dense: NDArray[np.float64]
    basis: NDArray[np.int_]
    deviation: float

    @property
    def index(self) -> int:
        """Lattice points of `dense` for each one of the sublattice."""
        return abs(round(float(np.linalg.det(self.basis))))

    @property
    def cell(self) -> NDArray[np.float64]:
        """Primitive vectors of the sublattice, rows of (3, 3) [Å]."""
        return self.basis @ self.dense

    @property
    def spacing(self) -> float:
        """Least distance of two points of the dense lattice [Å]."""
        return float(np.linalg.norm(self.dense, axis=1).min())

    def has(self, steps: NDArray[np.int_]) -> NDArray[np.bool_]:
        """Tell which lattice points, (n, 3) in units of `dense`, belong to the sublattice."""
        return _has(self.basis, steps)


def sublattices(peaks: NDArray[np.float64], potential: Potential) -> list[Sublattice]:
    """Return the lattices that three peaks allow, the one most like the potential's first.

    Parameters
    ----------
    peaks : (3, 3) ndarray
        Bragg vectors [1/Å].
    potential : Potential
        Gives the volume of an atom, to within a quarter, and the structure.

    Raises
    ------
    DataError
        If the cell of the peaks has room for more than one atom.
    """
    dense = reduced(np.asarray(2 * np.pi * np.linalg.inv(peaks).T, dtype=float))
    volume = abs(float(np.linalg.det(dense)))
    ratio = potential.atomic_volume / volume
    if ratio < _FEWEST_ATOMS:
        msg = (
            f"the three Bragg peaks belong to a cell of {volume:.1f} Å^3, room for "
            f"{1 / ratio:.1f} atoms of {potential.name} ({potential.atomic_volume:.1f} Å^3 each), "
            "but only lattices of one atom per cell can be found; "
            "are the potential and the peaks of the same metal?"
        )
        raise DataError(msg)
    index = max(1, round(ratio))
    found = [
        Sublattice(dense, basis, _deviation(dense, basis, potential.lattice))
        for basis in _bases(index)
    ]
    return sorted(found, key=lambda s: s.deviation)


def choose_sublattice(
    peaks: NDArray[np.float64], potential: Potential, number: int = 0
) -> Sublattice:
    """Return the lattice to look for.

    Parameters
    ----------
    peaks : (3, 3) ndarray
        Bragg vectors [1/Å].
    potential : Potential
    number : int
        Number of the lattice in the order of :func:`sublattices`, from 1; if 0, it must be
        that of the potential.

    Raises
    ------
    DataError
        If the peaks allow several and the potential doesn't settle which.
    """
    found = sublattices(peaks, potential)
    if len(found) == 1:
        return found[0]
    if number > len(found):
        msg = f"sublattice is {number}, the peaks allow {len(found)} lattices"
        raise DataError(msg)
    alike = [s for s in found if s.deviation < _ALIKE]
    if number == 0 and len(alike) != 1:
        msg = (
            f"{_ambiguity(found)}; {len(alike) or 'none'} of them {'are' if alike else 'is'} "
            f"{potential.structure} as the potential: measure another peak, or choose one with "
            f"--set sublattice=1 to {len(found)}"
        )
        raise DataError(msg)
    return found[max(0, number - 1)]


def explain(peaks: NDArray[np.float64], potential: Potential, number: int = 0) -> str | None:
    """Return a sentence if the peaks don't fix the lattice, None if they do.

    Raises
    ------
    DataError
        See :func:`choose_sublattice`.
    """
    chosen = choose_sublattice(peaks, potential, number)
    found = sublattices(peaks, potential)
    if len(found) == 1:
        return None
    which = f"number {number}" if number else f"the {potential.structure} one of the potential"
    near = np.linalg.norm(_neighbours(chosen.dense, chosen.basis)[0])
    return (
        f"{_ambiguity(found)}; taken is {which}, neighbours at {near:.2f} Å "
        f"(another: --set sublattice=1 to {len(found)})"
    )


def on_sublattice(x: NDArray[np.float64], chosen: Sublattice) -> NDArray[np.bool_]:
    """Tell which sites of the dense lattice belong to the chosen one.

    The lattice may be bent: steps are counted from neighbour to neighbour, from the site
    nearest to the middle.

    Parameters
    ----------
    x : (n, 3) ndarray
        Sites [Å].
    chosen : Sublattice

    Returns
    -------
    (n,) bool ndarray
    """
    if len(x) == 0 or chosen.index == 1:
        return np.ones(len(x), dtype=bool)
    inverse = np.linalg.inv(chosen.dense)
    first = int(np.linalg.norm(x - x.mean(axis=0), axis=1).argmin())
    steps = np.rint((x - x[first]) @ inverse).astype(int)  # of a site without neighbours
    reach = 1.2 * np.linalg.norm(chosen.dense, axis=1).max()
    pairs = cKDTree(x).query_pairs(reach, output_type="ndarray")
    way = (x[pairs[:, 1]] - x[pairs[:, 0]]) @ inverse
    clear = np.abs(way - np.rint(way)).max(axis=1) < 0.25
    pairs = pairs[clear]
    graph = csr_array((np.ones(len(pairs)), pairs.T), shape=(len(x), len(x)))
    order, before = breadth_first_order(graph, first, directed=False)
    for i in order[1:]:
        j = before[i]
        steps[i] = steps[j] + np.rint((x[i] - x[j]) @ inverse).astype(int)
    return chosen.has(steps)


def _ambiguity(found: list[Sublattice]) -> str:
    return (
        f"the Bragg peaks don't fix the lattice: {found[0].index} times as many sites as atoms "
        f"are in phase with all of them, and {len(found)} lattices fit"
    )


def _bases(index: int) -> Iterator[NDArray[np.int_]]:
    """Yield a basis of every sublattice of an index (Hermite normal form)."""
    for a, d in product(range(1, index + 1), repeat=2):
        if index % (a * d):
            continue
        f = index // (a * d)
        for b, c, e in product(range(d), range(f), range(f)):
            yield np.array([[a, b, c], [0, d, e], [0, 0, f]])


def _has(basis: NDArray[np.int_], steps: NDArray[np.int_]) -> NDArray[np.bool_]:
    way = steps @ np.linalg.inv(basis)
    return np.asarray(np.abs(way - np.rint(way)).max(axis=1) < 1e-6)


def _neighbours(dense: NDArray[np.float64], basis: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return lattice vectors of the sublattice but 0, nearest first, (n, 3) [Å]."""
    half = 2 + abs(round(float(np.linalg.det(basis))))
    steps = np.indices((2 * half + 1,) * 3).reshape(3, -1).T - half
    vectors = steps[_has(basis, steps)] @ dense
    return np.asarray(vectors[np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")][1:])


def _deviation(dense: NDArray[np.float64], basis: NDArray[np.int_], lattice: Lattice) -> float:
    """Return how far the first neighbours are from those of a structure, relatively."""
    cells = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    ideal = np.linalg.norm((cells[:, None] + lattice.basis).reshape(-1, 3), axis=1)
    ideal = np.sort(ideal[(ideal > 0) & (ideal < lattice.shells * lattice.neighbour)])
    volume = abs(float(np.linalg.det(basis @ dense)))
    ideal *= (volume * len(lattice.sites)) ** (1 / 3)
    own = np.linalg.norm(_neighbours(dense, basis)[: len(ideal)], axis=1)
    return float(np.abs(own / ideal - 1).max())


def reduced(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return short primitive vectors of the same lattice, rows of (3, 3) [Å]."""
    cell = cell.copy()
    while True:
        cell = cell[np.argsort(np.linalg.norm(cell, axis=1), kind="stable")]
        shorter = False
        for i, j in ((0, 1), (0, 2), (1, 2)):
            times = np.rint(cell[j] @ cell[i] / (cell[i] @ cell[i]))
            new = cell[j] - times * cell[i]
            if new @ new < 0.98 * (cell[j] @ cell[j]):  # not by noise
                cell[j], shorter = new, True
        if not shorter:
            return cell


def independent_patches(
    peaks: NDArray[np.float64], height: list[float], allowed: Sequence[Sequence[int]] = ()
) -> list[int]:
    """Choose the three patches that fix positions best, of allowed triples if there are any.

    Of the triples that aren't nearly in one plane, those that generate the finest
    reciprocal lattice, so that it is the crystal's if any triple's is; of these the one with
    the largest determinant of unit Bragg vectors; among equals the brightest.
    """
    length = np.linalg.norm(peaks, axis=1)
    triples = list(allowed) or list(combinations(range(len(peaks)), 3))
    cells = [abs(float(np.linalg.det(peaks[list(t)]))) for t in triples]
    volumes = [c / float(np.prod(length[list(t)])) for c, t in zip(cells, triples, strict=True)]
    wide = min(_WIDE, max(volumes))
    finest = min(c for c, v in zip(cells, volumes, strict=True) if v >= wide)

    def merit(n: int) -> tuple[bool, int, float, float]:
        bright = float(np.sum(np.log1p([height[k] for k in triples[n]])))
        return volumes[n] >= wide, -round(cells[n] / finest), round(volumes[n], 3), bright

    return list(triples[max(range(len(triples)), key=merit)])


def brightest_patches(peaks: NDArray[np.float64], height: list[float]) -> list[int]:
    """Choose three patches, not nearly in one plane, of which the weakest is brightest."""
    directions = peaks / np.linalg.norm(peaks, axis=1, keepdims=True)
    triples = [list(t) for t in combinations(range(len(peaks)), 3)]
    volumes = [abs(float(np.linalg.det(directions[t]))) for t in triples]
    wide = min(_WIDE, max(volumes))
    allowed = [t for t, volume in zip(triples, volumes, strict=True) if volume >= wide]
    return max(allowed, key=lambda t: min(height[k] for k in t))


# chosen: not varied
_WIDE = 0.2  # determinant of unit Bragg vectors below which they are nearly in one plane
