"""Positions fitted to a sample of the points (paper Eq. 8)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import Rank, box, make_problem, relaxed_ball, simulate
from states import state_of

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.stages.paper.fit_positions import (
    FitPositions,
    NegativeLogLikelihood,
    TrainingPoints,
    training_points,
)


def trained(stage, problem, state):
    """Which points a stage fitted positions to."""
    return stage(problem, state).given(TrainingPoints).mask


@pytest.mark.parametrize("ranks", [2, 3, 4, 50])
def test_the_split_does_not_depend_on_the_ranks(data, ranks):
    def drawn(rank, size):
        shard = local_shard(data, Rank(rank, size))
        mask = training_points(data, shard, 0.02, np.random.default_rng(5))
        assert mask.shape == shard.counts.shape
        return shard.global_index[mask]

    together = np.concatenate([drawn(r, ranks) for r in range(ranks)])
    np.testing.assert_array_equal(np.sort(together), np.sort(drawn(0, 1)))


@pytest.mark.parametrize("fraction", [0.005, 0.3])
def test_the_split_has_the_right_size_and_leaves_masked_points_out(data, fraction, rng):
    shard = local_shard(data, Communicator())
    mask = training_points(data, shard, fraction, rng)
    assert mask.sum() == round(fraction * shard.valid.sum())
    assert not (mask & ~shard.valid).any()


def test_the_split_is_fresh_in_each_iteration_and_handed_on(data):
    x = relaxed_ball(6.0)
    problem = make_problem(data, x=x)
    stage = FitPositions(fraction=0.05, iterations=1)
    masks = [trained(stage, problem, state_of(x, 1.9, iteration=i)) for i in (0, 1, 0)]
    np.testing.assert_array_equal(masks[0], masks[2])
    common = (masks[0] & masks[1]).sum() / masks[0].sum()
    assert common < 0.25


def test_the_split_draws_as_many_points_of_one_coarser_grid():
    """Where one suffices, and another one in other iterations."""
    x = relaxed_ball(6.0)
    data = simulate(x, points=24)
    stage = FitPositions(fraction=0.02, iterations=1)
    grids = set()
    for i in range(12):
        state = state_of(x, 1.9, iteration=i)
        problem = make_problem(data, box(14.0))
        found = np.flatnonzero(trained(stage, problem, state))
        assert np.isclose(len(found), 0.02 * problem.shard.valid.sum(), rtol=0.35)
        assert problem.shard.valid[found].all()
        shape = data.patches[0].shape
        parity = {tuple(np.array(np.unravel_index(k % np.prod(shape), shape)) % 2) for k in found}
        assert len(parity) == 1
        grids |= parity
        wide = np.flatnonzero(trained(stage, make_problem(data, box(60.0)), state))
        assert len(wide) == round(0.02 * problem.shard.valid.sum())
        whole = np.array([np.unravel_index(k % np.prod(shape), shape) for k in wide])
        assert (whole.min(axis=0) < whole.max(axis=0)).all()
        assert len({tuple(w % 2) for w in whole}) == 8
    assert len(grids) > 3
    # Nothing would be left to choose models by.
    many = trained(FitPositions(fraction=0.3, iterations=1), problem, state_of(x, 1.9))
    assert many.sum() == round(0.3 * problem.shard.valid.sum())


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_split_without_two_parts_is_refused(fraction):
    with pytest.raises(InputError, match=r"fit_positions\.fraction"):
        FitPositions(fraction=fraction)


def test_the_gradient_is_that_of_finite_differences(data, rng):
    x = relaxed_ball(6.0) + rng.normal(scale=0.1, size=relaxed_ball(6.0).shape)
    problem = make_problem(data)
    objective = NegativeLogLikelihood(problem, rng.random(problem.shard.size) < 0.1, 1.8)
    value, gradient = objective(x.ravel())
    q, shard = problem.factor.q, problem.shard
    used = np.zeros(shard.size, dtype=bool)
    used[objective._points] = True
    lam = np.abs(1.8 * direct_structure_factor(q, x)) ** 2
    assert value == pytest.approx(np.sum((lam - shard.counts * np.log(lam))[used]), rel=1e-9)
    for k in rng.integers(x.size, size=6):
        step = np.zeros(x.size)
        step[k] = 1e-4
        slope = (objective(x.ravel() + step)[0] - objective(x.ravel() - step)[0]) / 2e-4
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-6 * np.abs(gradient).max())


def test_masked_points_have_no_weight_in_the_fit(data):
    x = relaxed_ball(6.0)
    spoilt = [np.where(v, c, 1e7) for c, v in zip(data.counts, data.valid, strict=True)]
    other = replace(data, counts=spoilt)
    start = state_of(x + 0.05 * np.sin(7 * x), 1.7)
    results = [FitPositions(0.05, 3)(make_problem(d), start) for d in (data, other)]
    np.testing.assert_array_equal(results[0].positions, results[1].positions)
    assert results[0].model.scale == results[1].model.scale


def test_the_fit_improves_the_training_points_and_sets_the_scale(data):
    x = relaxed_ball(6.0)
    problem = make_problem(data)
    before = state_of(x + 0.1 * np.sin(5 * x), 1.9)
    after = FitPositions(0.05, 10)(problem, before)
    valid, counts = problem.shard.valid, problem.shard.counts
    omegas = [
        np.abs(direct_structure_factor(problem.factor.q, s.positions)) for s in (before, after)
    ]

    def likelihood(omega):
        lam = (1.9 * omega) ** 2
        return np.sum((counts * np.log(lam) - lam)[after.given(TrainingPoints).mask])

    assert likelihood(omegas[1]) > likelihood(omegas[0])
    omega = omegas[1][valid]
    assert after.model.scale == pytest.approx(np.sqrt(counts[valid]) @ omega / (omega @ omega))
