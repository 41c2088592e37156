"""What is known of crystal structures, of elements and of compounds.

Cubic cells have their edges along x, y, z; hexagonal ones a along x and c along z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Lattice:
    """A crystal structure: its cell and the atoms in it.

    Attributes
    ----------
    sites : tuple of (float, float, float)
        Atoms of the cell, in fractions of its vectors.
    neighbour : float
        Nearest-neighbour distance [edges].
    coordination : int
        Nearest neighbours.
    first_shell : float
        A distance between the first and the second shell [neighbour distances].
    shells : float
        A distance that takes in what binds an atom, the 12 neighbours of fcc and hcp, the 8
        and 6 of bcc, the 4 and 12 of diamond, half way to the next shell [neighbour distances].
    peaks : tuple of (int, int, int)
        Three of the innermost reflections that generate the reciprocal lattice.
    line : (int, int, int), optional
        Close-packed direction, that of a screw dislocation.
    cell : tuple of (float, float, float)
        Vectors of the cell, in units of its first edge.
    half_width : float
        Half the edge of the cubes that are measured around `peaks` [2 pi / edge].
    kinds : tuple of int
        Which element each site has, counted from 0; empty if all have the same.
    superlattice : tuple of (int, int, int)
        Weak reflections that tell the sites of one element from those of another, where those of
        `peaks` don't.
    """

    sites: tuple[tuple[float, float, float], ...]
    neighbour: float
    coordination: int
    first_shell: float
    shells: float
    peaks: tuple[Triple, Triple, Triple]
    line: Triple | None = None
    cell: tuple[tuple[float, ...], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    half_width: float = 0.6  # derived: the paper's cubes of 1.2 reciprocal lattice units
    kinds: tuple[int, ...] = ()
    superlattice: tuple[Triple, ...] = ()

    @property
    def vectors(self) -> NDArray[np.float64]:
        """Vectors of the cell, rows of (3, 3), in units of its first edge."""
        return np.array(self.cell, dtype=float)

    @property
    def basis(self) -> NDArray[np.float64]:
        """Atoms of the cell, (n, 3), in units of its first edge."""
        return np.array(self.sites, dtype=float) @ self.vectors

    @property
    def reciprocal(self) -> NDArray[np.float64]:
        """Reciprocal vectors of the cell with 2 pi, rows of (3, 3), in units of 1 / edge."""
        return np.asarray(2 * np.pi * np.linalg.inv(self.vectors).T, dtype=float)

    @property
    def volume(self) -> float:
        """Volume of the cell, in cubes of its first edge."""
        return abs(float(np.linalg.det(self.vectors)))

    @property
    def counts(self) -> tuple[int, ...]:
        """Sites of each element in the cell."""
        return tuple(np.bincount(self.kind_of_site).tolist())

    @property
    def kind_of_site(self) -> NDArray[np.int_]:
        """Which element each site has, (n,)."""
        return np.array(self.kinds or (0,) * len(self.sites))

    @cached_property
    def primitive(self) -> NDArray[np.int_]:
        """Primitive vectors as rows of (3, 3), in fractions of the cell's vectors."""
        sites, kinds = np.array(self.sites, dtype=float), self.kind_of_site
        inside = [s for s in sites - sites[0] if _same(sites + s, sites, kinds)]
        steps = np.array(list(product((-1, 0, 1), repeat=3)))
        found = (np.array(inside)[:, None] + steps).reshape(-1, 3)
        length = np.linalg.norm(found @ self.vectors, axis=1)
        found = found[np.argsort(length, kind="stable")][1:]
        wanted = 1 / len(inside)
        rows = np.array(list(combinations(range(min(len(found), 40)), 3)))
        sizes = np.abs(np.linalg.det(found[rows]))
        return np.asarray(found[rows[np.flatnonzero(np.abs(sizes - wanted) < 1e-6)[0]]])

    @cached_property
    def _motif(self) -> list[int]:
        """Numbers of the sites of a primitive cell."""
        inverse, sites = np.linalg.inv(self.primitive), np.array(self.sites, dtype=float)
        kept: list[int] = []
        for k, site in enumerate(sites):
            apart = [(site - sites[other])[None] @ inverse for other in kept]
            if not any(_same(way, np.zeros((1, 3)), np.zeros(1)) for way in apart):
                kept.append(k)
        return kept

    @cached_property
    def motif(self) -> NDArray[np.float64]:
        """Atoms of a primitive cell, (m, 3), in fractions of the cell's vectors."""
        return np.array(self.sites, dtype=float)[self._motif]

    @cached_property
    def motif_kinds(self) -> NDArray[np.int_]:
        """Which element each of them has, (m,)."""
        return self.kind_of_site[self._motif]

    @cached_property
    def centred(self) -> bool:
        """Whether the sites of all elements together are a lattice, each in the middle of it."""
        return len(replace(self, kinds=()).motif) == 1

    @property
    def cubic(self) -> bool:
        """Whether the edges of the cell are those of a cube."""
        return self.vectors.tolist() == np.eye(3).tolist()

    @cached_property
    def bonds(self) -> tuple[int, ...]:
        """Different numbers of neighbours of its atoms within `shells`."""
        reach = self.shells * self.neighbour
        half = 1 + np.ceil(reach * np.linalg.norm(np.linalg.inv(self.vectors), axis=0))
        steps = np.array(list(product(*(np.arange(-n, n + 1) for n in half))))
        around = (np.array(self.sites)[:, None] + steps).reshape(-1, 3) @ self.vectors
        length = np.linalg.norm(around - self.basis[:, None], axis=2)
        return tuple(np.unique((length < reach).sum(axis=1) - 1).tolist())

    @cached_property
    def symmetries(self) -> list[NDArray[np.int_]]:
        """Matrices W by which indices (h, k, l) W become those of equivalent reflections.

        One for each rotation and reflection that leaves the structure as it is, up to a shift.
        """
        sites, metric = np.array(self.sites, dtype=float), self.vectors @ self.vectors.T
        kinds = self.kind_of_site
        rows = np.array(list(product((-1, 0, 1), repeat=3)))
        alike = [rows[np.isclose(np.einsum("ni,ij,nj->n", rows, metric, rows), m, 1e-3)]
                 for m in metric.diagonal()]  # fmt: skip
        found = []
        for turn in map(np.array, product(*alike)):
            if np.allclose(turn @ metric @ turn.T, metric, atol=1e-3 * metric.max()):
                turned = sites @ turn
                if any(_same(turned - turned[0] + s, sites, kinds) for s in sites):
                    found.append(np.rint(np.linalg.inv(turn).T).astype(int))
        return found


