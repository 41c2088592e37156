"""Change terraces and rows at edges until no change is likelier, each change relaxed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.relaxed_shapes import ShapeWalk
from prammol.reconstruction.setting_kinds import Checked, Count, Positive
from prammol.reconstruction.state import State
from prammol.reconstruction.verdict import judge

_LEAST = 0.5  # derived: a log-likelihood ratio that hardly counts


@dataclass(frozen=True)
class FitShape(Checked):
    """Change terraces and rows as long as that helps, then walk on; keep the likeliest shape.

    Attributes
    ----------
    changes : int
        Changes of a terrace, or of many rows, at most.
    terraces : int
        How many of the likeliest terraces are relaxed before it gives up.
    rows : int
        How many of the likeliest rows are relaxed.
    steps : int
        Shapes that the walk relaxes.
    proposals : int
        Proposals between two of them, at most.
    bond : float
        What a bond is worth as a log-likelihood, where a surface lacks some.
    significance : float
        The shape explains the data when the misfit exceeds what pure noise gives by less than
        this many standard deviations.
    """

    changes: Count = 20  # chosen: a limit that hardly binds; not varied
    terraces: Count = 8  # chosen: not varied
    rows: Count = 100  # chosen: Pt, 3266 atoms, the largest of five gains is among 100; not varied
    steps: Count = 6  # chosen: not varied
    proposals: Count = 2000  # chosen: not varied
    bond: Positive = 2.0  # chosen: not varied
    significance: Positive = 5.0  # derived: five standard deviations

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the likeliest shape met, once terraces and rows are right."""
        rng = problem.rng("fit shape", state.status.iteration)
        walk = ShapeWalk(problem, state.positions, self.bond, self.proposals, rng)
        first = walk.shape
        for _ in range(self.changes):
            if not (walk.improve(self.terraces) or walk.mend(self.rows)):
                break
        best = walk.shape
        for _ in range(self.steps):
            if walk.step() and walk.cost(walk.shape) < walk.cost(best) - _LEAST:
                best = walk.shape
        found = best.fit.positions
        change = len(found) - len(state.positions)
        if best is first:
            state = state.moved(found)
        else:
            state = state.changed(found, max(change, 0), max(-change, 0))
        omega = problem.factor.forward(found)
        model, verdict = judge(problem, state.model, omega, self.significance)
        return replace(state, model=model, verdict=verdict)
