"""Which atoms exist: cross-validation over subsets of atoms (paper Fig. 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prammol.ranking import single_atom_gains
from prammol.scattering import StructureFactor
from prammol.stages.held_out_points import HeldOutPoints
from prammol.stages.walk import Cell, Walk
from prammol.state import Problem, State

# The ranking only sorts, and samples are rougher anyway: single precision.
_ROUGH = 1e-5
_SURE = 1000.0  # photons one atom alone scatters into a sample that may decide
_MOVES = [(a, b) for a in (1, 0, -1) for b in (1, 0, -1) if (a, b) != (0, 0)]


@dataclass(frozen=True)
class Select:
    """Remove and add atoms while the likelihood of the held-out points grows (Algorithm 1, 7-14).

    Atoms in the object and positions outside it are each sorted by their effect on
    the likelihood of the points that were not used to fit the positions. A walk on
    the grid (atoms removed, atoms added) then finds how many to change. An atom that
    was removed is a position outside the object from then on, and both are sorted
    again until nothing changes. C is held.

    The first walks, with hundreds of changes, ask a sample of the points, a new one each,
    if one atom scatters a thousand photons into it. What they change is kept if the likelihood
    of all points grows; otherwise all are asked from then on.

    Attributes
    ----------
    terms : int
        Terms of the series that ranks the atoms (:mod:`prammol.ranking`); one is enough until
        nothing changes.
    tolerance : float
        Smallest improvement to take, in units of the photons one atom alone
        scatters into the points; it only has to exceed the rounding of the sums.
    max_rounds : int
        Most repetitions of sorting and walking; they end by themselves well before.
    part : float
        Part of the points for the first walks; 1 for all.
    """

    terms: int = 3
    tolerance: float = 1e-4
    max_rounds: int = 1000
    part: float = 0.125

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the selected atoms and their changes counted."""
        points = problem.shard.valid
        if state.training is not None:
            points = points & ~state.training
        judge = HeldOutPoints(problem, points, state.scale)
        least = self.tolerance * judge.photons_per_atom
        # All positions there are; the object is a set of numbers of them.
        pool = np.concatenate([state.positions, state.candidates])
        held = len(state.positions)
        inside = np.arange(len(pool)) < held
        sampled = judge.number * self.part
        samples = self.part < 1 and sampled >= len(pool) and state.scale**2 * sampled >= _SURE
        rng = problem.rng("select", state.iteration)
        rough = StructureFactor(problem.factor.patches, _ROUGH, problem.factor.threads)
        terms = 1
        omega = problem.factor.forward(pool[inside])
        for _ in range(self.max_rounds):
            gains = single_atom_gains(
                rough, omega, problem.shard.counts, points, state.scale, pool, inside,
                problem.comm, terms, problem.shard.background,
            )  # fmt: skip
            order = np.argsort(-gains, kind="stable")
            leave, enter = order[inside[order]], order[~inside[order]]
            votes = judge.sample(omega, self.part, rng) if samples else points
            walk = Walk(problem, votes, omega, state.scale, pool[leave], pool[enter], samples)
            removed, added = grid_search((len(leave), len(enter)), walk.gains, least)
            changed = inside.copy()
            changed[leave[:removed]] = False
            changed[enter[:added]] = True
            better, after = removed + added > 0, omega
            if better and samples:
                after = rough.forward(pool[changed])
                better = judge.gain(omega, after) > least
            elif better:
                after = walk.field((removed, added))
            if better:
                inside, omega = changed, after
            elif samples:
                samples = False
                omega = problem.factor.forward(pool[inside])
            elif terms < self.terms:
                terms = self.terms
            else:
                break
        new, lost = int(inside[held:].sum()), int((~inside[:held]).sum())
        return replace(
            state,
            positions=pool[inside],
            candidates=pool[~inside],
            added=state.added + new,
            removed=state.removed + lost,
            selected=state.selected or new + lost > 0,
        )


def grid_search(
    size: Cell, gains: Callable[[Cell, Sequence[Cell]], Sequence[float]], tolerance: float = 0.0
) -> Cell:
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
    (int, int)
        Atoms to remove and atoms to add.
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
            return here
        here = best
