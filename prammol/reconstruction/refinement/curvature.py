"""How sharply one coordinate of one atom changes misfit and energy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.potentials.lammps import Cluster
from prammol.reconstruction.problem import Problem

# derived: far below a bond, far above the rounding of forces
_STEP = 1e-3  # Å, for second derivatives of the energy


def curvature_of_data(problem: Problem, scale: float) -> float:
    """Return the second derivative of the misfit by one coordinate of one atom [1/Å^2].

    A shift d changes the amplitude C abs(Omega) by C q.d times the sine of a phase.
    """
    shard = problem.shard
    square = np.sum(problem.factor.q**2, axis=1)
    return (
        2.0
        / 3.0
        * scale**2
        * problem.comm.sum(float(shard.weight @ (square * problem.factor.of_one_atom)))
    )


def curvature_of_energy(
    cluster: Cluster, x: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Return the second derivative of the energy by one coordinate of one atom [eV/Å^2]."""
    shift = rng.normal(0.0, 0.01, x.shape)
    _, plus = cluster.energy_forces(x + shift)
    _, minus = cluster.energy_forces(x - shift)
    return max(float(-np.sum((plus - minus) * shift) / (2 * np.sum(shift**2))), 1e-3)


def hessian_times(
    cluster: Cluster, x: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the second derivative of the energy times v, (n, 3), by central differences."""
    step = _STEP / max(float(np.sqrt(np.mean(v**2))), 1e-300)
    _, plus = cluster.energy_forces(x + step * v)
    _, minus = cluster.energy_forces(x - step * v)
    return (minus - plus) / (2.0 * step)
