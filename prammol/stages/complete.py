"""Complete the object: difference synthesis, occupancies, relaxation, acceptance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.alignment import align_strained
from prammol.difference import difference_map
from prammol.misfit import AmplitudeMisfit
from prammol.occupancies import fit_occupancies
from prammol.pull import pull
from prammol.scattering import StructureFactor
from prammol.spacing import apart
from prammol.state import Problem, State

# A log-likelihood ratio of exp(5): what chance hardly gives among some dozens of changes.
_NOISE = 5.0


@dataclass(frozen=True)
class Complete:
    """Add what the difference map shows and remove what it denies.

    Minima of the difference map become sites; their occupancies and those of the
    surface atoms are fitted together at fixed positions; sites above a threshold
    are atoms, LAMMPS relaxes the whole, and the result is kept if the misfit fell.
    If it didn't, or nothing changed, lower and higher thresholds are tried, then the
    data pull the atoms into other basins of the energy, then single changes are tried.

    Attributes
    ----------
    depth : float
        Minima deeper than this fraction of a whole atom become sites.
    thresholds : tuple of float
        Occupancies above which a site is an atom, tried in this order.
    singles : int
        How many single additions, removals and moves are tried when no threshold helps.
    nearly : float
        Pulling and single changes are tried only when the misfit is worth fewer missing
        atoms than this part of all.
    pulls : int
        L-BFGS iterations of all positions on the misfit plus `stiffness` times the energy.
    stiffness : float
        Weight of the energy in that [1/eV].
    iterations : int
        L-BFGS iterations of the occupancies.
    points : int
        Starting points of the search for minima, per atom of the surface.
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    final_tolerance : float
        The same for what has passed the first test: off the minimum the data may still be
        fitted a little better, again and again.
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    depth: float = 0.2
    thresholds: tuple[float, ...] = (0.5, 0.35, 0.65, 0.2, 0.8)
    singles: int = 16
    nearly: float = 0.1
    pulls: int = 30
    stiffness: float = 100.0
    iterations: int = 25
    points: int = 40
    force_tolerance: float = 1e-2
    final_tolerance: float = 1e-6
    epsilon: float = 1e-6

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state after one round; ``selected`` tells whether it changed."""
        factor = StructureFactor(problem.shard.patches, self.epsilon, problem.factor.threads)
        exact = AmplitudeMisfit(problem.shard, factor)
        x = state.positions
        omega = factor.forward(x)
        floor = exact.floor_for(omega, exact.scale(omega))
        misfit = AmplitudeMisfit(problem.shard, factor, floor=floor)
        # The floor changes which strain is best: compare like with like.
        x, value = align_strained(misfit, factor, x, x)
        sites, weights = self._weigh(problem, state, misfit, factor, x)
        was = np.arange(len(sites)) < len(x)
        tried = [was.tobytes()]
        # Swapping an atom for a site that relaxes to the same place gains next to nothing, and
        # the best of many changes gains something from the noise.
        gain = max(0.01 * misfit.cost_of_one(state.scale), _NOISE)

        def chosen(proposals: Iterator[NDArray[np.bool_]]) -> State | None:
            """The state of the first proposal that lowers the misfit."""
            for keep in proposals:
                if keep.tobytes() in tried:
                    continue
                tried.append(keep.tobytes())
                y = better(sites[keep], gain)
                if y is not None:
                    added, removed = int((keep & ~was).sum()), int((was & ~keep).sum())
                    return replace(state, positions=y, added=added, removed=removed, selected=True)
            return None

        def better(y: NDArray[np.float64], gain: float) -> NDArray[np.float64] | None:
            """Relaxed positions, if their misfit is lower: loosely relaxed and tightly, too."""
            for tolerance in (self.force_tolerance, self.final_tolerance):
                y, new = self._relaxed(problem, misfit, factor, y, tolerance)
                if new > value - gain:
                    return None
            return y

        distance = problem.cluster.potential.neighbour_distance
        found = chosen(self._all_at_once(sites, weights, distance))
        if found is None and state.wrong < self.nearly * len(x):
            pulled = pull(misfit, problem.cluster, x, self.stiffness, self.pulls)
            # Worth going on for: a tenth of what is left.
            y = better(pulled, 0.1 * state.wrong * misfit.cost_of_one(state.scale) + _NOISE)
            if y is not None:
                return replace(state, positions=y, selected=True)
            found = chosen(self._one_by_one(sites, weights, was, distance))
        return replace(state, positions=x) if found is None else found

    def _all_at_once(
        self, sites: NDArray[np.float64], weights: NDArray[np.float64], distance: float
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield the sites above each threshold; of close ones the heaviest."""
        for threshold in self.thresholds:
            keep = weights > threshold
            keep[keep] = apart(sites[keep], 0.6 * distance, weights[keep])
            yield keep

    def _one_by_one(
        self,
        sites: NDArray[np.float64],
        weights: NDArray[np.float64],
        was: NDArray[np.bool_],
        distance: float,
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield single additions, removals and moves, the most doubtful sites first."""
        doubt = np.where(was, 1.0 - weights, weights)
        tree = cKDTree(sites)
        for i in np.argsort(-doubt, kind="stable")[: self.singles]:
            keep = was.copy()
            if was[i]:
                keep[i] = False
            else:
                keep[tree.query_ball_point(sites[i], 0.6 * distance)] = False
                keep[i] = True
            yield keep

    def _relaxed(
        self,
        problem: Problem,
        misfit: AmplitudeMisfit,
        factor: StructureFactor,
        x: NDArray[np.float64],
        force_tolerance: float,
    ) -> tuple[NDArray[np.float64], float]:
        """Relax all atoms, turn and strain them as the data want; also return their misfit."""
        y, _, _ = problem.cluster.relax(x, force_tolerance=force_tolerance)
        return align_strained(misfit, factor, y, x)

    def _weigh(
        self,
        problem: Problem,
        state: State,
        misfit: AmplitudeMisfit,
        factor: StructureFactor,
        x: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return atoms and new sites, with the occupancies the data give them."""
        distance = problem.cluster.potential.neighbour_distance
        rng = problem.rng("complete", state.iteration)
        difference = difference_map(misfit, factor, problem.comm, x)
        surface = on_surface(x, distance, problem.cluster.potential.lattice.shells)
        sites, _ = difference.minima(
            x, x[surface], -self.depth, distance, rng, self.points * int(surface.sum())
        )
        free = surface | (np.abs(difference(x)) > self.depth)
        every = np.concatenate([x, sites])
        start = np.concatenate([np.ones(len(x)), np.zeros(len(sites))])
        free = np.concatenate([free, np.ones(len(sites), dtype=bool)])
        return every, fit_occupancies(misfit, every, start, free, self.iterations)


def on_surface(
    x: NDArray[np.float64], neighbour_distance: float, shells: float = 1.22
) -> NDArray[np.bool_]:
    """Tell which atoms have fewer neighbours than most within some neighbour distances."""
    count = cKDTree(x).query_ball_point(x, shells * neighbour_distance, return_length=True)
    return np.asarray(count < np.median(count))
