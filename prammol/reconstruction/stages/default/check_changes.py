"""Does a change of a single atom explain more than the object does?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from prammol.reconstruction.occupancy.element_swaps import (
    elements_are_seen,
    gain_of_swaps,
)
from prammol.reconstruction.occupancy.single_changes import single_changes
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.score_test import gain_of_moves
from prammol.reconstruction.setting_kinds import Checked
from prammol.reconstruction.state import State


@dataclass(frozen=True)
class CheckChanges(Checked):
    """Look for a single change that lowers the misfit beyond noise.

    Additions, removals, exchanges, moves, and other elements. Where there is one the object isn't
    right, though the counts as a whole don't contradict it, and the reconstruction goes on
    (:mod:`prammol.reconstruction.occupancy.single_changes`,
    :mod:`prammol.reconstruction.occupancy.element_swaps`,
    :mod:`prammol.reconstruction.refinement.score_test`). Does nothing while the counts contradict
    the object anyway. Atoms stay what they are. Where the counts don't see which element an atom
    has, the reconstruction isn't converged.

    Attributes
    ----------
    enabled : bool
        Whether it is done.
    """

    enabled: bool = True

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with what the best single change would gain in its verdict."""
        verdict = state.verdict
        if not self.enabled or verdict.checked or not verdict.explained:
            return state
        best = single_changes(problem, state.model).best
        gain = 0.0 if best is None else best.gain
        gain = max(gain, gain_of_swaps(problem, state.model))
        if gain == 0 and not len(state.model.displacements):
            gain = gain_of_moves(problem, state.positions)
        verdict = verdict.with_better(gain)
        if verdict.converged and not elements_are_seen(problem, state.model):
            verdict = replace(verdict, converged=False)
        return replace(state, verdict=verdict)
