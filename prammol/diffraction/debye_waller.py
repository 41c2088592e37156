"""Thermal motion: Debye-Waller factors of a crystal whose surface moves more than its inside.

The mean of the structure factor over harmonic motion is

    <Omega>(q) = sum_j exp(-q^2 u_j / 2) exp(-i q.x_j)

with the mean square displacement u_j of atom j along one axis (isotropic; Willis &
Pryor, Thermal Vibrations in Crystallography, 1975). Here u_j is one number for each
class of atoms with equally many neighbours. While the atoms are moved,

    exp(-q^2 u_j / 2) ~ exp(-q^2 u / 2) w_j (1 - (q^2 - G^2) (u_j - u) / 2)

near Bragg vectors of length G, with w_j = exp(-G^2 (u_j - u) / 2) and u of the bulk: two
transforms whatever the number of classes, and an error of second order.

An atom of the surface that hops is in its place a part of the time only: its wave has that
occupancy as a weight, whatever q. A mean square displacement can't stand for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.scatterers import Scatterers
from prammol.diffraction.structure_factor import Positions, StructureFactor


class ThermalStructureFactor(StructureFactor):
    """Mean structure factor of atoms that move, and its adjoint, for two transforms each.

    Parameters
    ----------
    patches, epsilon, threads
        As for :class:`~prammol.diffraction.structure_factor.StructureFactor`.
    displacements : (n,) ndarray
        Mean square displacement of each atom along one axis [Å^2].
    length : float
        Length of the Bragg vectors G [1/Å], around which the factors are expanded.
    occupancies : (n,) ndarray, optional
        Part of the time each atom is in its place; 1 if not given.
    amplitude, scatterers
        As for :class:`~prammol.diffraction.structure_factor.StructureFactor`.
    """

    def __init__(
        self,
        patches: Sequence[BraggPatch],
        displacements: NDArray[np.float64],
        length: float,
        epsilon: float = 1e-9,  # chosen: as of StructureFactor; not varied
        threads: int = 1,
        occupancies: NDArray[np.float64] | None = None,
        amplitude: NDArray[np.float64] | None = None,
        scatterers: Scatterers | None = None,
    ) -> None:
        super().__init__(patches, epsilon, threads, amplitude, scatterers)
        bulk = float(np.median(displacements))
        self._more = displacements - bulk
        self._weights = np.exp(-0.5 * length**2 * self._more)
        if occupancies is not None:
            self._weights *= occupancies
        self._alike = not self._more.any()
        square = np.sum(self.q**2, axis=1)
        self._damping = np.exp(-0.5 * bulk * square).astype(self._real)
        self._slope = (-0.5 * (square - length**2)).astype(self._real)

    def forward(
        self, x: Positions, weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.complex128]:
        """Return the mean of Omega on all points; x as many atoms as there are displacements."""
        w = self._weights if weights is None else weights * self._weights
        if self._alike:
            return self._damping * super().forward(x, w)
        first = super().forward(x, w * self._more)
        return self._damping * (super().forward(x, w) + self._slope * first)

    def adjoint(self, values: NDArray[np.complexfloating], x: Positions) -> NDArray[np.complex128]:
        """Return the adjoint of :meth:`forward`."""
        v = self._damping * values
        if self._alike:
            return self._weights * super().adjoint(v, x)
        first = super().adjoint(self._slope * v, x)
        return self._weights * (super().adjoint(v, x) + self._more * first)

    def adjoint_moments(
        self, values: NDArray[np.complexfloating], x: Positions
    ) -> NDArray[np.complex128]:
        """Return the adjoint of q times the values, (n, 3)."""
        v = self._damping * values
        if self._alike:
            return np.asarray(self._weights[:, None] * super().adjoint_moments(v, x))
        first = super().adjoint_moments(self._slope * v, x)
        both = super().adjoint_moments(v, x) + self._more[:, None] * first
        return np.asarray(self._weights[:, None] * both)


def thermal_structure_factor(
    factor: StructureFactor,
    x: NDArray[np.float64],
    displacements: NDArray[np.float64],
    occupancies: NDArray[np.float64] | None = None,
) -> NDArray[np.complex128]:
    """Return the mean of Omega, one transform for each class.

    Parameters
    ----------
    factor : StructureFactor
        Transform without thermal motion.
    x : (n, 3) ndarray
        Mean positions [Å].
    displacements : (n,) ndarray
        Mean square displacement of each atom along one axis [Å^2]; few different values.
        Empty for atoms at rest.
    occupancies : (n,) ndarray, optional
        Occupancy of each atom; 1 if not given, or empty.

    Returns
    -------
    (size,) complex ndarray
    """
    weights = None if occupancies is None or len(occupancies) == 0 else occupancies
    if len(displacements) == 0:
        return factor.forward(x, weights)
    square = np.sum(factor.q**2, axis=1)
    out = np.zeros(factor.size, dtype=complex)
    for u in np.unique(displacements):
        here = displacements == u
        part = factor.forward(x[here], None if weights is None else weights[here])
        out += np.exp(-0.5 * square * u) * part
    return out
