"""The score test of single atoms: false alarms, and how small a shift is told."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.likelihood.fisher_information import Fisher
from prammol.reconstruction.refinement.score_test import misplaced

SEEDS = range(10)


def test_noise_alone_moves_no_atom():
    """One false alarm in a hundred objects is asked for: two in ten would be rare."""
    x = relaxed_ball(8.5)
    alarms = sum(
        misplaced(make_problem(simulate(x, points=24, scale=0.5, seed=s), x=x), x).any()
        for s in SEEDS
    )
    assert alarms <= 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_misplaced_atom_is_told_and_how_far(seed):
    truth = relaxed_ball(8.5)
    problem = make_problem(simulate(truth, points=24, scale=0.5, seed=seed), x=truth)
    rng = np.random.default_rng(seed)
    j = int(rng.integers(len(truth)))
    x, off = truth.copy(), rng.normal(size=3)
    off *= 0.15 / np.linalg.norm(off)
    x[j] += off
    shift = misplaced(problem, x)
    assert int(np.argmax(np.linalg.norm(shift, axis=1))) == j
    assert np.linalg.norm(shift[j] + off) < 0.05


def test_an_atom_is_told_misplaced_from_twice_the_threshold_on():
    """z is 45 + 3 on average, and among 100 to 200 atoms chi-squared of three has 1 % at 22."""
    truth = relaxed_ball(8.5)
    told = 0
    for seed in SEEDS:
        problem = make_problem(simulate(truth, points=24, scale=0.5, seed=seed), x=truth)
        j = int(np.random.default_rng(seed).integers(len(truth)))
        block = Fisher(problem.shard, problem.factor, truth, 0.5).blocks()[j]
        off = np.array([1.0, 0.0, 0.0]) * np.sqrt(45 / block[0, 0])
        x = truth.copy()
        x[j] += off
        told += bool(misplaced(problem, x)[j].any())
    assert told >= 7
