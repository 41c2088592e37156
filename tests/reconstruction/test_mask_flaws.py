"""Zingers in a reconstruction: masked before it by their brightness, in it by the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from small_crystal import make_problem, relaxed_ball, simulate

from prammol import evaluate, reconstruct
from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.detector_flaws import zingers
from prammol.diffraction.support import support_from_truth
from prammol.reconstruction.diagnosis import outstanding
from prammol.reconstruction.effects import Unexplained
from prammol.reconstruction.model import Model
from prammol.reconstruction.observer import Observer
from prammol.structure.atoms import Atoms

RADIUS = 6.5


@pytest.fixture(scope="module")
def spoilt():
    """Counts with 1 % zingers, faint and bright, and what each point has too many."""
    data, rng = simulate(relaxed_ball(RADIUS), points=18, scale=2.5), np.random.default_rng(4)
    more = [
        np.rint(rng.uniform(10, 1e4, c.shape)) * (rng.random(c.shape) < 0.01) for c in data.counts
    ]
    return replace(data, counts=[c + m for c, m in zip(data.counts, more, strict=True)]), more


def test_points_that_the_true_model_doesnt_explain_are_the_zingers(spoilt):
    data, more = spoilt
    x = relaxed_ball(RADIUS)
    bright = zingers(data)
    problem = make_problem(data, x=x).without(bright)
    found = outstanding(Unexplained(problem, Model(x, 2.5)))
    assert sum(int(p.sum()) for p in found) > 5
    for points, before, extra, counts in zip(found, bright, more, data.counts, strict=True):
        assert not (points & (before | (extra == 0))).any()
        deviation = extra / np.sqrt(counts - extra + 1.0)
        assert (points | before)[deviation > 20].all()


def test_a_problem_without_points_is_that_of_data_with_a_mask(spoilt):
    data, _ = spoilt
    points = [np.random.default_rng(k).random(p.shape) < 0.1 for k, p in enumerate(data.patches)]
    problem = make_problem(data).without(points)
    expected = local_shard(replace(data, valid=[~p for p in points]), Communicator())
    assert_array_equal(problem.shard.valid, expected.valid)
    assert_array_equal(problem.shard.counts, expected.counts)
    assert problem.calibration is None


class Kept(Observer):
    """Keeps what a run can be resumed from."""

    def __init__(self):
        self.made = []

    def iterated(self, state, history):
        self.made.append((state, list(history)))


def test_every_atom_is_found_and_a_resumed_run_masks_the_same(spoilt):
    data, _ = spoilt
    x = relaxed_ball(RADIUS)
    support = support_from_truth(Atoms(x, "Al"))
    settings = {"mask_flaws": True, "error_bars": False, "starts": 1}
    kept = Kept()
    found = reconstruct(data, support, seed=1, settings=settings, observer=kept)
    assert found.converged
    metrics = evaluate(found.atoms, Atoms(x, "Al"))
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.mae_pm < 1.0
    assert found.history[-1]["outliers"] > 5
    again = reconstruct(data, support, seed=1, settings=settings, resume=kept.made[-2])
    assert_array_equal(again.atoms.positions, found.atoms.positions)
    assert again.history[-1]["outliers"] == found.history[-1]["outliers"]
