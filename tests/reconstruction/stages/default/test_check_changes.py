"""A run isn't converged while a change of one atom would explain more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate
from states import altered, judged_state

from prammol.reconstruction.presets import get_preset
from prammol.reconstruction.stages.default.check_changes import CheckChanges
from prammol.reconstruction.stopping import SINGLE_CHANGE, reason_to_stop


@pytest.fixture(scope="module")
def problem():
    x = relaxed_ball(8.5)
    problem = make_problem(simulate(x), x=x, cluster=True)
    yield problem
    problem.cluster.close()


def test_the_right_atoms_stay_converged(problem):
    state = judged_state(problem, relaxed_ball(8.5), 1.9)
    checked = CheckChanges()(problem, state)
    assert state.verdict.converged
    assert checked.verdict == replace(state.verdict, checked=True)
    assert CheckChanges()(problem, checked) is checked
    assert checked.verdict.right
    assert checked.model is state.model


@pytest.mark.parametrize("damage", ["removed", "added", "moved"])
def test_a_damaged_crystal_is_not_whatever_the_misfit_says(problem, damage):
    x = relaxed_ball(8.5)
    k = int(np.linalg.norm(x, axis=1).argmax())
    if damage == "removed":
        y = np.delete(x, k, axis=0)
    elif damage == "added":
        y = np.concatenate([x, x[k : k + 1] * 1.28])
    else:
        y = x.copy()
        y[k] += 0.3 * np.array([0.6, 0.0, 0.8])
    state = judged_state(problem, y, 1.9)
    blind = altered(state, explained=True, converged=True, excess=3.0)
    checked = CheckChanges()(problem, blind)
    assert checked.verdict.better > 20
    assert not checked.verdict.converged
    assert not checked.verdict.right
    plan = get_preset("default")
    assert reason_to_stop(plan, checked, 0, stalled=False) == ""
    assert reason_to_stop(plan, checked, 1, stalled=False) == SINGLE_CHANGE
    assert reason_to_stop(plan, blind, 1, stalled=False) == "converged"


def test_what_the_counts_contradict_anyway_is_not_checked(problem):
    state = judged_state(problem, relaxed_ball(8.5), 1.9)
    state = altered(state, explained=False, converged=False)
    assert CheckChanges()(problem, state) is state
    right = judged_state(problem, relaxed_ball(8.5), 1.9)
    assert replace(CheckChanges(), enabled=False)(problem, right) is right
