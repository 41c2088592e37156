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
    """The functions of one element: E = sum_i F(rho_i) + 1/2 sum_ij phi(r_ij).

    Attributes
    ----------
    embedding : CubicSpline
        F(rho) [eV].
    density : CubicSpline
        What a neighbour at r [Å] adds to rho.
    pair : CubicSpline
        r phi(r) [eV Å].
    cutoff : float
        Where density and pair end [Å].
    largest_density : float
        End of the table of F.
    """

    embedding: CubicSpline
    density: CubicSpline
    pair: CubicSpline
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
    k = tables.elements.index(potential.element)
    pair = tables.pair[k * (k + 1) // 2 + k]
    rho = tables.d_rho * np.arange(len(tables.embedding[k]))
    r = tables.d_r * np.arange(len(pair))
    return EamTable(
        CubicSpline(rho, tables.embedding[k]),
        CubicSpline(r, _filled(tables.density[k])),
        CubicSpline(r, _filled(pair)),
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
    """

    def __init__(self, table: EamTable, host: NDArray[np.float64]) -> None:
        self.table = table
        self._host = host
        self._tree = cKDTree(host)
        pairs = self._tree.query_pairs(table.cutoff, output_type="ndarray")
        f = table.density(np.linalg.norm(host[pairs[:, 0]] - host[pairs[:, 1]], axis=1))
        self._rho = _sums(pairs.ravel(), np.repeat(f, 2), len(host))
        self._alone = self._embed(self._rho)[0]

    def __call__(
        self, which: NDArray[np.int_], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return energies, (k,) [eV], and forces, (k, 3) [eV/Å], of adatoms at x, (k, 3) [Å].

        The energy is that of the host with the adatom less that of the host. `which`
        is not used: all adatoms are alike.
        """
        del which
        t, m = self.table, len(x)
        near = self._tree.query_ball_point(x, t.cutoff)
        counts = np.array([len(i) for i in near], dtype=int)
        adatom = np.repeat(np.arange(m), counts)
        other = np.concatenate([np.asarray(i, dtype=int) for i in near])
        vector = x[adatom] - self._host[other]
        r = np.linalg.norm(vector, axis=1).clip(1e-3)
        f, df = t.density(r), t.density(r, 1)
        phi = t.pair(r) / r
        dphi = t.pair(r, 1) / r - phi / r
        own, d_own = self._embed(_sums(adatom, f, m))
        theirs, d_theirs = self._embed(self._rho[other] + f)
        energy = own + _sums(adatom, phi + theirs - self._alone[other], m)
        slope = (dphi + (d_own[adatom] + d_theirs) * df) / r
        force = np.stack([_sums(adatom, -slope * vector[:, a], m) for a in range(3)], axis=1)
        return energy, force

    def _embed(self, rho: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return F and its slope; beyond its table F goes on straight, as in LAMMPS."""
        end = np.minimum(rho, self.table.largest_density)
        slope = self.table.embedding(end, 1)
        return self.table.embedding(end) + slope * (rho - end), slope


def _sums(index: NDArray[np.int_], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sum the values of equal index, (size,)."""
    return np.asarray(np.bincount(index, values, size), dtype=float)
