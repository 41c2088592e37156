"""How far each atom may be from where it was found.

The positions minimise misfit + k energy; near the minimum its Hessian is A = F + k H, Fisher
information plus k times that of the energy. If photons and energy were all there is, the
covariance would be the inverse of A (Laplace's approximation). A model that leaves something
unexplained is further off: its covariance is A^-1 B A^-1 with the variance B that the slopes
have in fact (Huber, Proc. 5th Berkeley Symp. 1, 221 (1967)). Slopes of the misfit are drawn by
weighting the residuals with random fields that hardly change within a speckle: errors of the
model go together over a speckle (Shao, J. Am. Stat. Assoc. 105, 218 (2010)). Those of k energy
are drawn as random forces along the bonds, as large as the forces on atoms with equally many
neighbours beyond what the misfit's slopes do to them, at least as large as an energy has that is
right. An energy that is wrong everywhere alike, as that of a warm crystal, holds all atoms off
their places together: added is how far one ten times softer lets them go, beyond noise.

Where the data left the object at the minimum of the energy, k is infinite: only what no
energy determines is uncertain, the orientation and, where the data asked for it or offsets of the
patches compete with it, the even strain. If that minimum doesn't explain the data, or scatters
diffusely, added is how far an energy as stiff as the misfit would let the atoms go: vibrating
atoms have their mean beside it, and the error allowed to the diffuse part hides that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg
from scipy.spatial import cKDTree

from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.holdout_blocks import random_field
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.calibration_fit import CalibratedPose
from prammol.reconstruction.refinement.curvature import (
    curvature_of_data,
    curvature_of_energy,
    hessian_times,
)
from prammol.reconstruction.refinement.rotation_strain import LINEAR_MAPS, ROTATIONS
from prammol.structure.surface import equivalent_diameter, mean_of_class, neighbour_classes

_EPSILON = 1e-4  # derived: error bars need two digits
# derived: the next of restrained_refinement.softness, which held-out points refused
_SOFTER = 10.0
# derived: above the 1e-6 that relax_and_align ends at
_AT_REST = 1e-4  # eV/Å; a strained object is further from the minimum
_REGULAR = 1e-9  # derived: double precision
# derived: error bars need one digit; a dense inverse agrees (tests)
_RESIDUAL = 0.1  # of the conjugate gradient
# chosen: 8777 atoms; 50 against 200, the same test passes in a fifth of the time
_MOST = 50  # iterations of it


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of the positions.

    Attributes
    ----------
    posterior : (n, 3) ndarray
        Along each axis, given counts and potential, as it was weighted, and what they leave
        unexplained [Å]. The position of the whole isn't determined and has no part in it.
    of_data : (n,) ndarray
        Along one axis, given the counts and all other atoms, without any potential [Å]: the
        Cramér-Rao bound of a single atom.
    """

    posterior: NDArray[np.float64]
    of_data: NDArray[np.float64]


def position_uncertainty(
    problem: Problem,
    model: Model,
    iteration: int,
    misfit: PoissonMisfit | None = None,
    probes: int = 2,  # chosen: 8777 atoms; 2 against 4 of each kind, the same test passes
) -> Uncertainty:
    """Return how uncertain the positions of a finished object are.

    Parameters
    ----------
    problem : Problem
    model : Model
    iteration : int
        Of the loop, for the random draws.
    misfit : PoissonMisfit, optional
        Its weights are less than 1 where the model's own error rules; for what the data alone
        say, and where k is infinite.
    probes : int
        Random slopes of either kind from which the variances are estimated; they are averaged
        over atoms with equally many neighbours.
    """
    base = problem.factor
    factor = base.with_accuracy(_EPSILON)
    weight = None if misfit is None else misfit.weight
    fisher = _fisher(problem, model, factor, weight)
    blocks = fisher.blocks()
    inverse = np.linalg.inv(blocks + _REGULAR * np.trace(blocks.mean(axis=0)) * np.eye(3))
    of_data = np.sqrt(np.trace(inverse, axis1=1, axis2=2) / 3)
    whole = _of_the_whole(problem, fisher, model, misfit)
    if np.isfinite(model.stiffness):
        moved = _moved(problem, model, iteration, factor, probes)
        # Atoms free to move follow a wrong geometry as an even map of the whole does.
        posterior = moved if problem.data.geometry.known else np.hypot(moved, whole)
    elif model.diffuse is not None or (misfit is not None and misfit.floor > 0):
        posterior = np.hypot(_moved(problem, model, iteration, factor, probes), whole)
    else:
        posterior = whole
    return Uncertainty(posterior, of_data)


def _fisher(
    problem: Problem,
    model: Model,
    factor: StructureFactor,
    weight: NDArray[np.float64] | None = None,
) -> Fisher:
    """Return the information on the atoms of a model, moving and hopping as they do."""
    motion = model.displacements if len(model.displacements) else None
    present = model.occupancies if len(model.occupancies) else None
    return Fisher(problem.shard, factor, model.positions, model.scale, motion, weight, present)


