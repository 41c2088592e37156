"""Complete the object: difference synthesis, flips, relaxation, acceptance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.model_error import misfit_with_model_error
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.candidate_sites import (
    CandidateSites,
    Choice,
    relaxed_vacant_sites,
)
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.occupancy.facets import moved_facets
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.setting_kinds import (
    Accuracy,
    Checked,
    Count,
    NonNegative,
    Parts,
    Positive,
    Whole,
)
from prammol.reconstruction.stages.default.acceptance import Acceptance
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import coarser
from prammol.structure.separation import TOO_CLOSE, apart
from prammol.structure.surface import on_surface

# Among thousands of places noise alone makes minima of three standard deviations.
_SIGMAS = 4.0  # derived: noise of thousands of places, same atoms from 2 to 8 (600 atoms at 1e18)
# chosen: 600 atoms at 1e18; same atoms from 1.5 to 6
_TOGETHER = 3.0  # changes closer than this hang together [neighbour distances]


@dataclass(frozen=True)
class CompleteAtoms(Checked):
    """Add what the data and the bonds want, remove what they deny.

    Vacant sites of the lattice beside the object and minima of the difference map become
    candidates; the best set of atoms and candidates is found by flips at fixed positions
    (:mod:`prammol.reconstruction.occupancy.candidate_sites`); while the data contradict the object,
    also by fitting occupancies between 0 and 1. LAMMPS relaxes the whole, and the better one is
    kept if misfit and prior of bonds together fell. If they didn't, the flips are tried in groups
    of neighbours; then lower and higher thresholds of the occupancies; then the data pull the
    atoms into other basins of the energy; then, while the data contradict the object, single
    changes are tried. After an iteration that hardly lowered the misfit (`LoopStatus.stalling`)
    groups, thresholds and single changes are left out: what is wrong then isn't a matter of which
    atoms exist. Does nothing at low signal, where the best set would follow the noise: see
    :class:`~prammol.reconstruction.stages.default.anneal.Anneal`.

    Attributes
    ----------
    depth : float
        Minima deeper than this fraction of a whole atom become candidates.
    groups : int
        How many groups of changes are tried.
    thresholds : tuple of float
        Occupancies above which a site is an atom, tried in this order.
    iterations : int
        L-BFGS iterations of the occupancies.
    singles : int
        How many single additions, removals and moves are tried when nothing else helps.
    facets : int
        How many crystals with one facet moved to the opposite side are tried at most when nothing
        else helps and fewer than `many` atoms' worth are wrong, or the part `nearly` of a
        crystal with several atoms per primitive cell
        (:mod:`prammol.reconstruction.occupancy.facets`).
    nearly : float
        Pulling and single changes are tried only when the misfit is worth fewer missing
        atoms than this part of all.
    restrained_iterations : int
        L-BFGS iterations of all positions on the misfit plus `stiffness` times the energy.
    stiffness : float
        Weight of the energy in that [1/eV].
    points : int
        Starting points of the search for minima, per atom of the surface.
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    final_tolerance : float
        The same for what has passed the first test, unless it more than halves what was wrong:
        off the minimum the data may still be fitted a little better, again and again. At
        1e-4 that is worth less than a thousandth of an atom [eV/Å].
    epsilon : float
        Accuracy of the Fourier transforms.
    many : float
        While more atoms than this are wrong, first no more points are asked than tell the shape
        (:mod:`prammol.reconstruction.subsampling`), and all if these change nothing.
    """

    depth: Positive = 0.2  # chosen: 600 atoms at 1e18; same atoms from 0.1 to 0.4
    groups: Whole = 8  # chosen: 600 atoms at 1e18; same atoms from 4 to 16
    # chosen: a half first, then steps of 0.15 away from it; same atoms from x 0.5 to x 1 (600 atoms
    # at 1e18)
    thresholds: Parts = (0.5, 0.35, 0.65, 0.2, 0.8)
    # chosen: vacancy crystal, 1e20; 25 takes longer to the same atoms; same atoms from 8 to 30 (600
    # atoms at 1e18)
    iterations: Whole = 15
    singles: Whole = 16  # chosen: 600 atoms at 1e18; same atoms from 8 to 32
    nearly: NonNegative = 0.25  # chosen: 600 atoms at 1e18; same atoms from 0.125 to 0.5
    restrained_iterations: Whole = 30  # chosen: 600 atoms at 1e18; same atoms from 15 to 60
    stiffness: NonNegative = 100.0  # chosen: 600 atoms at 1e18; same atoms from 50 to 200
    # chosen: vacancy crystal; half as many take an iteration more in two of three runs; same atoms
    # from 20 to 80 (600 atoms at 1e18)
    points: Count = 40
    force_tolerance: Positive = 1e-2  # chosen: vacancy crystal, speed; spread not recorded
    final_tolerance: Positive = 1e-4  # chosen: vacancy crystal; 1e-6 costs time and finds the same
    facets: Whole = 4  # chosen: a plate of 2574 atoms, two pairs that are alike; not varied
    epsilon: Accuracy = 1e-5  # derived: single precision
    # chosen: vacancy crystal, speed; same atoms from 5 to 20 (600 atoms at 1e18)
    many: NonNegative = 10.0

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state after one round; ``selected`` tells whether it changed."""
        if state.status.selected:  # the stage before has done it
            return state
        fewer = coarser(problem) if state.verdict.wrong > self.many else problem
        if fewer is not problem:
            found = self._completed(fewer, state)
            if found.status.selected:
                return found
        return self._completed(problem, state)

    def _completed(self, problem: Problem, state: State) -> State:
        factor = problem.factor.with_accuracy(self.epsilon)
        x = state.positions
        omega = factor.forward(x)
        if is_low_signal(problem.shard, factor, omega):
            return state
        misfit = misfit_with_model_error(problem.shard, factor, omega, len(x))
        # The floor changes which strain is best: compare like with like.
        x, value = align_strained(misfit, x, x)
        candidates = self._candidates(problem, state, misfit, x)
        sites = CandidateSites.around(misfit, problem.potential, x, candidates)
        choice = sites.choose(sites.taken, depth=self.depth)
        one = misfit.cost_of_one_atom(omega, state.model.scale)
        state = state.moved(x)
        verdict = state.verdict
        tolerances = (self.force_tolerance, self.final_tolerance)
        acceptance = Acceptance(problem, sites, choice.prior, state, value, one, tolerances)
        proposals = [choice.taken]
        thresholds: list[NDArray[np.bool_]] = []
        if not verdict.right:
            free, full = np.isfinite(choice.cost), sites.taken.astype(float)
            weights = fit_occupancies(misfit, sites.positions, full, free, self.iterations)
            thresholds = list(self._above_thresholds(sites, weights))
            proposals.append(thresholds[0])
        found = acceptance.best(proposals)
        stuck = not verdict.explained and state.status.stalling
        if found is None and not stuck:
            found = acceptance.first(chain(self._in_groups(sites, choice), thresholds))
        if found is None and verdict.wrong < self.nearly * len(x):
            fitted = restrained_fit(
                misfit, problem.cluster, x, self.stiffness, self.restrained_iterations
            )
            # Worth going on for: a tenth of what is left.
            y = acceptance.better(fitted, max(0.1 * verdict.wrong * one, acceptance.gain))
            if y is not None:
                return state.changed(y)
            if not stuck and not verdict.right:
                found = acceptance.first(self._one_by_one(sites, choice))
        # Of a cell with a basis a shift by a part of it is likelier, and a facet has many atoms.
        few = self.nearly * len(x) if problem.potential.has_basis else self.many
        if found is None and not verdict.right and verdict.wrong < few:
            found = self._with_facet_moved(problem, state, misfit, acceptance)
        return state if found is None else found

    def _with_facet_moved(
        self, problem: Problem, state: State, misfit: PoissonMisfit, acceptance: Acceptance
    ) -> State | None:
        """Return the state with a facet moved to the opposite side, or None if none is better."""
        x, potential = state.positions, problem.potential
        vacant = relaxed_vacant_sites(problem, x)
        moved = [*moved_facets(x, vacant, potential.bond_reach, potential.neighbour_distance)]
        for y in sorted(moved, key=lambda y: misfit(y).value)[: self.facets]:
            found = acceptance.better(y, acceptance.gain)
            if found is not None:
                number = int((cKDTree(x).query(y)[0] > 0.5 * potential.neighbour_distance).sum())
                return state.changed(found, number, number)
        return None

    def _in_groups(self, sites: CandidateSites, choice: Choice) -> Iterator[NDArray[np.bool_]]:
        """Yield the changes of the chosen set group by group, the largest group first."""
        changed = np.flatnonzero(choice.taken != sites.taken)
        if len(changed) == 0:
            return
        tree = cKDTree(sites.positions[changed])
        near = tree.sparse_distance_matrix(tree, _TOGETHER * sites.distance)
        _, label = connected_components(near, directed=False)
        size = np.bincount(label)
        for group in np.argsort(-size, kind="stable")[: self.groups]:
            keep = sites.taken.copy()
            keep[changed[label == group]] ^= True
            yield keep

    def _above_thresholds(
        self, sites: CandidateSites, weights: NDArray[np.float64]
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield the sites above each threshold; of close ones the heaviest."""
        for threshold in self.thresholds:
            keep = weights > threshold
            keep[keep] = apart(sites.positions[keep], TOO_CLOSE * sites.distance, weights[keep])
            yield keep

    def _one_by_one(self, sites: CandidateSites, choice: Choice) -> Iterator[NDArray[np.bool_]]:
        """Yield single additions, removals and moves, the cheapest first."""
        was, tree = sites.taken, cKDTree(sites.positions)
        for i in np.argsort(choice.cost, kind="stable")[: self.singles]:
            keep = was.copy()
            if was[i]:
                keep[i] = False
            else:
                keep[tree.query_ball_point(sites.positions[i], TOO_CLOSE * sites.distance)] = False
                keep[i] = True
            yield keep

    def _candidates(
        self, problem: Problem, state: State, misfit: PoissonMisfit, x: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the places the difference map wants, and vacant sites of the lattice, (m, 3)."""
        potential = problem.potential
        distance = potential.neighbour_distance
        difference = difference_map(misfit, x)
        surface = on_surface(x, potential.bond_reach)
        depth = max(self.depth, _SIGMAS / np.sqrt(difference.height))
        minima, _ = difference.minima(
            x,
            x[surface],
            -depth,
            distance,
            problem.rng("complete", state.status.iteration),
            self.points * int(surface.sum()),
        )
        candidates = np.concatenate([minima, relaxed_vacant_sites(problem, x)])
        gap = cKDTree(x).query(candidates)[0]
        candidates = candidates[(gap > 0.15 * distance) & (gap < 1.5 * distance)]
        merit = -np.arange(len(candidates), dtype=float)
        return candidates[apart(candidates, 0.15 * distance, merit)]
