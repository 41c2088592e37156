"""Samples of the held-out points sum to what all points do."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from small_crystal import box, make_problem
from states import state_of

from prammol.diffraction.bragg_patch import cubic_patch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.stages.paper.cross_validate import CrossValidate
from prammol.reconstruction.stages.paper.heldout_likelihood import HeldOutPoints

SCALE = 3.0

PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


def likelihood(q, counts, x, scale=SCALE, points=slice(None)):
    """Eq. 6 by direct summation."""
    lam = np.abs(scale * direct_structure_factor(q, x)) ** 2
    return np.sum((counts * np.log(lam) - lam)[points])


WIDE, NARROW = box(45.0), box(9.0)  # points to spare: none, seven of eight


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def few(rng, request):
    """A dozen positions well apart, eight of them atoms, and a problem with their counts."""
    sites = np.array(list(product(range(3), range(2), range(2))), dtype=float) * 3.1
    sites += rng.normal(scale=0.2, size=sites.shape)
    rng.shuffle(sites)
    patches = [cubic_patch(p, 0.5, 13, 4.05) for p in PEAKS]
    counts = [
        rng.poisson(np.abs(SCALE * direct_structure_factor(p.q(), sites[:8])) ** 2)
        .reshape(p.shape)
        .astype(float)
        for p in patches
    ]
    return sites, make_problem(Diffraction(patches, counts), request.param)


def test_samples_sum_to_what_all_points_do(few, rng):
    """Mean and number over many draws; points that don't count are never drawn."""
    sites, problem = few
    q, counts = problem.factor.q, problem.shard.counts
    points = rng.random(problem.shard.size) < 0.7
    judge = HeldOutPoints(problem, points, SCALE)
    omega, after = problem.factor.forward(sites[1:9]), problem.factor.forward(sites[:8])
    exact = likelihood(q, counts, sites[:8], points=points) - likelihood(
        q, counts, sites[1:9], points=points
    )
    assert judge.gain(omega, after) == pytest.approx(exact, rel=1e-6)
    old, new = (np.abs(SCALE * f) ** 2 for f in (omega, after))
    share = counts * np.log(new / old) - (new - old)
    samples = np.array([judge.sample(omega, 0.1, rng) for _ in range(300)])
    assert not samples[:, ~points].any()
    number = np.mean((samples > 0).sum(axis=1)) / points.sum()
    assert 0.08 < number < 0.102  # none is drawn twice
    sums = samples @ share
    assert abs(sums.mean() - exact) < 4 * sums.std() / np.sqrt(300)
    even = np.array([(rng.random(len(points)) < 0.1) * points / 0.1 for _ in range(300)]) @ share
    assert sums.std() < 0.7 * even.std()


@pytest.mark.parametrize("few", [WIDE], indirect=True)
def test_few_photons_are_not_sampled(few, monkeypatch):
    sites, problem = few
    monkeypatch.setattr(HeldOutPoints, "sample", lambda *a: pytest.fail("a sample"))
    CrossValidate()(problem, state_of(sites[:8], 0.5, candidates=sites[8:]))
    CrossValidate(part=1.0)(problem, state_of(sites[:8], SCALE, candidates=sites[8:]))
    with pytest.raises(pytest.fail.Exception):
        CrossValidate()(problem, state_of(sites[:8], SCALE, candidates=sites[8:]))
