"""Which atoms exist: cross-validation over subsets of atoms (paper Fig. 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.atom_gains import RANKING_ACCURACY, single_atom_gains
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.setting_kinds import Checked, Count, NonNegative, Part
from prammol.reconstruction.stages.paper.fit_positions import TrainingPoints
from prammol.reconstruction.stages.paper.generate_candidates import Candidates
from prammol.reconstruction.stages.paper.grid_likelihood import Cell, GridLikelihood
from prammol.reconstruction.stages.paper.heldout_likelihood import HeldOutPoints
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import coarser, places_in

# chosen: 3 % of counting noise; not varied
_SURE = 1000.0  # photons one atom alone scatters into a sample that may decide
# chosen: vacancy crystal, one seed; 1 ends too early
_ENOUGH = 2  # walks in a row that gained little
# chosen: vacancy crystal, 1e18, one seed; spread not recorded
_MANY = 10  # atoms changed by few points, after which the positions are to follow first
_MOVES = [(a, b) for a in (1, 0, -1) for b in (1, 0, -1) if (a, b) != (0, 0)]


@dataclass(frozen=True)
class CrossValidate(Checked):
    """Remove and add atoms while the likelihood of the held-out points grows (Algorithm 1, 7-14).

    Atoms in the object and positions outside it are each sorted by their effect on
    the likelihood of the points that were not used to fit the positions. A walk on
    the grid (atoms removed, atoms added) then finds how many to change. An atom that
    was removed is a position outside the object from then on, and both are sorted
    again until nothing changes. C is held.

    The first walks, with hundreds of changes, ask no more points than tell the shape
    (:mod:`prammol.reconstruction.subsampling`), by a random one of their grids. Where no points
    are to spare they ask a sample, a new one each, if one atom scatters a thousand photons into
    it; what they change is then kept if the likelihood of all points grows. When these walks
    changed hardly anything, all points are asked. Otherwise, and as soon as walks gain hardly
    anything, the iteration is left: the positions are to follow first.

    Attributes
    ----------
    terms : int
        Terms of the series that ranks the atoms (:mod:`prammol.likelihood.atom_gains`); one is
        enough until nothing changes.
    tolerance : float
        Smallest improvement to take, in units of the photons one atom alone
        scatters into the points; it only has to exceed the rounding of the sums.
    max_rounds : int
        Most repetitions of sorting and walking; they end by themselves well before.
    part : float
        Part of the points in a sample; 1 for all points in all walks.
    little : float
        Part of what all walks gained, below which two in a row are the last ones; 0 to go on
        until nothing changes.
    """

    terms: Count = 3  # chosen: not varied
    tolerance: NonNegative = 1e-4  # derived: above the rounding of single precision sums
    max_rounds: Count = 1000  # derived: a limit that doesn't bind
    # chosen: vacancy crystal, seeds 1 and 2; a twentieth and a fiftieth are slower
    part: Part = 0.125
    # chosen: vacancy crystal, one seed; at 0.03 and 0.01 161 and 14 atoms are wrong, at 0.003 8
    little: NonNegative = 0.003

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the selected atoms and their changes counted."""
        # All positions there are; the object is a set of numbers of them.
        proposed = state.given(Candidates) or Candidates(np.empty((0, 3)))
        pool = np.concatenate([state.positions, proposed.positions])
        held = len(state.positions)
        inside = np.arange(len(pool)) < held
        rng = problem.rng("select", state.status.iteration)
        asked = self._asked(problem, state, len(pool), rng)
        gained = 0.0
        for k, (judge, part) in enumerate(asked):
            few = k + 1 < len(asked)
            before = inside
            inside, gained, settled = self._walked(judge, part, few, pool, inside, gained, rng)
            many = few and self.little > 0 and np.count_nonzero(inside != before) > _MANY
            if many or not settled:
                break
        new, lost = int(inside[held:].sum()), int((~inside[:held]).sum())
        if new + lost == 0:
            return state
        return state.changed(pool[inside], new, lost).handing(Candidates(pool[~inside]))

    def _asked(
        self, problem: Problem, state: State, positions: int, rng: np.random.Generator
    ) -> list[tuple[HeldOutPoints, float]]:
        """Return the points to ask one after the other, and which part of them at a time."""
        every = HeldOutPoints(problem, held_out(problem, state), state.model.scale)
        if self.part >= 1:
            return [(every, 1.0)]
        fewer = coarser(problem, rng)
        if fewer is not problem:
            where = places_in(problem.shard, fewer.shard)
            judge = HeldOutPoints(fewer, every.points[where], state.model.scale)
            return [(judge, 1.0), (every, 1.0)]
        sampled = every.number * self.part
        if sampled >= positions and state.model.scale**2 * sampled >= _SURE:
            return [(every, self.part), (every, 1.0)]
        return [(every, 1.0)]

    def _walked(
        self,
        judge: HeldOutPoints,
        part: float,
        few: bool,
        pool: NDArray[np.float64],
        inside: NDArray[np.bool_],
        gained: float,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.bool_], float, bool]:
        """Sort and walk until nothing changes or little is gained.

        Return the object, what all walks so far gained for each point, and whether nothing
        changed in the end.
        """
        problem, least = judge.problem, self.tolerance * judge.photons_per_atom
        rough = problem.factor.with_accuracy(RANKING_ACCURACY)
        factor, most = (rough, 1) if few else (problem.factor, self.terms)
        terms, idle = 1, 0
        omega = factor.forward(pool[inside])
        for _ in range(self.max_rounds):
            gains = single_atom_gains(
                problem.shard, rough, omega, judge.points, judge.scale, pool, inside, terms
            )
            order = np.argsort(-gains, kind="stable")
            leave, enter = order[inside[order]], order[~inside[order]]
            votes = judge.sample(omega, part, rng) if part < 1 else judge.points
            walk = GridLikelihood(
                problem, votes, omega, judge.scale, pool[leave], pool[enter], part < 1
            )
            cell, gain = grid_search((len(leave), len(enter)), walk.gains, least)
            changed = inside.copy()
            changed[leave[: cell[0]]] = False
            changed[enter[: cell[1]]] = True
            if part < 1 and gain > 0:
                after = rough.forward(pool[changed])
                gain = judge.gain(omega, after)
            elif gain > 0:
                after = walk.field(cell)
            if gain > least:
                inside, omega = changed, after
                # For each point, since few of them gain less than all do.
                gained += gain / judge.number
                idle = idle + 1 if gain / judge.number < self.little * gained else 0
                if idle == _ENOUGH:
                    return inside, gained, False
            elif terms < most:
                terms = most
            else:
                break
        return inside, gained, True


