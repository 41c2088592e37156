"""Fit of the positions to the counts, restrained by the energy."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from prammol.likelihood.quasi_likelihood import PoissonMisfit

_FARTHEST = 5.0  # derived: more than any atom's way to its place [Å]


class Energies(Protocol):
    """What gives energy and forces, such as a :class:`~prammol.potentials.lammps.Cluster`."""

    def energy_forces(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the energy [eV] and the forces, (n, 3) [eV/Å]."""


def restrained_fit(
    misfit: PoissonMisfit,
    cluster: Energies,
    x: NDArray[np.float64],
    stiffness: float,
    iterations: int,
) -> NDArray[np.float64]:
    """Lower misfit + stiffness * energy over the positions by L-BFGS.

    An atom in a basin of the energy next to its true one feels the data across the
    barrier; relaxing it afterwards leaves it in the basin the data chose.

    Parameters
    ----------
    misfit : PoissonMisfit
        The misfit; all ranks call this together.
    cluster : Energies
        Energies and forces.
    x : (n, 3) ndarray
        Positions [Å].
    stiffness : float
        Weight of the energy [1/eV].
    iterations : int
        L-BFGS iterations.

    Returns
    -------
    (n, 3) ndarray
        Positions [Å].
    """
    objective = _MisfitAndEnergy(misfit, cluster, stiffness, x)
    found = minimize(
        objective,
        x.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxcor": 20},
    )
    return np.asarray(found.x).reshape(-1, 3)


class _MisfitAndEnergy:
    """Misfit + stiffness * energy and its slope by all coordinates, (3 n,).

    The scale found last is where the next one is sought.
    """

    def __init__(
        self,
        misfit: PoissonMisfit,
        cluster: Energies,
        stiffness: float,
        start: NDArray[np.float64],
    ) -> None:
        self._misfit, self._cluster, self._stiffness = misfit, cluster, stiffness
        self._start, self._scale = start, 0.0
        self._begun: tuple[float, NDArray[np.float64]] | None = None

    def __call__(self, values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        y = values.reshape(-1, 3)
        if self._begun is not None and np.abs(y - self._start).max() > _FARTHEST:
            # A line search that overshoots: off any grid, and the next step is shorter.
            value, slope = self._begun
            return value + abs(value) + _FARTHEST, slope
        result = self._misfit(y, positions=True, scale=self._scale or None)
        self._scale = result.scale
        energy, forces = self._cluster.energy_forces(y)
        assert result.d_positions is not None
        slope = result.d_positions - self._stiffness * forces
        value = result.value + self._stiffness * energy
        if self._begun is None:
            self._begun = value, slope.ravel()
        return value, slope.ravel()
