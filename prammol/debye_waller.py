"""Thermal motion: Debye-Waller factors of a crystal whose surface moves more than its inside.

The mean of the structure factor over harmonic motion is

    <Omega>(q) = sum_j exp(-q^2 u_j / 2) exp(-i q.x_j)

with the mean square displacement u_j of atom j along one axis (isotropic; Willis &
Pryor, Thermal Vibrations in Crystallography, 1975). Here u_j is one number for each
class of atoms with equally many neighbours. While the atoms are moved,

    exp(-q^2 u_j / 2) ~ exp(-q^2 u / 2) exp(-G^2 (u_j - u) / 2)

near a Bragg peak G, u of the bulk: the first is a factor of the points, the second a
weight of the atom, so that one transform serves all classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.comm import Communicator
from prammol.misfit import AmplitudeMisfit
from prammol.patches import BraggPatch
from prammol.scattering import Positions, StructureFactor

_SMALLEST_CLASS = 20
_LARGEST = 1.0  # Å^2, beyond any solid


class ThermalStructureFactor(StructureFactor):
    """Mean structure factor of atoms that move.

    Parameters
    ----------
    patches, epsilon, threads
        As for :class:`~prammol.scattering.StructureFactor`.
    displacement : float
        Mean square displacement of a bulk atom along one axis [Å^2].
    """

    def __init__(
        self,
        patches: Sequence[BraggPatch],
        displacement: float,
        epsilon: float = 1e-9,
        threads: int = 1,
    ) -> None:
        super().__init__(patches, epsilon, threads)
        damping = np.exp(-0.5 * displacement * np.sum(self.q**2, axis=1))
        self._damping = damping.astype(self._real)

    def forward(
        self, x: Positions, weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.complex128]:
        """Return the mean of Omega on all points."""
        return self._damping * super().forward(x, weights)

    def adjoint(self, values: NDArray[np.complexfloating], x: Positions) -> NDArray[np.complex128]:
        """Return the adjoint of :meth:`forward`."""
        return super().adjoint(self._damping * values, x)

    def adjoint_moments(
        self, values: NDArray[np.complexfloating], x: Positions
    ) -> NDArray[np.complex128]:
        """Return the adjoint of q times the values."""
        return super().adjoint_moments(self._damping * values, x)


def neighbour_classes(
    x: NDArray[np.float64], reach: float, fewest: int = _SMALLEST_CLASS
) -> NDArray[np.intp]:
    """Sort atoms by their number of neighbours, 0 for the bulk.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    reach : float
        What counts as a neighbour [Å].
    fewest : int
        A class with fewer atoms joins the one with more neighbours.

    Returns
    -------
    (n,) int ndarray
    """
    count = cKDTree(x).query_ball_point(x, reach, return_length=True)
    most = int(np.median(count))
    out = np.zeros(len(x), dtype=np.intp)
    label, members = 0, int(np.sum(count >= most))
    for number in range(most - 1, 0, -1):
        here = count == number
        if members >= fewest and np.sum(count <= number) >= fewest:
            label, members = label + 1, 0
        out[here] = label
        members += int(here.sum())
    return out


def fit_displacements(
    misfit: AmplitudeMisfit,
    factor: StructureFactor,
    comm: Communicator,
    x: NDArray[np.float64],
    classes: NDArray[np.intp],
    start: NDArray[np.float64] | None = None,
    steps: int = 5,
) -> NDArray[np.float64]:
    """Fit the mean square displacement of each class, by Gauss-Newton with the scale.

    Parameters
    ----------
    misfit : AmplitudeMisfit
        The misfit of the points that are fitted.
    factor : StructureFactor
        Transform without thermal motion.
    comm : Communicator
    x : (n, 3) ndarray
        Positions [Å].
    classes : (n,) int ndarray
        Class of each atom, 0 the bulk.
    start : (k,) ndarray, optional
        Displacements to start from; 0 if not given.
    steps : int
        Largest number of steps.

    Returns
    -------
    (k,) ndarray
        Mean square displacement of each class along one axis [Å^2].
    """
    number = int(classes.max()) + 1
    parts = np.array([factor.forward(x, (classes == k).astype(float)) for k in range(number)])
    square = np.sum(factor.q**2, axis=1)
    displacements = np.zeros(number) if start is None else np.array(start, dtype=float)

    def terms(u: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Contribution of each class."""
        return np.asarray(parts * np.exp(-0.5 * np.outer(u, square)))

    one_by_one = terms(displacements)
    omega = one_by_one.sum(axis=0)
    value, scale, _ = misfit.field(omega)
    for _ in range(steps):
        model = misfit.model(omega, scale)
        slope = scale**2 * (omega.conj() * (-0.5 * square * one_by_one)).real / model
        slope = np.vstack([slope, scale * np.abs(omega) ** 2 / model])
        residual = model - misfit.measured
        system = comm.allreduce((slope * misfit.weight) @ slope.T)
        right = comm.allreduce((slope * misfit.weight) @ residual)
        change = -np.linalg.lstsq(system, right, rcond=None)[0][:-1]
        tried = np.clip(displacements + change, 0.0, _LARGEST)
        new_terms = terms(tried)
        omega_new = new_terms.sum(axis=0)
        new, scale_new, _ = misfit.field(omega_new, scale)
        if new >= value:
            break
        gain = value - new
        displacements, one_by_one, omega = tried, new_terms, omega_new
        value, scale = new, scale_new
        if gain < 0.1:
            break
    return displacements


def thermal_weights(
    displacements: NDArray[np.float64], classes: NDArray[np.intp], length: float
) -> NDArray[np.float64]:
    """Return what each atom scatters relative to one of the bulk, (n,)."""
    u = displacements[classes]
    return np.asarray(np.exp(-0.5 * length**2 * (u - displacements[0])))


def thermal_structure_factor(
    factor: StructureFactor, x: NDArray[np.float64], displacements: NDArray[np.float64]
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

    Returns
    -------
    (size,) complex ndarray
    """
    if len(displacements) == 0:
        return factor.forward(x)
    square = np.sum(factor.q**2, axis=1)
    out = np.zeros(factor.size, dtype=complex)
    for u in np.unique(displacements):
        out += np.exp(-0.5 * square * u) * factor.forward(x[displacements == u])
    return out
