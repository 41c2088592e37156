"""Complete the object: difference synthesis, flips, relaxation, acceptance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.quasi_likelihood import PoissonMisfit, honest_misfit
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.occupancy.site_selection import Choice, Sites
from prammol.reconstruction.problem import Problem, State
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.stages.default.acceptance import Acceptance
from prammol.reconstruction.subsampling import coarser
from prammol.structure.separation import TOO_CLOSE, apart
from prammol.structure.surface import on_surface
from prammol.structure.vacant_sites import vacant_sites

# Among thousands of places noise alone makes minima of three standard deviations.
_SIGMAS = 4.0
_TOGETHER = 3.0  # changes closer than this hang together [neighbour distances]


@dataclass(frozen=True)
class CompleteAtoms:
    """Add what the data and the bonds want, remove what they deny.

    Vacant sites of the lattice beside the object and minima of the difference map become
    candidates; the best set of atoms and candidates is found by flips at fixed positions
    (:mod:`prammol.reconstruction.occupancy.site_selection`); while the data contradict the object, also by fitting occupancies
    between 0 and 1. LAMMPS relaxes the whole, and the better one is kept if misfit and prior of
    bonds together fell. If they didn't, the flips are tried in groups of neighbours; then
    lower and higher thresholds of the occupancies; then the data pull the atoms into other
    basins of the energy; then, while the data contradict the object, single changes are tried.
    After an iteration that hardly lowered the misfit (`State.slow`) groups, thresholds and
    single changes are left out: what is wrong then isn't a matter of which atoms exist. Does
    nothing to a faint crystal, where the best set would follow the noise: see
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
    nearly : float
        Pulling and single changes are tried only when the misfit is worth fewer missing
        atoms than this part of all.
    pulls : int
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
        1e-4 that is worth less than a thousandth of an atom.
    epsilon : float
        Accuracy of the Fourier transforms.
    many : float
        While more atoms than this are wrong, first no more points are asked than tell the shape
        (:mod:`prammol.reconstruction.subsampling`), and all if these change nothing.
    """

    depth: float = 0.2
    groups: int = 8
    thresholds: tuple[float, ...] = (0.5, 0.35, 0.65, 0.2, 0.8)
    iterations: int = 15
    singles: int = 16
    nearly: float = 0.25
    pulls: int = 30
    stiffness: float = 100.0
    points: int = 40
    force_tolerance: float = 1e-2
    final_tolerance: float = 1e-4
    epsilon: float = 1e-5
    many: float = 10.0

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state after one round; ``selected`` tells whether it changed."""
        if state.selected:  # the stage before has done it
            return state
        fewer = coarser(problem) if state.wrong > self.many else problem
        if fewer is not problem:
            found = self._completed(fewer, state)
            if found.selected:
                return found
        return self._completed(problem, state)

    def _completed(self, problem: Problem, state: State) -> State:
        factor = problem.factor.with_accuracy(self.epsilon)
        x = state.positions
        omega = factor.forward(x)
        if is_low_signal(problem.shard, factor, omega):
            return state
        misfit = honest_misfit(problem.shard, factor, omega, len(x))
        # The floor changes which strain is best: compare like with like.
        x, value = align_strained(misfit, factor, x, x)
        distance = problem.cluster.potential.neighbour_distance
        reach = problem.cluster.potential.bond_reach
        sites = self._sites(problem, state, misfit, factor, x)
        was = np.arange(len(sites)) < len(x)
        surroundings = Sites(misfit, factor, problem.comm, sites, was, distance, reach)
        choice = surroundings.choose(was, depth=self.depth)
        one = misfit.cost_of_one(omega, state.scale)
        state = replace(state, positions=x)
        tolerances = (self.force_tolerance, self.final_tolerance)
        judge = Acceptance(
            problem, misfit, factor, choice.prior, state, sites, value, one, tolerances
        )
        proposals = [choice.taken]
        thresholds: list[NDArray[np.bool_]] = []
        if not state.explained:
            free = np.isfinite(choice.cost)
            weights = fit_occupancies(misfit, sites, was.astype(float), free, self.iterations)
            thresholds = list(self._above_thresholds(sites, weights, distance))
            proposals.append(thresholds[0])
        found = judge.best(proposals)
        stuck = not state.explained and state.slow
        if found is None and not stuck:
            found = judge.first(chain(self._in_groups(sites, choice, was, distance), thresholds))
        if found is None and state.wrong < self.nearly * len(x):
            pulled = restrained_fit(misfit, problem.cluster, x, self.stiffness, self.pulls)
            # Worth going on for: a tenth of what is left.
            y = judge.better(pulled, max(0.1 * state.wrong * one, judge.gain))
            if y is not None:
                return replace(state, positions=y, selected=True)
            if not stuck and not state.explained:
                found = judge.first(self._one_by_one(sites, choice, was, distance))
        return state if found is None else found

    def _in_groups(
        self,
        sites: NDArray[np.float64],
        choice: Choice,
        was: NDArray[np.bool_],
        distance: float,
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield the changes of the chosen set group by group, the largest group first."""
        changed = np.flatnonzero(choice.taken != was)
        if len(changed) == 0:
            return
        tree = cKDTree(sites[changed])
        near = tree.sparse_distance_matrix(tree, _TOGETHER * distance)
        _, label = connected_components(near, directed=False)
        size = np.bincount(label)
        for group in np.argsort(-size, kind="stable")[: self.groups]:
            keep = was.copy()
            keep[changed[label == group]] ^= True
            yield keep

    def _above_thresholds(
        self, sites: NDArray[np.float64], weights: NDArray[np.float64], distance: float
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield the sites above each threshold; of close ones the heaviest."""
        for threshold in self.thresholds:
            keep = weights > threshold
            keep[keep] = apart(sites[keep], TOO_CLOSE * distance, weights[keep])
            yield keep

    def _one_by_one(
        self,
        sites: NDArray[np.float64],
        choice: Choice,
        was: NDArray[np.bool_],
        distance: float,
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield single additions, removals and moves, the cheapest first."""
        tree = cKDTree(sites)
        for i in np.argsort(choice.cost, kind="stable")[: self.singles]:
            keep = was.copy()
            if was[i]:
                keep[i] = False
            else:
                keep[tree.query_ball_point(sites[i], TOO_CLOSE * distance)] = False
                keep[i] = True
            yield keep

    def _sites(
        self,
        problem: Problem,
        state: State,
        misfit: PoissonMisfit,
        factor: StructureFactor,
        x: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the atoms, then candidates: what the difference map wants, vacant sites."""
        potential = problem.cluster.potential
        distance = potential.neighbour_distance
        difference = difference_map(misfit, factor, problem.comm, x)
        surface = on_surface(x, potential.bond_reach)
        depth = max(self.depth, _SIGMAS / np.sqrt(difference.height))
        minima, _ = difference.minima(
            x,
            x[surface],
            -depth,
            distance,
            problem.rng("complete", state.iteration),
            self.points * int(surface.sum()),
        )
        vacant = vacant_sites(x, potential.bond_reach, distance)
        vacant, _ = problem.cluster.relax_adatoms(x, vacant)
        candidates = np.concatenate([minima, vacant])
        gap = cKDTree(x).query(candidates)[0]
        candidates = candidates[(gap > 0.15 * distance) & (gap < 1.5 * distance)]
        merit = -np.arange(len(candidates), dtype=float)
        return np.concatenate([x, candidates[apart(candidates, 0.15 * distance, merit)]])
