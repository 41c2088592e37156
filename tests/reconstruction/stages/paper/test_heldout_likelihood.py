"""Samples of the held-out points sum to what all points do."""

from __future__ import annotations

import numpy as np
import pytest
from candidates import SCALE, WIDE, likelihood
from states import state_of

from prammol.reconstruction.stages.paper.cross_validate import CrossValidate
from prammol.reconstruction.stages.paper.heldout_likelihood import HeldOutPoints


def test_samples_sum_to_what_all_points_do(few, rng):
    """Mean and number over many draws; points that don't count are never drawn."""
    sites, problem = few
    q, counts = problem.factor.q, problem.shard.counts
    points = rng.random(problem.shard.size) < 0.7
    held_out = HeldOutPoints(problem, points, SCALE)
    omega, after = problem.factor.forward(sites[1:9]), problem.factor.forward(sites[:8])
    exact = likelihood(q, counts, sites[:8], points=points) - likelihood(
        q, counts, sites[1:9], points=points
    )
    assert held_out.gain(omega, after) == pytest.approx(exact, rel=1e-6)
    old, new = (np.abs(SCALE * f) ** 2 for f in (omega, after))
    share = counts * np.log(new / old) - (new - old)
    samples = np.array([held_out.sample(omega, 0.1, rng) for _ in range(300)])
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
