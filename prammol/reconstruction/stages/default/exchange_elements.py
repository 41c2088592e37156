"""Give atoms another element where the counts want it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.binary_quadratic import best_flips
from prammol.reconstruction.occupancy.candidate_sites import LEAST_GAIN
from prammol.reconstruction.occupancy.element_swaps import swaps_of, together
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.setting_kinds import Accuracy, Checked, Count, Positive
from prammol.reconstruction.state import State


@dataclass(frozen=True)
class ExchangeElements(Checked):
    """Swap elements of a crystal of two: antisites of a compound.

    The misfit is expanded in the swaps of all atoms; the best set is found by flips
    (:mod:`prammol.reconstruction.occupancy.element_swaps`). An atom of another element than the
    perfect crystal has there is charged the logarithm of their odds, which is learnt from those
    there are. LAMMPS relaxes the whole with its new elements, and it is kept if misfit and charge
    together fell; else half of the swaps are tried, those that promise most. Does nothing with one
    element, and at low signal.

    Attributes
    ----------
    tried : int
        How many sets, each with half of the swaps of the one before.
    reach : float
        Overlaps beyond are left out [neighbour distances].
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    tried: Count = 4  # chosen: 300 atoms of Ni3Al; not varied
    reach: Positive = 4.0  # chosen: as of candidate_sites; not varied
    force_tolerance: Positive = 1e-4  # chosen: as complete_atoms.final_tolerance; not varied
    epsilon: Accuracy = 1e-5  # derived: single precision

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with other elements; ``selected`` tells whether there are."""
        labels, x = state.model.labels, state.positions
        if problem.factor.scatterers is None or labels is None or not len(x):
            return state
        factor = problem.factor.with_accuracy(self.epsilon)
        omega = factor.forward(x)
        if is_low_signal(problem.shard, factor, omega):
            return state
        exact = PoissonMisfit(problem.shard, factor)
        scale = exact.scale(omega)
        incoherent = scale**2 * len(x)
        floor = exact.floor_for(omega, scale, incoherent)
        misfit = PoissonMisfit(problem.shard, factor, floor=floor, incoherent=incoherent)
        x, value = align_strained(misfit, x, x)
        kinds, perfect = labels.kinds_of(x), labels.perfect.kinds_of(x)
        odd = kinds != perfect
        charge = _charge(int(odd.sum()), len(x))
        swaps = swaps_of(misfit, x)
        distance = problem.potential.neighbour_distance
        curvature = together(misfit, x, swaps, self.reach * distance)
        slope = swaps.slope + np.where(odd, -charge, charge)
        none = np.zeros(len(x), dtype=bool)
        wanted = np.flatnonzero(best_flips(none, slope, curvature, LEAST_GAIN).taken)
        wanted = wanted[np.argsort((slope + 0.5 * swaps.curvature)[wanted], kind="stable")]
        for _ in range(self.tried):
            if not len(wanted):
                break
            new = kinds.copy()
            new[wanted] = 1 - new[wanted]
            told = labels.with_kinds(x, new)
            other = problem.labelled(told)
            y, _, _ = other.cluster.relax(x, force_tolerance=self.force_tolerance)
            own = other.factor.with_accuracy(self.epsilon)
            changed = PoissonMisfit(problem.shard, own, floor=floor, incoherent=incoherent)
            y, after = align_strained(changed, y, x)
            after += charge * float((new != perfect).sum() - odd.sum())
            if after < value - LEAST_GAIN:
                told = labels.with_kinds(y, new)  # where the atoms are now
                state = replace(state, model=replace(state.model, labels=told))
                return state.changed(y)
            problem.labelled(labels)
            wanted = wanted[: len(wanted) // 2]
        return state


def _charge(odd: int, atoms: int) -> float:
    """Return the logarithm of the odds of the perfect crystal's element against the other."""
    part = (odd + 1.0) / (atoms + 2.0)
    return max(float(np.log((1.0 - part) / part)), 0.0)
