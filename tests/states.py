"""States of a reconstruction for tests of single stages."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.stages.default.phase_patches import SiteGuesses
from prammol.reconstruction.stages.paper.fit_positions import TrainingPoints
from prammol.reconstruction.stages.paper.generate_candidates import Candidates
from prammol.reconstruction.state import LoopStatus, State
from prammol.reconstruction.verdict import Verdict, judge

HANDED = {"candidates": Candidates, "training": TrainingPoints}

# Of preset default: one start, one iteration, and an end in two steps, for what won't converge.
BRIEF = {
    "max_iterations": 1,
    "starts": 1,
    "error_bars": False,
    "restrained_refinement.softness": (10.0, 1.0),
}


def state_of(x: NDArray[np.float64], scale: float, **known: Any) -> State:
    """Return the state of atoms, (n, 3) [Å], of which some more is known, see `altered`."""
    return altered(State.of(x, scale), **known)


def altered(state: State, **known: Any) -> State:
    """Return a state in which fields of its model, verdict and status have other values.

    Besides, `candidates` (m, 3) [Å] and `training`, a mask of points, are handed on.
    """
    for name, kind in (("model", Model), ("verdict", Verdict), ("status", LoopStatus)):
        mine = {f.name: known.pop(f.name) for f in fields(kind) if f.name in known}
        state = replace(state, **{name: replace(getattr(state, name), **mine)})
    for name, value in known.items():
        state = state.handing(HANDED[name](value))
    return state


def guessed(sites: NDArray[np.float64], occupancies: NDArray[np.float64]) -> State:
    """Return the state before sites, (n, 3) [Å], are chosen by guessed occupancies, (k, n)."""
    return State.empty().handing(SiteGuesses(sites, occupancies))


def judged_state(
    problem: Problem, x: NDArray[np.float64], scale: float, significance: float = 5.0
) -> State:
    """Return the state of atoms, (n, 3) [Å], with what the counts say about them."""
    model = Model(x, scale)
    model, verdict = judge(problem, model, model.structure_factor(problem.factor), significance)
    return State(model, verdict)
