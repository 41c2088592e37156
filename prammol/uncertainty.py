"""How far each atom may be from where it was found: Laplace's approximation.

The posterior of the positions is exp(-misfit - k energy): a Gaussian of the precision
F + k H, Fisher information plus k times the Hessian of the energy. Where the data left
the object at the minimum of the energy, k is infinite: only what no energy determines
is uncertain, the orientation and, where the data asked for it, the even strain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from prammol.alignment import LINEAR_MAPS, ROTATIONS
from prammol.debye_waller import neighbour_classes
from prammol.fisher import Fisher
from prammol.md import Cluster
from prammol.scattering import StructureFactor
from prammol.stages.settle import curvature_of_energy
from prammol.state import Problem, State

_EPSILON = 1e-4
_STEP = 1e-3  # Å, for second derivatives of the energy
_AT_REST = 1e-4  # eV/Å; a strained object is further from the minimum
_REGULAR = 1e-9
_RESIDUAL = 0.1  # of the conjugate gradient
_MOST = 50  # iterations of it


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of the positions.

    Attributes
    ----------
    posterior : (n, 3) ndarray
        Along each axis, given counts and potential, as it was weighted [Å]. The position of
        the whole isn't determined and has no part in it.
    of_data : (n,) ndarray
        Along one axis, given the counts and all other atoms, without any potential [Å]: the
        Cramér-Rao bound of a single atom.
    """

    posterior: NDArray[np.float64]
    of_data: NDArray[np.float64]


def position_uncertainty(
    problem: Problem,
    state: State,
    weight: NDArray[np.float64] | None = None,
    probes: int = 4,
) -> Uncertainty:
    """Return how uncertain the positions of a finished object are.

    Parameters
    ----------
    problem : Problem
    state : State
    weight : (m,) ndarray, optional
        Weight of each point, less than 1 where the model's own error rules.
    probes : int
        Random vectors from which the diagonal of (F + k H)^-1 is estimated
        (Hutchinson, Commun. Stat. 18, 1059 (1989)); it is averaged over atoms with
        equally many neighbours.
    """
    x = state.positions
    base = problem.factor
    factor = StructureFactor(base.patches, _EPSILON, base.threads)
    motion = state.displacements if len(state.displacements) else None
    present = state.site_occupancies if len(state.site_occupancies) else None
    fisher = Fisher(problem.shard, factor, x, state.scale, motion, weight, present)
    blocks = fisher.blocks()
    inverse = np.linalg.inv(blocks + _REGULAR * np.trace(blocks.mean(axis=0)) * np.eye(3))
    of_data = np.sqrt(np.trace(inverse, axis1=1, axis2=2) / 3)
    if np.isinf(state.stiffness):
        return Uncertainty(_of_the_whole(problem, fisher), of_data)
    rng = problem.rng("uncertainty", state.iteration)
    stiffness, cluster = state.stiffness, problem.cluster
    energy = stiffness * curvature_of_energy(cluster, x, rng)
    inverse = np.linalg.inv(blocks + energy * np.eye(3))
    size = (x.size, x.size)

    def precision(v: NDArray[np.float64]) -> NDArray[np.float64]:
        v = _centred(v.reshape(-1, 3))
        return _centred(fisher.times(v) + stiffness * hessian_times(cluster, x, v)).ravel()

    def approximately(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return _centred(np.einsum("jab,jb->ja", inverse, v.reshape(-1, 3))).ravel()

    system, guess = LinearOperator(size, precision), LinearOperator(size, approximately)
    variance = np.zeros_like(x)
    for _ in range(probes):
        v = rng.choice([-1.0, 1.0], x.shape)
        solved, _ = cg(system, _centred(v).ravel(), rtol=_RESIDUAL, maxiter=_MOST, M=guess)
        variance += v * solved.reshape(-1, 3) / probes
    classes = neighbour_classes(x, cluster.potential.bond_reach)
    for label in range(int(classes.max()) + 1):
        variance[classes == label] = variance[classes == label].mean(axis=0)
    return Uncertainty(np.sqrt(np.maximum(variance, 0.0)), of_data)


def _of_the_whole(problem: Problem, fisher: Fisher) -> NDArray[np.float64]:
    """Return the standard deviations where only an even map is free, (n, 3) [Å]."""
    x = fisher.x
    _, forces = problem.cluster.energy_forces(x)
    at_rest = np.abs(forces).max(initial=0.0) < _AT_REST
    generators = ROTATIONS if at_rest else LINEAR_MAPS
    shifts = np.einsum("axy,jy->ajx", generators, x - x.mean(axis=0))
    covariance = fisher.of_maps(generators)
    variance = np.einsum("ajx,ab,bjx->jx", shifts, covariance, shifts)
    return np.sqrt(np.maximum(variance, 0.0))


def hessian_times(
    cluster: Cluster, x: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the second derivative of the energy times v, (n, 3), by central differences."""
    step = _STEP / max(float(np.sqrt(np.mean(v**2))), 1e-300)
    _, plus = cluster.energy_forces(x + step * v)
    _, minus = cluster.energy_forces(x - step * v)
    return (minus - plus) / (2.0 * step)


def _centred(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the translation away, of which the data say nothing."""
    return v - v.mean(axis=0)
