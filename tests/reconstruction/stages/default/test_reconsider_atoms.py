"""Doubtful atoms put in and taken out with their neighbours relaxed."""

from __future__ import annotations

import numpy as np
import pytest
from states import altered, judged_state
from vacancy_ball import LOW_SIGNAL, around, problem_of

from prammol.evaluation.metrics import evaluate
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.stages.default.reconsider_atoms import ReconsiderAtoms
from prammol.structure.atoms import Atoms


def wrong(x, truth):
    found = evaluate(Atoms(x, "Al"), Atoms(truth, "Al"))
    return found.n_missing, found.n_extra


@pytest.mark.parametrize("seed", [11, 12])
def test_a_vacancy_that_only_its_relaxed_surroundings_show_is_found(balls, seed):
    """At fixed positions the data don't pay for it, neighbours given way they do."""
    full, truth = balls
    problem = problem_of(truth, seed)
    state = judged_state(problem, full, LOW_SIGNAL)
    _, sites = around(problem, full)
    assert np.array_equal(sites.choose(sites.taken).taken, sites.taken)
    assert not CompleteAtoms()(problem, state).status.selected
    found = ReconsiderAtoms()(problem, state)
    assert found.status.selected
    assert (found.status.added, found.status.removed) == (0, 1)
    assert wrong(found.positions, truth) == (0, 0)


def test_the_best_set_of_lattice_sites_is_tried_without_minima_of_the_difference_map(balls):
    """With them it collapses when it is relaxed."""
    full, truth = balls
    problem = problem_of(truth, 10)
    state = judged_state(problem, full, LOW_SIGNAL)
    assert not CompleteAtoms()(problem, state).status.selected
    stage = ReconsiderAtoms(moves=0)
    assert wrong(stage(problem, state).positions, truth) == (0, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_is_left_alone(balls, seed):
    _, truth = balls
    problem = problem_of(truth, seed, scale=0.03)
    state = ReconsiderAtoms()(problem, judged_state(problem, truth, 0.03))
    assert not state.status.selected
    assert wrong(state.positions, truth) == (0, 0)


def test_nothing_is_done_where_something_else_is_wrong(balls):
    full, truth = balls
    problem = problem_of(truth, 11)
    state = judged_state(problem, full, LOW_SIGNAL)
    for other in (altered(state, selected=True), altered(state, explained=False)):
        assert ReconsiderAtoms()(problem, other) is other
    hardly_seen = problem_of(truth, 11, scale=0.01)
    state = judged_state(hardly_seen, full, 0.01)
    assert state.verdict.explained
    assert ReconsiderAtoms()(hardly_seen, state) is state
