"""Model selection: the best of all subsets, and which points may vote."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from candidates import NARROW, SCALE, likelihood
from small_crystal import Rank, box, fcc_ball, make_problem, relaxed_ball, simulate
from states import altered, state_of

from prammol.reconstruction.stages.paper.cross_validate import CrossValidate
from prammol.reconstruction.stages.paper.fit_positions import (
    NegativeLogLikelihood,
)
from prammol.reconstruction.stages.paper.generate_candidates import Candidates
from prammol.reconstruction.stages.paper.heldout_likelihood import HeldOutPoints


def wrong_ball(rng, support):
    """A ball of atoms, a problem with its counts, and a state in which 65 positions are wrong."""
    x = fcc_ball(9.0) + rng.normal(0, 0.05, fcc_ball(9.0).shape)
    problem = make_problem(simulate(x, points=30), support)
    rng.shuffle(x)
    wrong = x[:25] + rng.normal(0, 0.8, (25, 3))
    return x, problem, state_of(np.concatenate([x[40:], wrong]), 1.9, candidates=x[:40])


@pytest.mark.parametrize("support", [box(60.0), box(18.0)], ids=["samples", "thinned"])
def test_few_points_change_nothing_of_the_final_choice(rng, asked, support):
    """Wherever they led, all points find nothing better in the end; and they spare work."""
    x, problem, state = wrong_ball(rng, support)
    after = CrossValidate(little=0.0)(problem, state)
    assert asked[0] < 0.2 * asked[-1] == 0.2 * problem.shard.size
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, x))
    again = CrossValidate(part=1.0)(problem, altered(after, selected=False))
    assert not again.status.selected


@pytest.mark.parametrize("support", [box(60.0), box(18.0)], ids=["samples", "thinned"])
def test_small_gains_on_few_points_are_left_to_the_next_iteration(rng, asked, support):
    _, problem, state = wrong_ball(rng, support)
    # Each walk but the first gains less than this part of all: three walks.
    after = CrossValidate(little=1.0)(problem, state)
    assert after.status.selected
    assert max(asked) < 0.2 * problem.shard.size
    asked.clear()
    whole = CrossValidate(little=0.0)(problem, state)
    assert after.status.added + after.status.removed < whole.status.added + whole.status.removed
    slow = CrossValidate(part=1.0, little=1.0)(problem, state)
    assert slow.status.added + slow.status.removed < whole.status.added + whole.status.removed
    # Nothing to gain: that isn't little, all points are asked.
    asked.clear()
    CrossValidate(little=1.0)(problem, altered(whole, selected=False))
    assert max(asked) == problem.shard.size


@pytest.mark.parametrize("support", [box(60.0), box(18.0)], ids=["samples", "thinned"])
def test_all_points_are_asked_only_after_few_changes(rng, asked, support):
    x, problem, state = wrong_ball(rng, support)
    # Walks that gain nothing more; sixty changes: the positions are to follow first.
    after = CrossValidate(little=1e-300)(problem, state)
    assert after.status.added + after.status.removed > 50
    assert max(asked) < 0.2 * problem.shard.size
    asked.clear()
    nearly = state_of(x[4:], state.model.scale, candidates=x[:4])
    after = CrossValidate(little=1e-300)(problem, nearly)
    assert (after.status.added, after.status.removed) == (4, 0)
    assert max(asked) == problem.shard.size


def test_a_change_on_a_sample_is_kept_only_if_all_points_agree(rng, monkeypatch):
    x, problem, state = wrong_ball(rng, box(60.0))
    drawn = []
    sample = HeldOutPoints.sample
    monkeypatch.setattr(HeldOutPoints, "sample", lambda *a: drawn.append(0) or sample(*a))
    CrossValidate(little=0.0)(problem, state)
    assert len(drawn) > 2
    drawn.clear()
    monkeypatch.setattr(HeldOutPoints, "gain", lambda *a: -1.0)
    after = CrossValidate(little=0.0)(problem, state)
    assert len(drawn) == 1
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, x))


@pytest.mark.parametrize("few", [NARROW], indirect=True)
def test_points_of_a_coarser_grid_that_were_fitted_do_not_vote(few, rng, monkeypatch):
    sites, problem = few
    training = rng.random(problem.shard.size) < 0.3
    votes = []
    start = HeldOutPoints.__init__

    def note(held_out, asked, points, scale):
        votes.append(asked.shard.global_index[points])
        fitted = training[asked.shard.global_index[~points]]
        assert fitted.all()
        start(held_out, asked, points, scale)

    monkeypatch.setattr(HeldOutPoints, "__init__", note)
    CrossValidate()(problem, state_of(sites[:8], SCALE, candidates=sites[8:], training=training))
    assert not any(training[v].any() for v in votes)
    assert sorted(len(v) < 0.2 * problem.shard.size for v in votes) == [False, True]


def test_selection_finds_the_best_of_all_subsets(few):
    sites, problem = few
    q, counts = problem.factor.q, problem.shard.counts
    # Two atoms are missing from the object, two of its ten positions are wrong.
    state = state_of(sites[[0, 1, 2, 3, 4, 5, 8, 9]], SCALE, candidates=sites[[6, 7, 10, 11]])
    pool = np.concatenate([state.positions, state.given(Candidates).positions])
    subsets = [np.array(s) for s in product([False, True], repeat=len(pool)) if any(s)]
    best = max(subsets, key=lambda s: likelihood(q, counts, pool[s]))
    after = CrossValidate()(problem, state)
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, pool[best]))
    assert (after.status.added, after.status.removed, after.status.selected) == (2, 2, True)
    assert len(after.given(Candidates).positions) == 4
    assert after.model.scale == state.model.scale


def test_right_atoms_are_left_alone(few):
    sites, problem = few
    state = state_of(sites[:8], SCALE, candidates=sites[8:])
    after = CrossValidate()(problem, state)
    assert (after.status.added, after.status.removed, after.status.selected) == (0, 0, False)
    np.testing.assert_array_equal(after.positions, sites[:8])


@pytest.mark.parametrize("part", [0.3, 0.6])
def test_training_and_masked_points_do_not_vote(few, rng, part):
    sites, problem = few
    training = rng.random(problem.shard.size) < 0.3
    masked = (rng.random(problem.shard.size) < part) & ~training
    blind = training | masked
    spoilt = problem.shard.counts.copy()
    spoilt[blind] = 1e6
    new = state_of(sites[[0, 1, 2, 3, 4, 5, 8]], SCALE, candidates=sites[[6, 7, 9]])
    state = altered(new, training=training)
    shard = replace(problem.shard, counts=spoilt, valid=~masked)
    after = CrossValidate()(replace(problem, shard=shard), state)
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, sites[:8]))
    # The same counts with the blind points seen: they do change the choice.
    seen = replace(problem, shard=replace(shard, valid=np.ones_like(masked)))
    other = CrossValidate()(seen, new)
    assert sorted(map(tuple, other.positions)) != sorted(map(tuple, sites[:8]))


def test_an_empty_object_can_be_filled(few):
    sites, problem = few
    state = state_of(np.empty((0, 3)), SCALE, candidates=sites)
    assert CrossValidate()(problem, state).status.added > 0


def test_a_rank_without_points_takes_part(data):
    x = relaxed_ball(6.0)
    problem = make_problem(data, comm=Rank(99, 100), cluster=False)
    assert problem.shard.size == 0
    value, gradient = NegativeLogLikelihood(problem, problem.shard.valid, 1.9)(x.ravel())
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(x.size))
    after = CrossValidate()(problem, state_of(x[1:], 1.9, candidates=x[:1]))
    np.testing.assert_array_equal(after.positions, x[1:])