def held_out(problem: Problem, state: State) -> NDArray[np.bool_]:
    """Return which of this rank's points positions weren't fitted to, (m,)."""
    valid = problem.shard.valid
    training = state.given(TrainingPoints)
    return valid if training is None else valid & ~training.mask


def grid_search(
    size: Cell, gains: Callable[[Cell, Sequence[Cell]], Sequence[float]], tolerance: float = 0.0
) -> tuple[Cell, float]:
    """Walk on a grid, each step to the best of the eight neighbours, until staying is best.

    Parameters
    ----------
    size : (int, int)
        Atoms that can be removed and atoms that can be added; the walk starts at (0, 0).
    gains : callable
        ``gains(here, cells)`` returns the log-likelihood of cells next to `here`,
        counted from that of (0, 0). Each cell is asked for once.
    tolerance : float
        Smallest improvement that is worth a step.

    Returns
    -------
    cell : (int, int)
        Atoms to remove and atoms to add.
    gain : float
        Its log-likelihood.
    """
    here = (0, 0)
    known: dict[Cell, float] = {here: 0.0}
    while True:
        cells = [(here[0] + a, here[1] + b) for a, b in _MOVES]
        cells = [c for c in cells if 0 <= c[0] <= size[0] and 0 <= c[1] <= size[1]]
        new = [c for c in cells if c not in known]
        if new:
            known.update(zip(new, gains(here, new), strict=True))
        best = max(cells, key=known.__getitem__, default=here)
        if known[best] <= known[here] + tolerance:
            return here, known[here]
        here = best
