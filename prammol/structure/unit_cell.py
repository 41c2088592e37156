"""The unit cell of a file as one of the structures that are known, or as one of its own.

A structure is known by its primitive vectors and what is in them, whatever cell a file has, turned
or multiplied. What the program asks of a structure (shells of neighbours, peaks to measure) is
found out for others, if all their atoms have as many nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, permutations, product

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError
from prammol.structure.atoms import by_atomic_number
from prammol.structure.lattices import LATTICES, Lattice, Triple, renumbered, structure_factors

FloatArray = NDArray[np.float64]

_MOST_SITES = 64  # chosen: seconds to look at; not varied
_FLAT = 0.01  # derived: so flat a cell has shorter vectors [product of its edges]
_TOUCHING = 0.5  # derived: physics, no two atoms are so near [Å]
_CUBIC = 0.01  # chosen: above what rounded files differ by; not varied
_HEXAGONAL = 0.12  # derived: c/a of zinc (1.86) against the ideal 1.63, by volume
_PLACES = 0.02  # chosen: u of wurtzite differs by 0.01 among compounds; not varied
_GAP = 0.08  # chosen: below the 0.15 between the shells of bcc; not varied
_BOUND = 12  # derived: a close-packed shell; what binds an atom are as many neighbours or more
_FARTHEST = 2.5  # chosen: no structure known needs more than 1.8; not varied [shortest distances]
_BRIGHT = 0.3  # chosen: between superlattice peaks (0.13 in NiAl) and others (0.5); not varied
_SEEN = 0.001  # derived: extinct ones are 0; Cd and Zn in order beside Te differ by 0.0098
_WIDE = 0.2  # derived: as for the peaks to be phased, prammol.phasing.lattice_from_peaks
_FEW = 40  # chosen: innermost reflections, more than any family has; not varied
_REACH = 2.5  # derived: 1/d of the innermost reflections is below 1.7 [1 / edge of an atom's cube]
_HALF_WIDTH = 0.4  # chosen: those of fcc, hcp and diamond are 0.37 to 0.43; not varied


@dataclass(frozen=True, eq=False)
class UnitCell:
    """Atoms that are repeated along three vectors.

    Attributes
    ----------
    vectors : (3, 3) ndarray
        As rows [Å].
    sites : (n, 3) ndarray
        In fractions of the vectors.
    symbols : (n,) ndarray of str
        Chemical symbols.

    Raises
    ------
    InputError
        If the vectors span nothing, or two atoms are in one place.
    """

    vectors: FloatArray
    sites: FloatArray
    symbols: NDArray[np.str_]

    def __post_init__(self) -> None:
        size = np.linalg.norm(self.vectors, axis=1)
        finite = np.isfinite(self.vectors).all() and np.isfinite(self.sites).all()
        if not finite or not abs(np.linalg.det(self.vectors)) > _FLAT * np.prod(size):
            msg = "its cell has no volume or is flat, expected three short vectors"
            raise InputError(msg)
        if not len(self.sites):
            msg = "has no atoms in its cell"
            raise InputError(msg)
        by_atomic_number(self.symbols)
        if len(self.sites) > _MOST_SITES:
            msg = f"has {len(self.sites)} atoms in its cell, expected at most {_MOST_SITES}"
            raise InputError(msg)
        gap, near = self._neighbours(1)
        if gap.min() < _TOUCHING:
            k = int(gap[:, 0].argmin())
            msg = (
                f"atoms {k + 1} and {near[k, 0] + 1} of its cell are {gap.min():.3f} Å apart, "
                "expected each site once"
            )
            raise InputError(msg)

    def _neighbours(self, number: int) -> tuple[FloatArray, NDArray[np.intp]]:
        """Return distances [Å] and sites of the nearest neighbours of each site, (n, number)."""
        steps = np.array(list(product(range(-2, 3), repeat=3)))
        around = (self.sites + steps[:, None]).reshape(-1, 3) @ self.vectors
        gap, near = cKDTree(around).query(self.sites @ self.vectors, k=number + 1)
        return gap[:, 1:], near[:, 1:] % len(self.sites)

    @property
    def formula(self) -> dict[str, int]:
        """How often each element is in the cell, by atomic number."""
        symbols = self.symbols.tolist()
        return {name: symbols.count(name) for name in by_atomic_number(symbols)}

    @property
    def text(self) -> str:
        """The formula as chemists write it, such as AlNi3."""
        found = self.formula
        common = np.gcd.reduce(list(found.values()))
        return "".join(f"{s}{n // common if n > common else ''}" for s, n in found.items())


@dataclass(frozen=True)
class Structure:
    """What a unit cell is.

    Attributes
    ----------
    name : str
        One of LATTICES, or else the formula.
    lattice : Lattice
        Its elements are counted by atomic number; the cell has the shape that the file has.
    edge : float
        First edge of its cell [Å].
    """

    name: str
    lattice: Lattice
    edge: float


def structure_of(cell: UnitCell) -> Structure:
    """Return the structure of a unit cell.

    Raises
    ------
    InputError
        If its atoms differ in how many nearest neighbours they have, or no peak tells its sites
        apart.
    """
    names = list(cell.formula)
    if np.linalg.det(cell.vectors) < 0:  # else it would be turned into its mirror image
        other = [1, 0, 2]
        cell = replace(cell, vectors=cell.vectors[other], sites=cell.sites[:, other])
    kinds = np.array([names.index(name) for name in cell.symbols.tolist()])
    raw = _raw(cell, kinds)
    for name, lattice in LATTICES.items():
        found = _match(cell.vectors, raw, lattice)
        if found is not None:
            return Structure(name, *found)
    return Structure(cell.text, _described(raw, cell), float(np.linalg.norm(cell.vectors[0])))


def _raw(cell: UnitCell, kinds: NDArray[np.int_]) -> Lattice:
    """Return the cell, first vector along x, the second in the plane of x and y, third upwards."""
    _, r = np.linalg.qr(cell.vectors.T)
    rows = (r * np.sign(r.diagonal())[:, None]).T / np.linalg.norm(cell.vectors[0])
    return Lattice(
        sites=tuple(map(tuple, (cell.sites % 1.0).tolist())),
        neighbour=1.0,
        coordination=1,
        first_shell=1.0,
        shells=1.0,
        peaks=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        cell=tuple(map(tuple, (np.round(rows, 9) + 0.0).tolist())),
        kinds=tuple(kinds.tolist()) if kinds.max() else (),
    )


def _match(vectors: FloatArray, raw: Lattice, known: Lattice) -> tuple[Lattice, float] | None:
    """Return a known structure with the elements of a cell, and its edge; None if it isn't it."""
    if len(raw.motif) != len(known.motif) or len(raw.counts) != len(known.counts):
        return None
    wanted = known.primitive @ known.vectors
    scale = (abs(np.linalg.det(raw.primitive @ vectors) / np.linalg.det(wanted))) ** (1 / 3)
    loose = _CUBIC if known.cubic else _HEXAGONAL
    steps = np.array(list(product(range(-2, 3), repeat=3))) @ raw.primitive
    length = np.linalg.norm(steps @ vectors, axis=1) / scale
    size = np.linalg.norm(wanted, axis=1)
    groups = [steps[np.abs(length / s - 1) < 1.5 * loose] for s in size]
    triples = np.array(list(product(*groups))).reshape(-1, 3, 3)
    volume = abs(float(np.linalg.det(raw.primitive)))
    whole = np.isclose(np.abs(np.linalg.det(triples)), volume, rtol=0.1)
    for rows in triples[whole]:
        u, s, _ = np.linalg.svd(np.linalg.inv(wanted) @ rows @ vectors)
        stretch = u * s @ u.T
        order = _elements(raw, rows, known) if _alike(stretch / scale, known, loose) else None
        if order is not None:
            own = renumbered(known, order)
            if not known.cubic:
                shape = own.vectors @ np.diag([1.0, 1.0, stretch[2, 2] / stretch[0, 0]])
                own = replace(own, cell=tuple(map(tuple, np.round(shape, 6).tolist())))
            return own, float(stretch[0, 0])
    return None


