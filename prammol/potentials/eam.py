"""Embedded-atom potentials from their table, for single atoms in a fixed object.

LAMMPS does everything else (:mod:`prammol.potentials.lammps`). One more atom, an adatom, in an
object that doesn't move touches only its own neighbours, so its energy costs microseconds from the
table against the whole object's from LAMMPS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from prammol.potentials.potential import Potential
from prammol.potentials.tables import read_tables


@dataclass(frozen=True, eq=False)
class EamTable:
    """The functions of some elements: E = sum_i F(rho_i) + 1/2 sum_ij phi(r_ij).

    Attributes
    ----------
    embedding : list of CubicSpline
        F(rho) of each element [eV].
    density : list of CubicSpline
        What a neighbour of each element at r [Å] adds to rho.
    pair : list of list of CubicSpline
        r phi(r) of each pair of elements [eV Å].
    cutoff : float
        Where density and pair end [Å].
    largest_density : float
        End of the table of F.
    """

    embedding: list[CubicSpline]
    density: list[CubicSpline]
    pair: list[list[CubicSpline]]
    cutoff: float
    largest_density: float


def read_setfl(potential: Potential) -> EamTable | None:
    """Return the table of a potential of LAMMPS's ``eam/alloy``; None if it is of another style.

    Raises
    ------
    PotentialError
        See :func:`prammol.potentials.tables.read_tables`.
    """
    if potential.file is None or potential.pair_style.split() != ["eam/alloy"]:
        return None
    tables = read_tables(potential.file, "eam/alloy")
    if tables is None:
        return None
    own = [tables.elements.index(element) for element in potential.elements]
    rho = tables.d_rho * np.arange(len(tables.embedding[own[0]]))
    r = tables.d_r * np.arange(len(tables.density[own[0]]))

    def pair(one: int, other: int) -> CubicSpline:
        high, low = max(one, other), min(one, other)
        return CubicSpline(r, _filled(tables.pair[high * (high + 1) // 2 + low]))

    return EamTable(
        [CubicSpline(rho, tables.embedding[k]) for k in own],
        [CubicSpline(r, _filled(tables.density[k])) for k in own],
        [[pair(k, m) for m in own] for k in own],
        min(tables.cutoff, r[-1]),
        rho[-1],
    )


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a function whose infinities at the origin are the first finite value after them."""
    bad = ~np.isfinite(values)
    return np.where(bad, values[np.flatnonzero(~bad)[0]], values)


class AdatomEnergy:
    """Energy and force of each adatom as if it were alone in the host.

    Parameters
    ----------
    table : EamTable
        The potential.
    host : (n, 3) ndarray
        Atoms that don't move [Å].
    host_kinds : (n,) int ndarray, optional
        Element of each, a number in the table; the first for all if not given.
    kinds : (k,) int ndarray, optional
        Those of the adatoms.
    """

    def __init__(
        self,
        table: EamTable,
        host: NDArray[np.float64],
        host_kinds: NDArray[np.int_] | None = None,
        kinds: NDArray[np.int_] | None = None,
    ) -> None:
        self.table = table
        self._host, self._kinds = host, kinds
        self._host_kinds = np.zeros(len(host), dtype=int) if host_kinds is None else host_kinds
        self._tree = cKDTree(host)
        i, j = self._tree.query_pairs(table.cutoff, output_type="ndarray").T
        r = np.linalg.norm(host[i] - host[j], axis=1)
        to_i, to_j = (_each(table.density, self._host_kinds[k], r) for k in (j, i))
        received = np.column_stack([to_i, to_j]).ravel()
        self._rho = _sums(np.column_stack([i, j]).ravel(), received, len(host))
        self._alone = self._embed(self._host_kinds, self._rho)[0]

    def __call__(
        self, which: NDArray[np.int_], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return energies, (k,) [eV], and forces, (k, 3) [eV/Å], of adatoms at x, (k, 3) [Å].

        The energy is that of the host with the adatom less that of the host. `which` are the
        numbers of the adatoms.
        """
        t, m = self.table, len(x)
        own_kinds = np.zeros(m, dtype=int) if self._kinds is None else self._kinds[which]
        near = self._tree.query_ball_point(x, t.cutoff)
        counts = np.array([len(i) for i in near], dtype=int)
        adatom = np.repeat(np.arange(m), counts)
        other = np.concatenate([np.asarray(i, dtype=int) for i in near])
        vector = x[adatom] - self._host[other]
        r = np.linalg.norm(vector, axis=1).clip(1e-3)
        mine, theirs = own_kinds[adatom], self._host_kinds[other]
        # What the adatom gets of the host, and gives it.
        alike = len(t.density) == 1
        got, d_got = (_each(t.density, theirs, r, n) for n in (0, 1))
        given, d_given = (got, d_got) if alike else (_each(t.density, mine, r, n) for n in (0, 1))
        functions = [function for row in t.pair for function in row]
        pairs = mine * len(t.pair) + theirs
        phi = _each(functions, pairs, r) / r
        dphi = _each(functions, pairs, r, 1) / r - phi / r
        own, d_own = self._embed(own_kinds, _sums(adatom, got, m))
        new, d_new = self._embed(theirs, self._rho[other] + given)
        energy = own + _sums(adatom, phi + new - self._alone[other], m)
        if alike:
            slope = (dphi + (d_own[adatom] + d_new) * d_got) / r
        else:
            slope = (dphi + d_own[adatom] * d_got + d_new * d_given) / r
        force = np.stack([_sums(adatom, -slope * vector[:, a], m) for a in range(3)], axis=1)
        return energy, force

    def _embed(
        self, kinds: NDArray[np.int_], rho: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return F and its slope; beyond its table F goes on straight, as in LAMMPS."""
        end = np.minimum(rho, self.table.largest_density)
        slope = _each(self.table.embedding, kinds, end, 1)
        return _each(self.table.embedding, kinds, end) + slope * (rho - end), slope


def _each(
    functions: list[CubicSpline],
    kinds: NDArray[np.int_],
    at: NDArray[np.float64],
    derivative: int = 0,
) -> NDArray[np.float64]:
    """Return the values of the functions of some kinds, (n,), at some places, (n,)."""
    if len(functions) == 1:
        return np.asarray(functions[0](at, derivative))
    out = np.empty(len(at))
    for k, function in enumerate(functions):
        here = kinds == k
        out[here] = function(at[here], derivative)
    return out


def _sums(index: NDArray[np.int_], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sum the values of equal index, (size,)."""
    return np.asarray(np.bincount(index, values, size), dtype=float)
