"""Which element is where: sites whose element is known, and by them that of any place near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

# derived: half way to the next site, less what sites are bent by
_OWN = 0.35  # of the distance of neighbouring sites: nearer places belong to a site


def _none() -> NDArray[np.float64]:
    return np.empty((0, 3))


def _no_kinds() -> NDArray[np.int_]:
    return np.empty(0, dtype=int)


@dataclass(frozen=True, eq=False)
class Labels:
    """Sites of a crystal of several elements, each with its element.

    One element is everywhere if there are no sites. Else a place belongs to the nearest one;
    further out, if the cell is known, it has the element that the cell of the nearest site has
    there: the lattice may be bent.

    Attributes
    ----------
    positions : (n, 3) ndarray
        Sites [Å].
    members : (n,) int ndarray
        Which atom of the motif each of them is; without a cell, which element.
    kinds : (m,) int ndarray
        Element of each atom of the motif, a number from 0.
    cell : (3, 3) ndarray
        Primitive vectors as rows [Å]; (0, 3) if they aren't known.
    motif : (m, 3) ndarray
        Atoms of a primitive cell [Å]; (0, 3) if it isn't known.
    odd : (k, 3) ndarray
        Places of atoms with another element than the perfect crystal has there [Å].
    odd_kinds : (k,) int ndarray
        Their elements.
    """

    positions: NDArray[np.float64]
    members: NDArray[np.int_]
    kinds: NDArray[np.int_]
    cell: NDArray[np.float64] = field(default_factory=_none)
    motif: NDArray[np.float64] = field(default_factory=_none)
    odd: NDArray[np.float64] = field(default_factory=_none)
    odd_kinds: NDArray[np.int_] = field(default_factory=_no_kinds)

    @classmethod
    def of_atoms(cls, x: NDArray[np.float64], kinds: NDArray[np.int_]) -> Labels:
        """Return the labels of atoms of known elements, (n, 3) [Å] and (n,)."""
        return cls(x, kinds, np.arange(int(kinds.max(initial=0)) + 1))

    @classmethod
    def everywhere(cls, kind: int, cell: NDArray[np.float64], motif: NDArray[np.float64]) -> Labels:
        """Return the labels of a crystal whose sites are all of one element, until told otherwise.

        Parameters
        ----------
        kind : int
            Its number.
        cell : (3, 3) ndarray
            Primitive vectors as rows, however they lie [Å].
        motif : (m, 3) ndarray
            Atoms of a primitive cell [Å].
        """
        members = np.empty(0, dtype=int)
        return cls(_none(), members, np.full(len(motif), kind), cell, motif)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.positions)

    @cached_property
    def _odd_tree(self) -> cKDTree:
        return cKDTree(self.odd)

    @cached_property
    def _reach(self) -> float:
        """Distance up to which a place belongs to a site [Å]."""
        steps = np.indices((3, 3, 3)).reshape(3, -1).T - 1
        around = (self.motif[:, None] + steps @ self.cell).reshape(-1, 3)
        return _OWN * float(cKDTree(around).query(self.motif, k=2)[0][:, 1].min())

    def kinds_of(self, x: NDArray[np.float64]) -> NDArray[np.int_]:
        """Return the element of an atom at each of some places, (n, 3) [Å], as (n,) int."""
        member = np.zeros(len(x), dtype=int)
        if len(self.positions):
            gap, near = self._tree.query(x)
            member = self.members[near]
            if len(self.cell):
                far = np.flatnonzero(gap > self._reach)
                way = x[far] - self.positions[near[far]] + self.motif[member[far]]
                member[far] = self._members_at(way)
        kinds = np.asarray(self.kinds[member])
        if len(self.odd) and len(x):
            gap, near = self._odd_tree.query(x)
            here = gap < self._reach
            kinds[here] = self.odd_kinds[near[here]]
        return kinds

    @property
    def perfect(self) -> Labels:
        """Those of the perfect crystal."""
        return replace(self, odd=_none(), odd_kinds=_no_kinds())

    def permuted(self, order: Sequence[int]) -> Labels:
        """Return those of the crystal in which element k is where element order[k] belongs."""
        # Element a of the sites becomes the one whose place in the order a has.
        new = np.argsort(order)
        return replace(self, kinds=new[self.kinds], odd_kinds=new[self.odd_kinds])

    def with_kinds(self, x: NDArray[np.float64], kinds: NDArray[np.int_]) -> Labels:
        """Return labels by which atoms at x, (n, 3) [Å], have some elements, (n,)."""
        odd = self.perfect.kinds_of(x) != kinds
        return replace(self, odd=x[odd], odd_kinds=kinds[odd])

    def _members_at(self, way: NDArray[np.float64]) -> NDArray[np.int_]:
        """Return which atom of the motif is nearest to places, (n, 3) [Å] from a cell's origin."""
        turns = (way[:, None] - self.motif) @ np.linalg.inv(self.cell)
        rest = (turns - np.rint(turns)) @ self.cell
        return np.asarray(np.linalg.norm(rest, axis=2).argmin(axis=1))