def _alike(stretch: FloatArray, known: Lattice, loose: float) -> bool:
    """Tell whether a stretch is one that a structure may have: even, or along z."""
    if known.cubic:
        return bool(np.abs(stretch - np.eye(3)).max() < _CUBIC)
    a, _, c = stretch.diagonal()
    beside = np.abs(stretch - np.diag([a, a, c])).max()
    return bool(beside < _CUBIC and abs(a - 1) < loose and abs(c / a - 1) < 1.5 * loose)


def _elements(raw: Lattice, rows: FloatArray, known: Lattice) -> tuple[int, ...] | None:
    """Return which element takes the place of each of a structure's; None if the sites differ."""
    inverse = np.linalg.inv(rows)
    own = raw.motif @ inverse
    theirs = known.motif @ np.linalg.inv(known.primitive)
    for order in permutations(range(len(known.counts))):
        kinds = np.array(order)[known.motif_kinds]
        for origin in own:
            gap = (own - origin + theirs[0])[:, None] - theirs
            gap -= np.rint(gap)
            apart = np.abs(gap).max(axis=2) + (raw.motif_kinds[:, None] != kinds)
            if (apart.min(axis=1) < _PLACES).all() and (apart.min(axis=0) < _PLACES).all():
                return order
    return None


def _described(raw: Lattice, cell: UnitCell) -> Lattice:
    """Return a structure with its shells and peaks.

    Raises
    ------
    InputError
        See :func:`structure_of`.
    """
    found = _shells(raw)
    if found is None:
        msg = (
            f"is {cell.text} with {len(raw.motif)} atoms in a primitive cell, which have different "
            f"numbers of nearest neighbours; expected {', '.join(LATTICES)}, or a crystal whose "
            "atoms all have as many"
        )
        raise InputError(msg)
    coordination, first, mean, reach = found
    volume = raw.volume / len(raw.sites)
    lattice = replace(
        raw,
        neighbour=mean,
        coordination=coordination,
        first_shell=first / mean,
        shells=reach / mean,
        half_width=round(_HALF_WIDTH / volume ** (1 / 3), 2),
    )
    peaks, superlattice = _peaks(lattice, list(cell.formula))
    return replace(lattice, peaks=peaks, superlattice=superlattice)


