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
from prammol.held_out import HeldOut, hold_out_blocks
from prammol.md import Cluster
from prammol.misfit import PoissonMisfit, honest_misfit
from prammol.occupancies import fit_occupancies
from prammol.pull import pull
from prammol.scattering import StructureFactor
from prammol.stages.complete import on_surface
from prammol.stages.exchange import exchanged
from prammol.stages.refine import judged
from prammol.state import Problem, State

# Standard deviations by which held-out points must prefer another kind of model, and a softer
# energy: there are few points, and too stiff is as wrong as too soft.
_SIGNIFICANT = 3.0
_LIKELY = 1.0
_ITERATIONS = 40  # of the occupancies
_ROUGH = 1e-5  # accuracy of the transforms while stiffnesses are compared


@dataclass(frozen=True)
class Settle:
    """Refine positions by likelihood plus energy, and thermal motion by Debye-Waller factors.

    The minimum of the energy is where the atoms are if the potential is right and the
    crystal cold. Blocks of points are held out (:mod:`prammol.held_out`); on the others
    misfit + k * energy is minimised with smaller and smaller k while the misfit of the
    held-out points falls. With each k atoms are looked for that the data put where the energy
    has no minimum. This is done for atoms at rest and, if these don't explain the data, for
    atoms that move thermally and of which those at the surface may be away for a part of the
    time; the held-out points choose. Then all points are used with the best k. If no k is
    better than the minimum of the energy, nothing moves. Neither does it where that minimum
    explains the data.

    Attributes
    ----------
    softness : tuple of float
        Stiffnesses k to try, as the curvature of k * energy over that of the misfit. If
        there are none, the stage does nothing.
    held_out : float
        Part of the blocks held out.
    iterations : int
        L-BFGS iterations with each k.
    mends : int
        How often, at most, wrong atoms are exchanged with each k.
    rounds : int
        How often occupancies and thermal motion are fitted in turn, and positions and both.
    debye_waller : bool
        Whether thermal motion is fitted, a mean square displacement for each number of
        neighbours.
    occupancies : bool
        Whether occupancies of the atoms of the surface are fitted.
    significance : float
        As in :class:`~prammol.stages.refine.Refine`.
    """

    softness: tuple[float, ...] = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
    held_out: float = 0.1
    iterations: int = 30
    mends: int = 3
    rounds: int = 2
    debye_waller: bool = True
    occupancies: bool = True
    significance: float = 5.0

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with atoms, positions, displacements and scale refined."""
        if state.explained or not self.softness:
            return state
        rng = problem.rng("settle", state.iteration)
        size = size_of(state.positions)
        points = hold_out_blocks(problem.data, problem.shard, size, self.held_out, rng)
        unit = curvature_of_data(problem, state.scale) / curvature_of_energy(
            problem.cluster, state.positions, problem.rng("settle curvature", state.iteration)
        )
        x = state.positions
        model, start = self._model(problem, x), Pulled(x, np.inf)
        best, mended = self._loosened(problem, model, start, points, unit, mends=self.mends)
        if not self._explains(problem, model, best.positions):
            # Fitted first, thermal motion would pass for errors of the potential.
            warm = self._model(problem, mended.positions)
            if warm.fit(mended.positions, points, self.rounds):
                start = Pulled(mended.positions, np.inf)
                other, _ = self._loosened(problem, warm, start, points, unit)
                old, new = (
                    model.factor.forward(best.positions),
                    warm.factor.forward(other.positions),
                )
                if model.prefers(points.apart, old, new):
                    model, best = warm, other
        found = best.positions
        if np.isfinite(best.ratio):
            for _ in range(self.rounds):
                if model.moves:
                    model.fit(found, points)
                every = np.ones(problem.shard.counts.shape)
                exact = problem.factor.epsilon
                found = model.pull(found, every, best.ratio * unit, self.iterations, exact)
        motion, present = model.displacements_of_atoms(), model.occupancies_of_atoms()
        settled = replace(
            state,
            positions=found,
            displacements=motion,
            site_occupancies=present,
            stiffness=best.ratio * unit,
        )
        omega = thermal_structure_factor(problem.factor, found, motion, present)
        return judged(problem, settled, omega, self.significance)

    def _model(self, problem: Problem, x: NDArray[np.float64]) -> Model:
        return Model(problem, x, self.debye_waller, self.occupancies)

    def _loosened(
        self,
        problem: Problem,
        model: Model,
        start: Pulled,
        points: HeldOut,
        unit: float,
        mends: int = 0,
    ) -> tuple[Pulled, Pulled]:
        """Pull with smaller and smaller ratios as long as held-out points confirm it.

        Returns
        -------
        best : Pulled
            The last that was confirmed, or the start.
        mended : Pulled
            The last whose set of atoms was changed, or the start.
        """
        best = mended = start
        y, failures = start.positions, 0
        for ratio in (s for s in self.softness if s <= start.ratio):
            y = model.pull(y, points.fitted, ratio * unit, self.iterations)
            for number in range(mends):
                rng = problem.rng(f"settle mend {ratio} {number}", 0)
                changed = self._mended(problem, model, y, points, ratio * unit, rng)
                if changed is None:
                    break
                y = changed
                mended = Pulled(y, ratio)
            old, new = model.factor.forward(best.positions), model.factor.forward(y)
            if model.prefers(points.apart, old, new, _LIKELY):
                best = Pulled(y, ratio)
            else:
                # One failure is forgiven: a stiff energy first undoes the strain.
                failures += 1
                if failures > 1:
                    break
        return best, mended

    def _mended(
        self,
        problem: Problem,
        model: Model,
        x: NDArray[np.float64],
        points: HeldOut,
        stiffness: float,
        rng: np.random.Generator,
    ) -> NDArray[np.float64] | None:
        """Return atoms of which fewer are in wrong places, by more than half an atom, or None."""
        changed = exchanged(problem, x, points.fitted, rng)
        if changed is None:
            return None
        # Further iterations alone help, too: compare like with like.
        changed = model.pull(changed, points.fitted, stiffness, self.iterations)
        same = model.pull(x, points.fitted, stiffness, self.iterations)
        old, new = model.factor.forward(same), model.factor.forward(changed)
        # Atoms that are wrong show everywhere: all points that weren't fitted tell.
        test = model.misfit(points.rest)
        gain, noise = test.preference(old, new)
        one = test.cost_of_one(new, test.scale(new))
        return changed if gain > max(_SIGNIFICANT * noise, 0.5 * one) else None

    def _explains(self, problem: Problem, model: Model, x: NDArray[np.float64]) -> bool:
        """Tell whether atoms at x explain the data."""
        misfit = PoissonMisfit(problem.shard, model.factor)
        omega = model.factor.forward(x)
        return misfit.excess(omega, misfit.scale(omega))[0] < self.significance


@dataclass(frozen=True)
class Pulled:
    """Atoms pulled by the data, and the stiffness they were held together with.

    Attributes
    ----------
    positions : (n, 3) ndarray
        Positions [Å].
    ratio : float
        Curvature of k * energy over that of the misfit; infinite for a minimum of the energy.
    """

    positions: NDArray[np.float64]
    ratio: float


class Model:
    """Atoms that move, at rest until that is fitted: transform and misfit that belong together.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Positions, for the classes of neighbours [Å].
    debye_waller, occupancies : bool
        What is fitted.
    """

    def __init__(
        self, problem: Problem, x: NDArray[np.float64], debye_waller: bool, occupancies: bool
    ) -> None:
        potential = problem.cluster.potential
        self._debye_waller = debye_waller
        self._loose = on_surface(x, potential.bond_reach) if occupancies else np.zeros(len(x), bool)
        self._occupancies = np.ones(len(x))
        self._problem = problem
        self._classes = neighbour_classes(x, potential.bond_reach)
        self._length = float(np.linalg.norm(problem.data.peaks(), axis=1).mean())
        self._displacements = np.zeros(int(self._classes.max()) + 1)
        self.factor: StructureFactor = problem.factor

    def misfit(self, points: NDArray[np.float64] | None) -> PoissonMisfit:
        """Return the misfit of some points, weighted between 0 and 1."""
        return PoissonMisfit(self._problem.shard, self.factor, points)

    def fit(self, x: NDArray[np.float64], points: HeldOut, rounds: int = 1) -> bool:
        """Fit motion and occupancies to some points; keep them, and return True, if others agree.

        Parameters
        ----------
        x : (n, 3) ndarray
            Positions [Å].
        points : HeldOut
        rounds : int
            How often both are fitted in turn.
        """
        problem = self._problem
        before = self.factor.forward(x)
        old = self._displacements, self._occupancies
        plain = PoissonMisfit(problem.shard, problem.factor, points.fitted)
        for _ in range(rounds):
            if self._debye_waller:
                motion = fit_displacements(
                    plain,
                    problem.factor,
                    x,
                    self._classes,
                    self._displacements,
                    self._occupancies,
                )
                self._use(motion, self._occupancies)
            if self._loose.any():
                moving = self._factor_of(self._displacements, np.ones(len(x)), _ROUGH)
                misfit = PoissonMisfit(problem.shard, moving, points.fitted)
                present = fit_occupancies(misfit, x, self._occupancies, self._loose, _ITERATIONS)
                self._use(self._displacements, present)
        if self.prefers(points.apart, before, self.factor.forward(x)):
            return True
        self._use(*old)
        return False

    def prefers(
        self,
        points: NDArray[np.float64],
        old: NDArray[np.complex128],
        new: NDArray[np.complex128],
        sigmas: float = _SIGNIFICANT,
    ) -> bool:
        """Tell whether some points prefer a new structure factor, see :func:`prefers`."""
        return prefers(self._problem, len(self._classes), points, old, new, sigmas)

    def pull(
        self,
        x: NDArray[np.float64],
        points: NDArray[np.float64],
        stiffness: float,
        iterations: int,
        epsilon: float = _ROUGH,
    ) -> NDArray[np.float64]:
        """Minimise misfit + stiffness * energy over the positions, with transforms of epsilon."""
        factor = self._factor_of(self._displacements, self._occupancies, epsilon)
        misfit = PoissonMisfit(self._problem.shard, factor, points)
        return pull(misfit, self._problem.cluster, x, stiffness, iterations)

    @property
    def moves(self) -> bool:
        """Whether the atoms move."""
        return bool(self._displacements.any() or (self._occupancies < 1.0).any())

    def displacements_of_atoms(self) -> NDArray[np.float64]:
        """Return the mean square displacement of each atom, (n,) [Å^2]; empty if it is 0."""
        u = self._displacements
        return u[self._classes] if u.any() else np.empty(0)

    def occupancies_of_atoms(self) -> NDArray[np.float64]:
        """Return which part of the time each atom is in its place, (n,); empty if always."""
        w = self._occupancies
        return w if (w < 1.0).any() else np.empty(0)

    def _use(self, displacements: NDArray[np.float64], occupancies: NDArray[np.float64]) -> None:
        self._displacements, self._occupancies = displacements, occupancies
        self.factor = self._factor_of(displacements, occupancies, self._problem.factor.epsilon)

    def _factor_of(
        self,
        displacements: NDArray[np.float64],
        occupancies: NDArray[np.float64],
        epsilon: float,
    ) -> StructureFactor:
        base = self._problem.factor
        if not displacements.any() and (occupancies == 1.0).all():
            if epsilon == base.epsilon:
                return base
            return base.with_accuracy(epsilon)
        return ThermalStructureFactor(
            base.patches,
            displacements[self._classes],
            self._length,
            epsilon,
            base.threads,
            occupancies,
        )


def prefers(
    problem: Problem,
    atoms: int,
    points: NDArray[np.float64],
    old: NDArray[np.complex128],
    new: NDArray[np.complex128],
    sigmas: float = _SIGNIFICANT,
) -> bool:
    """Tell whether some points prefer a new structure factor, beyond their noise.

    What the old one doesn't explain counts as noise: else the brightest points decide, by
    errors that both share.
    """
    misfit = honest_misfit(problem.shard, problem.factor, old, atoms, points)
    gain, noise = misfit.preference(old, new)
    # Points in which neither changes anything have no noise, and say nothing but rounding.
    return noise > 0 and gain > sigmas * noise


def size_of(x: NDArray[np.float64]) -> float:
    """Return the diameter of a ball with the same moment of inertia as the atoms [Å]."""
    square = np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))
    return max(2.0 * float(np.sqrt(5.0 / 3.0 * square)), 1e-3)


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
