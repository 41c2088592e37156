"""Give atoms another element where the counts want it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import Potential
from prammol.reconstruction.occupancy.binary_quadratic import LEAST_GAIN, best_flips
from prammol.reconstruction.occupancy.candidate_sites import relaxed_vacant_sites
from prammol.reconstruction.occupancy.element_swaps import Swaps, charge_of_odd, swaps_of, together
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.occupancy.single_changes import FALSE_ALARMS
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.refinement.score_test import scores
from prammol.reconstruction.setting_kinds import (
    Accuracy,
    Checked,
    Count,
    Positive,
    Whole,
)
from prammol.reconstruction.state import State
from prammol.structure.labels import Labels


@dataclass(frozen=True)
class ExchangeElements(Checked):
    """Swap elements of a crystal of several: antisites of a compound, solutes.

    The misfit is expanded in the swaps of all atoms, and in atoms of the element that the perfect
    crystal hasn't there on vacant sites; the best set is found by flips
    (:mod:`prammol.reconstruction.occupancy.element_swaps`). An atom of another element than the
    perfect crystal has there is charged the logarithm of their odds, which is learnt from those
    there are, and one on a vacant site what noise gains on as many sites. LAMMPS relaxes the whole
    with its new elements, and it is kept if misfit and charge together fell; else half of the swaps
    are tried, those that promise most. If nothing else has changed either, the same follows
    without an error of the model, which hides what is left to exchange; then single swaps, those
    that promise most and those of the atoms that the counts want elsewhere: the energy may have put
    an atom in another place for its wrong element. Last, where elements of a compound have as many
    sites, all of them change places: only the surface tells which is where. Does nothing with one
    element, and at low signal.

    Attributes
    ----------
    tried : int
        How many sets, each with half of the swaps of the one before.
    singles : int
        How many single swaps of either kind.
    reach : float
        Overlaps beyond are left out [neighbour distances].
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    tried: Count = 4  # chosen: 300 atoms of Ni3Al; not varied
    singles: Whole = 8  # chosen: 285 atoms of ZnSe, the first and the second; not varied
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
        tries = not (state.status.selected or state.verdict.right)

        def relaxed(start: NDArray[np.float64], told: Labels) -> tuple[NDArray[np.float64], float]:
            other = problem.labelled(told)
            y, _, _ = other.cluster.relax(start, force_tolerance=self.force_tolerance)
            own = other.factor.with_accuracy(self.epsilon)
            changed = PoissonMisfit(problem.shard, own, floor=floor, incoherent=incoherent)
            return align_strained(changed, y, start)

        for near, wanted in self._proposals(problem, misfit, x, labels, tries):
            start, own = near.after(wanted)
            y, after = relaxed(start, labels.with_kinds(start, own))
            if after + near.price[wanted].sum() < value - LEAST_GAIN:
                told = labels.with_kinds(y, own)  # where the atoms are now
                state = replace(state, model=replace(state.model, labels=told))
                return state.changed(y, len(y) - len(x))
        if tries and problem.potential.compound:
            for order in _alike(problem.potential):
                told = labels.permuted(order)
                y, after = relaxed(x, told)
                if after < value - LEAST_GAIN:
                    state = replace(state, model=replace(state.model, labels=told))
                    return state.changed(y)
        problem.labelled(labels)
        return state

    def _proposals(
        self,
        problem: Problem,
        misfit: PoissonMisfit,
        x: NDArray[np.float64],
        labels: Labels,
        tries: bool,
    ) -> Iterator[tuple[_Swapped, NDArray[np.intp]]]:
        """Yield which swaps to try, the most at once first, and near which object."""
        reach = self.reach * problem.potential.neighbour_distance
        vacant = relaxed_vacant_sites(problem, x)
        near = _Swapped.at(misfit, x, vacant, labels, reach)
        yield from ((near, some) for some in near.halved(self.tried))
        if not tries:
            return
        exact = _Swapped.at(PoissonMisfit(problem.shard, misfit.factor), x, vacant, labels, reach)
        yield from ((exact, some) for some in exact.halved(self.tried))
        wrong = np.argsort(-scores(problem, x)[1], kind="stable")[: self.singles]
        for one in (*near.order[: self.singles], *map(near.cheapest, wrong)):
            yield near, np.array([one])


def _alike(potential: Potential) -> Iterator[tuple[int, ...]]:
    """Yield the orders in which elements of a compound have as many sites each as in their own."""
    counts = np.zeros(len(potential.elements), dtype=int)
    counts[: len(potential.lattice.counts)] = potential.lattice.counts
    for order in permutations(range(len(counts))):
        moved = np.flatnonzero(np.array(order) != range(len(counts)))
        if len(moved) and counts[moved].all() and (counts[list(order)] == counts).all():
            yield order


@dataclass(frozen=True)
class _Swapped:
    """Swaps of atoms and of vacant sites beside them, and which of them together help most."""

    swaps: Swaps
    there: NDArray[np.bool_]
    kinds: NDArray[np.int_]
    price: NDArray[np.float64]
    order: NDArray[np.intp]
    best: NDArray[np.intp]

    @classmethod
    def at(
        cls,
        misfit: PoissonMisfit,
        x: NDArray[np.float64],
        vacant: NDArray[np.float64],
        labels: Labels,
        reach: float,
    ) -> _Swapped:
        swaps = swaps_of(misfit, x, vacant)
        places, there = swaps.places, np.arange(len(swaps.places)) < len(x)
        kinds, perfect = labels.kinds_of(places), labels.perfect.kinds_of(places)
        odd = there & (kinds != perfect)
        charge = charge_of_odd(int(odd.sum()), len(x))
        # What each swap is charged: how odd it makes the crystal, and that an atom comes.
        price = charge * ((swaps.kinds != perfect[swaps.of]) - odd[swaps.of].astype(float))
        price[~there[swaps.of]] += np.log(len(swaps.of) / FALSE_ALARMS)
        curvature = together(misfit, x, swaps, reach)
        none = np.zeros(len(swaps.of), dtype=bool)
        flips = best_flips(none, swaps.slope + price, curvature, LEAST_GAIN)
        order = np.argsort(swaps.cost + price, kind="stable")
        return cls(swaps, there, kinds, price, order, order[flips.taken[order]])

    def halved(self, number: int) -> list[NDArray[np.intp]]:
        """Return so many sets, each the first half of the one before, without empty ones."""
        return [self.best[: len(self.best) >> k] for k in range(number) if len(self.best) >> k]

    def cheapest(self, atom: np.intp) -> np.intp:
        """Return the swap of an atom that costs least."""
        return self.order[np.argmax(self.swaps.of[self.order] == atom)]

    def after(self, wanted: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
        """Return atoms and elements after some swaps."""
        kinds, taken = self.kinds.copy(), self.there.copy()
        kinds[self.swaps.of[wanted]] = self.swaps.kinds[wanted]
        taken[self.swaps.of[wanted]] = True
        return self.swaps.places[taken], kinds[taken]
