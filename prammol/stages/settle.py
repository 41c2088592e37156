"""Let the data move the atoms off the minimum of the energy, as far as held-out data confirm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.debye_waller import (
    ThermalStructureFactor,
    fit_displacements,
    neighbour_classes,
    thermal_structure_factor,
)
from prammol.md import Cluster
from prammol.misfit import PoissonMisfit
from prammol.pull import pull
from prammol.scattering import StructureFactor
from prammol.stages.estimate import training_points
from prammol.stages.refine import judged
from prammol.state import Problem, State

# Standard deviations by which held-out points must prefer a model.
_SIGNIFICANT = 3.0


@dataclass(frozen=True)
class Settle:
    """Refine positions by likelihood plus energy, and thermal motion by Debye-Waller factors.

    The minimum of the energy is where the atoms are if the potential is right and the
    crystal cold. Some points are held out; on the others misfit + k * energy is
    minimised with smaller and smaller k while the misfit of the held-out points falls.
    Then all points are used with the best k. If no k is better than the minimum of the
    energy, nothing moves. Neither does it where that minimum explains the data.

    Attributes
    ----------
    softness : tuple of float
        Stiffnesses k to try, as the curvature of k * energy over that of the misfit.
    held_out : float
        Part of the points held out.
    iterations : int
        L-BFGS iterations with each k.
    rounds : int
        How often positions and thermal motion are fitted in turn at the end.
    debye_waller : bool
        Whether thermal motion is fitted, a mean square displacement for each number of
        neighbours.
    significance : float
        As in :class:`~prammol.stages.refine.Refine`.
    """

    softness: tuple[float, ...] = (10.0, 1.0, 0.1, 0.01, 0.001)
    held_out: float = 0.1
    iterations: int = 30
    rounds: int = 2
    debye_waller: bool = True
    significance: float = 5.0

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with positions, displacements and scale refined."""
        if state.explained:
            return state
        shard, x = problem.shard, state.positions
        rng = problem.rng("settle", state.iteration)
        held = training_points(problem.data, shard, self.held_out, rng).astype(float)
        model = Model(problem, x)
        if self.debye_waller:
            model.fit_motion(x, 1.0 - held, held)
        found, stiffness = x, 0.0
        unit = curvature_of_data(problem, state.scale) / curvature_of_energy(
            problem.cluster, x, problem.rng("settle curvature", state.iteration)
        )
        y, failures = x, 0
        for ratio in self.softness:
            y = model.pull(y, 1.0 - held, ratio * unit, self.iterations)
            if model.prefers(held, model.factor.forward(found), model.factor.forward(y)):
                found, stiffness = y, ratio * unit
            else:
                # One failure is forgiven: a stiff energy first undoes the strain.
                failures += 1
                if failures > 1:
                    break
        if stiffness > 0:
            for _ in range(self.rounds):
                if self.debye_waller:
                    model.fit_motion(found, 1.0 - held, held)
                found = model.pull(found, np.ones(shard.counts.shape), stiffness, self.iterations)
        motion = model.displacements_of_atoms()
        settled = replace(state, positions=found, displacements=motion)
        if stiffness > 0:
            settled = replace(settled, stiffness=stiffness)
        omega = thermal_structure_factor(problem.factor, found, motion)
        return judged(problem, settled, omega, self.significance)


class Model:
    """Atoms that move thermally: transform and misfit that belong together.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Positions, for the classes of neighbours [Å].
    """

    def __init__(self, problem: Problem, x: NDArray[np.float64]) -> None:
        potential = problem.cluster.potential
        self._problem = problem
        self._classes = neighbour_classes(x, potential.bond_reach)
        self._length = float(np.linalg.norm(problem.data.peaks(), axis=1).mean())
        self._displacements = np.zeros(int(self._classes.max()) + 1)
        self.factor: StructureFactor = problem.factor

    def misfit(self, points: NDArray[np.float64] | None) -> PoissonMisfit:
        """Return the misfit of some points, weighted between 0 and 1."""
        return PoissonMisfit(self._problem.shard, self.factor, points)

    def fit_motion(
        self, x: NDArray[np.float64], train: NDArray[np.float64], held: NDArray[np.float64]
    ) -> None:
        """Fit the displacements to some points; keep them if the others agree."""
        problem = self._problem
        before = self.factor.forward(x)
        old = self._displacements
        new = fit_displacements(
            PoissonMisfit(problem.shard, problem.factor, train),
            problem.factor,
            x,
            self._classes,
            old,
        )
        self._use(new)
        if not self.prefers(held, before, self.factor.forward(x)):
            self._use(old)

    def prefers(
        self,
        points: NDArray[np.float64],
        old: NDArray[np.complex128],
        new: NDArray[np.complex128],
    ) -> bool:
        """Tell whether some points prefer a new structure factor, beyond their noise."""
        gain, noise = self.misfit(points).preference(old, new)
        return gain > _SIGNIFICANT * noise

    def pull(
        self,
        x: NDArray[np.float64],
        points: NDArray[np.float64],
        stiffness: float,
        iterations: int,
    ) -> NDArray[np.float64]:
        """Minimise misfit + stiffness * energy over the positions."""
        misfit = self.misfit(points)
        return pull(misfit, self._problem.cluster, x, stiffness, iterations)

    def displacements_of_atoms(self) -> NDArray[np.float64]:
        """Return the mean square displacement of each atom, (n,) [Å^2]; empty if it is 0."""
        u = self._displacements
        return u[self._classes] if u.any() else np.empty(0)

    def _use(self, displacements: NDArray[np.float64]) -> None:
        base = self._problem.factor
        self._displacements = displacements
        if not displacements.any():
            self.factor = base
            return
        self.factor = ThermalStructureFactor(
            base.patches, displacements[self._classes], self._length, base.epsilon, base.threads
        )


def curvature_of_data(problem: Problem, scale: float) -> float:
    """Return the second derivative of the misfit by one coordinate of one atom [1/Å^2].

    A shift d changes the amplitude C abs(Omega) by C q.d times the sine of a phase.
    """
    shard = problem.shard
    square = np.sum(problem.factor.q**2, axis=1)
    return 2.0 / 3.0 * scale**2 * problem.comm.sum(float(shard.valid @ square))


def curvature_of_energy(
    cluster: Cluster, x: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Return the second derivative of the energy by one coordinate of one atom [eV/Å^2]."""
    shift = rng.normal(0.0, 0.01, x.shape)
    _, plus = cluster.energy_forces(x + shift)
    _, minus = cluster.energy_forces(x - shift)
    return max(float(-np.sum((plus - minus) * shift) / (2 * np.sum(shift**2))), 1e-3)