def _shells(raw: Lattice) -> tuple[int, float, float, float] | None:
    """Return the nearest neighbours that all atoms have, and how far shells are; None if unlike.

    That is the number, up to which distance they are, their mean distance, and the distance that
    takes in what binds an atom [edges].
    """
    shortest = float(np.linalg.norm(raw.vectors, axis=1).min())
    near = _around(raw, shortest)[1].query(raw.basis, k=2)[0][:, 1].min()
    around, tree = _around(raw, _FARTHEST * near)
    found = tree.query_ball_point(raw.basis, _FARTHEST * near)
    gaps = [np.sort(np.linalg.norm(around[f] - x, axis=1))[1:]
            for f, x in zip(found, raw.basis, strict=True)]  # fmt: skip
    every = np.sort(np.concatenate(gaps))
    first: tuple[int, float, float] | None = None
    for low, high in pairwise(every.tolist()):
        if high / low < 1 + _GAP:
            continue
        counts = [int((g < (low + high) / 2).sum()) for g in gaps]
        if first is None and min(counts) < max(counts):
            return None
        first = first or (counts[0], (low + high) / 2, float(every[every <= low].mean()))
        if min(counts) >= _BOUND:
            return *first, (low + high) / 2
    return None


def _around(raw: Lattice, reach: float) -> tuple[FloatArray, cKDTree]:
    """Return all atoms up to a distance from those of the cell [edges]."""
    half = 1 + np.ceil(reach * np.linalg.norm(np.linalg.inv(raw.vectors), axis=0)).astype(int)
    steps = np.array(list(product(*(range(-n, n + 1) for n in half.tolist()))))
    around = (steps[:, None] + np.array(raw.sites)).reshape(-1, 3) @ raw.vectors
    return around, cKDTree(around)