def _moved(
    problem: Problem, model: Model, iteration: int, factor: StructureFactor, probes: int
) -> NDArray[np.float64]:
    """Return the standard deviations where the data moved the atoms, or would, (n, 3) [Å]."""
    rng = problem.rng("uncertainty", iteration)
    x, stiffness, cluster = model.positions, model.stiffness, problem.cluster
    fisher = _fisher(problem, model, factor)
    classes = neighbour_classes(x, cluster.potential.bond_reach)
    of_energy = curvature_of_energy(cluster, x, rng)
    held_by = partial(_answers, fisher, fisher.blocks(), cluster, of_energy)
    omega = model.structure_factor(problem.factor)
    residual = PoissonMisfit(problem.shard, factor).expected(omega, model.scale)
    residual -= problem.shard.counts
    if np.isinf(stiffness):
        # What is left isn't noise: how far an energy as stiff as the misfit lets the atoms go.
        equal = curvature_of_data(problem, model.scale) / of_energy
        freed = held_by(equal)(fisher.slope(residual))
        return np.sqrt(mean_of_class(freed**2, classes))
    softer = stiffness / _SOFTER
    answer, softly = held_by(stiffness), held_by(softer)
    diameter = equivalent_diameter(x)
    variance, pulled, freed = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for _ in range(probes):
        field = random_field(problem.data, problem.shard, diameter, rng)
        slope = fisher.slope(residual * field)
        shift = answer(slope)
        freed += (softly(slope) - shift) ** 2 / probes
        variance += shift**2 / probes
        pulled += hessian_times(cluster, x, shift) ** 2 / probes
    _, forces = cluster.energy_forces(x)
    # What the misfit's slopes don't account for in the forces is the energy's own error.
    error = mean_of_class(np.mean(forces**2 - pulled, axis=1), classes)
    size = np.maximum(stiffness**2 * error, stiffness * of_energy)
    bonds = _Bonds(x, cluster.potential.bond_reach, size)
    for _ in range(probes):
        variance += answer(bonds.forces(rng)) ** 2 / probes
    # What it holds the atoms off their places by, beyond what noise would free; slopes and forces
    # are equal at the end of the fit.
    held = softly((stiffness - softer) * forces)
    held = np.maximum(mean_of_class(held**2 - freed, classes), 0.0)
    return np.sqrt(mean_of_class(variance, classes) + held)


def _answers(
    fisher: Fisher,
    blocks: NDArray[np.float64],
    cluster: Cluster,
    of_energy: float,
    stiffness: float,
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return what tells how far a slope, (n, 3) [1/Å], moves the atoms [Å].

    The inverse of A by conjugate gradients; `blocks` are those of the information, `of_energy` is
    the energy's curvature [eV/Å^2].
    """
    x = fisher.x
    inverse = np.linalg.inv(blocks + stiffness * of_energy * np.eye(3))

    def hessian(v: NDArray[np.float64]) -> NDArray[np.float64]:
        v = _centred(v.reshape(-1, 3))
        return _centred(fisher.times(v) + stiffness * hessian_times(cluster, x, v)).ravel()

    def approximately(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return _centred(np.einsum("jab,jb->ja", inverse, v.reshape(-1, 3))).ravel()

    size = (x.size, x.size)
    system, guess = LinearOperator(size, hessian), LinearOperator(size, approximately)

    def answer(slope: NDArray[np.float64]) -> NDArray[np.float64]:
        solved, _ = cg(system, _centred(slope).ravel(), rtol=_RESIDUAL, maxiter=_MOST, M=guess)
        return np.asarray(solved).reshape(-1, 3)

    return answer


class _Bonds:
    """Random forces along the bonds: they add up to nothing, as those of any energy.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    reach : float
        Atoms closer than this are bonded [Å].
    variance : (n,) ndarray
        About the variance of the force on each atom along one axis.
    """

    def __init__(self, x: NDArray[np.float64], reach: float, variance: NDArray[np.float64]) -> None:
        self._shape = x.shape
        i, j = self._ends = cKDTree(x).query_pairs(reach, output_type="ndarray").T
        bond = x[i] - x[j]
        along = bond / np.linalg.norm(bond, axis=1, keepdims=True)
        share = variance / np.maximum(np.bincount(self._ends.ravel(), minlength=len(x)), 1)
        # An axis has a third of each bond's force.
        self._unit = along * np.sqrt(1.5 * (share[i] + share[j]))[:, None]

    def forces(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw forces, (n, 3)."""
        drawn = self._unit * rng.normal(size=(len(self._unit), 1))
        out = np.zeros(self._shape)
        np.add.at(out, self._ends[0], drawn)
        np.subtract.at(out, self._ends[1], drawn)
        return out


def _of_the_whole(
    problem: Problem, fisher: Fisher, model: Model, misfit: PoissonMisfit | None
) -> NDArray[np.float64]:
    """Return the standard deviations where only an even map is free, (n, 3) [Å].

    And scales and geometry of the patches, as far as they are uncertain.
    """
    x = fisher.x
    _, forces = problem.cluster.energy_forces(x)
    at_rest = np.abs(forces).max(initial=0.0) < _AT_REST
    known = problem.data.geometry.known
    generators = ROTATIONS if known and at_rest and np.isinf(model.stiffness) else LINEAR_MAPS
    shifts = np.einsum("axy,jy->ajx", generators, x - x.mean(axis=0))
    fitted = problem.calibration
    if known and (fitted is None or fitted.has_nominal_patches):
        covariance = fisher.of_maps(generators)
    else:
        pose = CalibratedPose(problem, x, misfit)
        covariance = pose.covariance(generators)[-len(generators) :, -len(generators) :]
    variance = np.einsum("ajx,ab,bjx->jx", shifts, covariance, shifts)
    return np.sqrt(np.maximum(variance, 0.0))


def _centred(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the translation away, of which the data say nothing."""
    return v - v.mean(axis=0)