def renumbered(lattice: Lattice, numbers: Sequence[int]) -> Lattice:
    """Return a structure with other numbers of its elements, one for each."""
    if list(numbers) == list(range(len(lattice.counts))):
        return lattice
    return replace(lattice, kinds=tuple(np.array(numbers)[lattice.kind_of_site].tolist()))


def known_name(text: str) -> str | None:
    """Return which of LATTICES a name is, in any case or one of ASE's; None if it is none."""
    names = {name.lower(): name for name in LATTICES}
    key = text.lower().replace("_", "")
    return names.get({"cesiumchloride": "b2", "sphalerite": "zincblende"}.get(key, key))


def structure_factors(
    lattice: Lattice, indices: NDArray[np.int_], weights: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return the sum of w exp(-2 pi i h.s) over the m atoms of the cell.

    Parameters
    ----------
    lattice : Lattice
    indices : (n, 3) int ndarray
        h.
    weights : (m,) ndarray
        w of each site s.

    Returns
    -------
    (n,) complex ndarray
    """
    phase = indices @ np.array(lattice.sites, dtype=float).T
    return np.asarray(np.exp(-2j * np.pi * phase) @ weights)


def _same(one: NDArray[np.float64], other: NDArray[np.float64], kinds: NDArray[Any]) -> bool:
    """Tell whether sites with these elements are the same but for cell vectors and their order."""
    gap = one[:, None] - other
    gap -= np.rint(gap)
    apart = np.abs(gap).max(axis=2) + (kinds[:, None] != kinds)
    return bool((apart.min(axis=1) < 1e-3).all())


# derived: crystallography
_FCC = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
# derived: crystallography; shells end halfway between two distances
LATTICES = {
    "fcc": Lattice(
        sites=_FCC,
        neighbour=0.5**0.5,
        coordination=12,
        first_shell=1.2,
        shells=1.22,
        peaks=((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
        line=(1, 1, 0),
    ),
    "bcc": Lattice(
        sites=((0, 0, 0), (0.5, 0.5, 0.5)),
        neighbour=0.75**0.5,
        coordination=8,
        first_shell=1.08,
        shells=1.39,
        peaks=((0, 1, 1), (1, 0, 1), (1, 1, 0)),
        line=(1, 1, 1),
    ),
    "hcp": Lattice(
        sites=((0, 0, 0), (1 / 3, 2 / 3, 0.5)),
        neighbour=1.0,
        coordination=12,
        first_shell=1.2,
        shells=1.22,
        peaks=((1, 0, 1), (0, 1, -1), (-1, 1, -1)),
        cell=((1, 0, 0), (-0.5, 0.75**0.5, 0), (0, 0, (8 / 3) ** 0.5)),
        half_width=0.42,
    ),
    "diamond": Lattice(
        sites=_FCC + tuple((x + 0.25, y + 0.25, z + 0.25) for x, y, z in _FCC),
        neighbour=0.1875**0.5,
        coordination=4,
        first_shell=1.3,
        shells=1.77,
        peaks=((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
        half_width=0.85,
    ),
}
_HCP = LATTICES["hcp"]
# derived: crystallography, u = 3/8 makes all bonds alike
_CATIONS = (*_HCP.sites, *((x, y, z + 0.375) for x, y, z in _HCP.sites))
# Compounds: each site of a lattice has its element.
LATTICES |= {
    "B2": replace(LATTICES["bcc"], line=None, kinds=(0, 1), superlattice=((1, 0, 0),)),
    "L12": replace(
        LATTICES["fcc"], line=None, kinds=(0, 1, 1, 1), superlattice=((1, 0, 0), (0, 1, 0))
    ),
    "zincblende": replace(LATTICES["diamond"], kinds=(0, 0, 0, 0, 1, 1, 1, 1)),
    "rocksalt": Lattice(
        sites=_FCC + tuple((x + 0.5, y + 0.5, z + 0.5) for x, y, z in _FCC),
        neighbour=0.5,
        coordination=6,
        first_shell=1.2,
        shells=1.57,
        peaks=((2, 0, 0), (0, 2, 0), (0, 0, 2)),
        half_width=0.6,
        kinds=(0, 0, 0, 0, 1, 1, 1, 1),
        superlattice=((-1, 1, 1),),
    ),
    "wurtzite": replace(
        _HCP,
        sites=_CATIONS,
        neighbour=0.375**0.5,
        coordination=4,
        first_shell=1.3,
        shells=1.79,
        half_width=0.57,
        kinds=(0, 0, 1, 1),
    ),
}