def _peaks(
    lattice: Lattice, names: Sequence[str]
) -> tuple[tuple[Triple, Triple, Triple], tuple[Triple, ...]]:
    """Return three bright inner reflections, and others without which the lattice isn't known."""
    electrons = np.array([gemmi.Element(name).atomic_number for name in names], dtype=float)
    weights = electrons[lattice.kind_of_site]
    edges = np.linalg.norm(lattice.vectors, axis=1)
    longest = _REACH / (lattice.volume / len(lattice.sites)) ** (1 / 3)
    most = np.ceil(longest * edges).astype(int)
    hkl = np.array([h for h in product(*(range(-m, m + 1) for m in most)) if any(h)])
    length = np.linalg.norm(hkl @ lattice.reciprocal, axis=1) / (2 * np.pi)
    strength = np.abs(structure_factors(lattice, hkl, weights)) ** 2 / weights.sum() ** 2
    order = np.lexsort((*(-hkl.T[::-1]), np.round(length, 6)))
    order = order[length[order] <= longest]
    hkl, strength, length = hkl[order], strength[order], length[order]
    bright = hkl[strength > _BRIGHT]
    best = _triple(bright, lattice)
    extra: list[NDArray[np.int_]] = []
    left = _index(best, lattice)
    for h in hkl[strength > _SEEN]:
        now = _index([*best, *extra, h], lattice)
        if now < left:
            extra.append(h)
            left = now
    if left > 1:
        msg = "no inner peak tells its sites apart, expected elements that scatter differently"
        raise InputError(msg)
    first, second, third = map(_triple_of, best)
    return (first, second, third), tuple(map(_triple_of, extra))


def _triple_of(h: NDArray[np.int_]) -> Triple:
    return int(h[0]), int(h[1]), int(h[2])


def _triple(bright: NDArray[np.int_], lattice: Lattice) -> list[NDArray[np.int_]]:
    """Return three reflections not nearly in one plane, the innermost, of one family if any."""
    q = bright @ lattice.reciprocal
    length = np.linalg.norm(q, axis=1)
    rows = np.array(list(combinations(range(min(len(bright), _FEW)), 3)), dtype=int)
    unit = q / length[:, None]
    rows = rows.reshape(-1, 3)
    rows = rows[np.abs(np.linalg.det(unit[rows])) > _WIDE]
    if not len(rows):
        msg = "has no three bright inner peaks in different directions, expected a compact cell"
        raise InputError(msg)
    size = np.round(length[rows].max(axis=1) / length.min(), 3)
    alike = [len(np.unique(np.round(length[r], 6))) for r in rows]
    left = np.rint(np.abs(np.linalg.det(bright[rows] @ lattice.primitive.T)))
    wide = np.round(np.abs(np.linalg.det(unit[rows])), 3)
    return list(bright[rows[np.lexsort((-wide, left, alike, size))[0]]])


def _index(rows: Sequence[NDArray[np.int_]], lattice: Lattice) -> int:
    """Return how many times as coarse as the reciprocal lattice what reflections generate is."""
    whole = np.rint(np.array(rows) @ lattice.primitive.T)
    triples = whole[np.array(list(combinations(range(len(whole)), 3)))]
    return int(np.gcd.reduce(np.rint(np.abs(np.linalg.det(triples))).astype(int)))
