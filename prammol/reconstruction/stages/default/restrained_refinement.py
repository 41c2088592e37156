"""Let the data move the atoms off the minimum of the energy, as far as held-out data confirm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.holdout_blocks import HeldOut, hold_out_blocks
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.curvature import curvature_of_data, curvature_of_energy
from prammol.reconstruction.refinement.effective_parameters import effective_parameters
from prammol.reconstruction.refinement.thermal_model import SIGNIFICANT, ThermalModel
from prammol.reconstruction.setting_kinds import Checked, Positive, Positives, SmallerPart, Whole
from prammol.reconstruction.stages.default.exchange_atoms import exchanged
from prammol.reconstruction.state import State
from prammol.reconstruction.verdict import judge
from prammol.structure.surface import equivalent_diameter

# derived: one standard deviation, as many wrong atoms from 0.5 to 2 (600 atoms at 300 K)
_LIKELY = 1.0
# derived: potential energy and heat of fusion of a melt are 0.08 of what binds the atoms at rest
_MOLTEN = 0.1


@dataclass(frozen=True)
class RestrainedRefinement(Checked):
    """Refine positions by likelihood plus energy, and thermal motion by Debye-Waller factors.

    The minimum of the energy is where the atoms are if the potential is right and the crystal
    cold. Blocks of points are held out (:mod:`prammol.likelihood.holdout_blocks`); on the others
    misfit + k * energy is minimised with smaller and smaller k while the misfit of the held-out
    points falls. With each k atoms are looked for that the data put where the energy has no
    minimum. This is done for atoms at rest and, if these don't explain the data, for atoms that
    move thermally and of which those at the surface may be away for a part of the time; the
    held-out points choose. Then all points are used with the best k. If no k is better than the
    minimum of the energy, nothing moves. Neither does it where that minimum explains the data. A k
    with which the atoms melt is none.

    Attributes
    ----------
    softness : tuple of float
        Stiffnesses k to try, as the curvature of k * energy over that of the misfit. If
        there are none, the stage does nothing.
    held_out : float
        Part of the blocks held out.
    iterations : int
        L-BFGS iterations with each k.
    exchanges : int
        How often, at most, wrong atoms are exchanged with each k.
    rounds : int
        How often occupancies and thermal motion are fitted in turn, and positions and both.
    debye_waller : bool
        Whether thermal motion is fitted, a mean square displacement for each number of
        neighbours.
    occupancies : bool
        Whether occupancies of the atoms of the surface are fitted.
    significance : float
        As in :class:`~prammol.reconstruction.stages.default.relax_and_align.RelaxAndAlign`.
    """

    # chosen: every power of ten from stiff to soft; as many wrong atoms from x 0.5 to x 2 (600
    # atoms at 300 K)
    softness: Positives = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
    held_out: SmallerPart = 0.1  # chosen: 600 atoms at 300 K; as many wrong atoms from 0.05 to 0.2
    iterations: Whole = 30  # chosen: not varied
    exchanges: Whole = 3  # chosen: 600 atoms at 300 K; as many wrong atoms from 2 to 6
    rounds: Whole = 2  # chosen: 600 atoms at 300 K; as many wrong atoms from 1 to 4
    debye_waller: bool = True
    occupancies: bool = True
    significance: Positive = 5.0  # derived: five standard deviations

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with atoms, positions, displacements and scale refined."""
        if state.verdict.explained or not self.softness:
            return state
        iteration = state.status.iteration
        rng = problem.rng("settle", iteration)
        size = equivalent_diameter(state.positions)
        points = hold_out_blocks(problem.data, problem.shard, size, self.held_out, rng)
        unit = curvature_of_data(problem, state.model.scale) / curvature_of_energy(
            problem.cluster, state.positions, problem.rng("settle curvature", iteration)
        )
        x = state.positions
        model, start = self._model(problem, x), RestrainedPositions(x, np.inf)
        best, changed = self._softened(
            problem, model, start, points, unit, exchanges=self.exchanges
        )
        if not self._explains(problem, model, best.positions):
            # Fitted first, thermal motion would pass for errors of the potential.
            warm = self._model(problem, changed.positions)
            if warm.fit(changed.positions, points, self.rounds):
                start = RestrainedPositions(changed.positions, np.inf)
                other, _ = self._softened(problem, warm, start, points, unit)
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
                found = model.restrained_fit(
                    found, every, best.ratio * unit, self.iterations, exact
                )
        motion, present = model.displacements_of_atoms(), model.occupancies_of_atoms()
        refined = replace(
            state.model,
            positions=found,
            displacements=motion,
            occupancies=present,
            stiffness=best.ratio * unit,
        )
        omega = refined.structure_factor(problem.factor)
        fitted = effective_parameters(problem, refined)
        refined, verdict = judge(problem, refined, omega, self.significance, fitted)
        return replace(state, model=refined, verdict=verdict)

    def _model(self, problem: Problem, x: NDArray[np.float64]) -> ThermalModel:
        return ThermalModel(problem, x, self.debye_waller, self.occupancies)

    def _softened(
        self,
        problem: Problem,
        model: ThermalModel,
        start: RestrainedPositions,
        points: HeldOut,
        unit: float,
        exchanges: int = 0,
    ) -> tuple[RestrainedPositions, RestrainedPositions]:
        """Pull with smaller and smaller ratios as long as held-out points confirm it.

        Returns
        -------
        best : RestrainedPositions
            The last that was confirmed, or the start.
        changed : RestrainedPositions
            The last whose set of atoms was changed, or the start.
        """
        best = last = start
        y, failures = start.positions, 0
        for ratio in (s for s in self.softness if s <= start.ratio):
            y = model.restrained_fit(y, points.fitted, ratio * unit, self.iterations)
            for number in range(exchanges):
                rng = problem.rng(f"settle mend {ratio} {number}", 0)
                changed = self._with_atoms_exchanged(problem, model, y, points, ratio * unit, rng)
                if changed is None:
                    break
                y = changed
                last = RestrainedPositions(y, ratio)
            if _is_molten(problem, y, start.positions):
                break
            old, new = model.factor.forward(best.positions), model.factor.forward(y)
            if model.prefers(points.apart, old, new, _LIKELY):
                best = RestrainedPositions(y, ratio)
            else:
                # One failure is forgiven: a stiff energy first undoes the strain.
                failures += 1
                if failures > 1:
                    break
        return best, last

    def _with_atoms_exchanged(
        self,
        problem: Problem,
        model: ThermalModel,
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
        changed = model.restrained_fit(changed, points.fitted, stiffness, self.iterations)
        same = model.restrained_fit(x, points.fitted, stiffness, self.iterations)
        old, new = model.factor.forward(same), model.factor.forward(changed)
        # Atoms that are wrong show everywhere: all points that weren't fitted tell.
        test = model.misfit(points.rest)
        gain, noise = test.preference(old, new)
        one = test.cost_of_one_atom(new, test.scale(new))
        return changed if gain > max(SIGNIFICANT * noise, 0.5 * one) else None

    def _explains(self, problem: Problem, model: ThermalModel, x: NDArray[np.float64]) -> bool:
        """Tell whether atoms at x explain the data."""
        misfit = PoissonMisfit(problem.shard, model.factor)
        omega = model.factor.forward(x)
        return misfit.excess(omega, misfit.scale(omega))[0] < self.significance


def _is_molten(problem: Problem, x: NDArray[np.float64], rest: NDArray[np.float64]) -> bool:
    """Tell whether atoms at x, (n, 3), are no crystal any more; others, (m, 3), are at rest [Å].

    So many free places fit counts of few photons, whatever the atoms.
    """
    bound, there = (problem.cluster.energy_forces(y)[0] / max(len(y), 1) for y in (rest, x))
    return there - bound > _MOLTEN * abs(bound)


@dataclass(frozen=True)
class RestrainedPositions:
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
