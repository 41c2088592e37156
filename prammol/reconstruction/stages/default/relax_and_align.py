"""Refine the object: energy minimum, orientation, strain, scale; and does it explain the data?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.binary_quadratic import LEAST_GAIN
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.calibration_fit import align_calibrated
from prammol.reconstruction.refinement.score_test import misplaced
from prammol.reconstruction.setting_kinds import Checked, NonNegative, Positive, Whole
from prammol.reconstruction.state import State
from prammol.reconstruction.verdict import judge

_AN_ATOM = 1.0  # derived: one atom, same atoms from 0.5 to 2 (600 atoms at 1e18)
# derived: less than to the next hollow, same atoms from 0.125 to 0.5 (600 atoms at 1e18)
_LONGEST = 0.25  # move of a single atom [neighbour distances]


@dataclass(frozen=True)
class RelaxAndAlign(Checked):
    """Relax all atoms tightly, turn and strain them as the data want, take the Poisson scale.

    The positions are those of the minimum of the energy nearest to where the data put the
    atoms: the potential is trusted within a basin, the data choose the basin, once what
    the object leaves unexplained is worth less than an atom also that of single
    atoms (:mod:`prammol.reconstruction.refinement.score_test`).

    Attributes
    ----------
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    rough_tolerance : float
        The same while atoms are missing or too many: what they cost is far more than
        what such small forces do [eV/Å].
    coarse_tolerance : float
        The same while `many` atoms or more are wrong, and the set of atoms still changes [eV/Å].
    many : float
        How many that are, by what they cost.
    significance : float
        The object explains the data when the misfit exceeds what pure noise gives by
        less than this many standard deviations. If so many are worth less than half an atom,
        the reconstruction is converged; with fewer photons it goes on until nothing changes.
    moves : int
        How often, at most, single atoms are moved.
    """

    force_tolerance: Positive = 1e-6  # derived: far below what diffraction tells
    rough_tolerance: Positive = 1e-4  # chosen: vacancy crystal, speed; same atoms from 1e-6
    coarse_tolerance: Positive = 1e-2  # chosen: vacancy crystal, speed; spread not recorded
    # chosen: as complete_atoms.many; same atoms from 5 to 20 (600 atoms at 1e18)
    many: NonNegative = 10.0
    significance: Positive = 5.0  # derived: five standard deviations
    moves: Whole = 3  # chosen: 600 atoms at 1e18; same atoms from 2 to 6

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with refined positions, calibration and scale."""
        status, verdict = state.status, state.verdict
        if status.earlier and status.iteration > 0 and verdict.explained and not status.selected:
            return state  # it was done after the last change
        omega = problem.factor.forward(state.positions)
        value, _ = PoissonMisfit(problem.shard, problem.factor).value(omega)
        # Moved before anything is relaxed: that is done once then.
        refined = _Refined(problem, self._judged(problem, state, omega), value)
        del omega  # as large as the points, for minutes
        found = self._with_atoms_moved(refined)
        refined = found or self._relaxed(refined)
        for _ in range(self.moves - (found is not None)):
            found = self._with_atoms_moved(refined)
            if found is None:
                break
            refined = found
        # The last tenths of a picometre are worth their time only when no atom moves any more.
        if self.force_tolerance < self.rough_tolerance and not _far_off(refined.state, _AN_ATOM):
            refined = self._relaxed_to(refined, self.force_tolerance)
        return refined.state

    def _with_atoms_moved(self, refined: _Refined) -> _Refined | None:
        """Return what is better with single atoms moved, or None if nothing is."""
        problem, state = refined.problem, refined.state
        if self.moves == 0 or _far_off(state, _AN_ATOM):
            return None
        shift = misplaced(problem, state.positions)
        if not shift.any():
            return None
        to = state.positions + _short(problem, shift)
        moved = self._relaxed(replace(refined, state=state.moved(to)))
        return moved if moved.value <= refined.value - LEAST_GAIN else None

    def _relaxed(self, refined: _Refined) -> _Refined:
        """Relax atoms as tightly as is worth it, and judge."""
        status = refined.state.status
        changing = status.selected or status.iteration == 0
        if _far_off(refined.state, self.many) and changing:
            coarse = max(self.coarse_tolerance, self.force_tolerance)
            refined = self._relaxed_to(refined, coarse)
            if _far_off(refined.state, self.many):
                return refined
        return self._relaxed_to(refined, max(self.rough_tolerance, self.force_tolerance))

    def _relaxed_to(self, refined: _Refined, tolerance: float) -> _Refined:
        """Relax atoms, lay them on the counts as these want, and judge."""
        problem, state = refined.problem, refined.state
        y, _, _ = problem.cluster.relax(state.positions, force_tolerance=tolerance)
        laid = align_calibrated(problem, y, state.positions)
        omega = laid.problem.factor.forward(laid.positions)
        model = replace(state.model, positions=laid.positions, calibration=laid.calibration)
        state = self._judged(laid.problem, replace(state, model=model), omega)
        return _Refined(laid.problem, state, laid.value)

    def _judged(self, problem: Problem, state: State, omega: NDArray[np.complex128]) -> State:
        """Return the state with the Poisson scale, and whether it explains the data."""
        model, verdict = judge(problem, state.model, omega, self.significance)
        return replace(state, model=model, verdict=verdict)


@dataclass(frozen=True)
class _Refined:
    """A state, the problem with its calibration, and the misfit."""

    problem: Problem
    state: State
    value: float


def _far_off(state: State, atoms: float) -> bool:
    """Tell whether the data contradict the object by more than so many atoms' worth."""
    return not state.verdict.explained and state.verdict.wrong > atoms


def _short(problem: Problem, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return shifts no longer than a small part of the distance of neighbours."""
    most = _LONGEST * problem.potential.neighbour_distance
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    return shift * np.minimum(1.0, most / np.maximum(length, 1e-12))
