"""Sampling of sets of sites: against the sum over all sets."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from prammol.reconstruction.occupancy import gibbs_sampling
from prammol.reconstruction.occupancy.gibbs_sampling import heat_bath, sample_sets


def quadratic(seed, sites=7, depth=1.5):
    rng = np.random.default_rng(seed)
    curvature = rng.normal(size=(sites, sites))
    curvature = curvature + curvature.T + 4.0 * np.eye(sites)
    taken = rng.random(sites) < 0.5
    return taken, depth * rng.normal(size=sites), curvature


def exact(taken, slope, curvature):
    """Marginals and mean number by the sum over all sets."""
    sets = np.array(list(product([0.0, 1.0], repeat=len(taken))))
    d = sets - taken
    energy = d @ slope + 0.5 * np.einsum("ki,ij,kj->k", d, curvature, d)
    p = np.exp(-(energy - energy.min()))
    p /= p.sum()
    number = sets.sum(axis=1)
    return p @ sets, p @ number


@pytest.fixture
def flips(monkeypatch):
    """The sites that the chain has flipped, in order."""
    made = []
    flip = gibbs_sampling.flip
    monkeypatch.setattr(gibbs_sampling, "flip", lambda i, *rest: made.append(i) or flip(i, *rest))
    return made


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("exchanges", [False, True])
def test_marginals_are_those_of_the_sum_over_all_sets(seed, exchanges, flips):
    taken, slope, curvature = quadratic(seed)
    all_pairs = np.array([(i, j) for i in range(7) for j in range(i)])
    pairs = all_pairs if exchanges else np.empty((0, 2), dtype=int)
    rng = np.random.default_rng(seed)
    found = sample_sets(taken, slope, csr_matrix(curvature), pairs, rng, 10_000.0)
    occupied, mean = exact(taken, slope, curvature)
    assert found == pytest.approx(occupied, abs=0.03)
    assert found.sum() == pytest.approx(mean, abs=0.08)
    assert len(flips) > 1000


def test_a_sharp_distribution_needs_no_moves(flips):
    taken, _, curvature = quadratic(5)
    sign = np.where(taken, -1.0, 1.0)
    sure = sign * 300.0 - 0.5 * sign * np.diag(curvature)
    pairs = np.array([(0, 1), (2, 3)])
    rng = np.random.default_rng(0)
    found = sample_sets(taken, sure, csr_matrix(curvature), pairs, rng)
    assert not flips
    assert np.array_equal(found, taken)


@pytest.mark.parametrize("exchanges", [False, True])
def test_the_heat_bath_draws_sets_as_often_as_they_are_likely(exchanges):
    """Marginals and those of pairs, whose correlation a wrong exchange would spoil."""
    taken, slope, curvature = quadratic(6, sites=5)
    pairs = np.array([(i, j) for i in range(5) for j in range(i)])
    pairs = pairs if exchanges else np.empty((0, 2), dtype=int)
    rng = np.random.default_rng(2)
    sets = np.array(list(product([0.0, 1.0], repeat=5)))
    d = sets - taken
    p = np.exp(-(d @ slope + 0.5 * np.einsum("ki,ij,kj->k", d, curvature, d)))
    p /= p.sum()
    current, draws = taken, []
    for _ in range(8000):
        # The expansion is that of the set at hand, as in annealing.
        here = slope + curvature @ (current.astype(float) - taken)
        current = heat_bath(current, here, csr_matrix(curvature), pairs, rng, 2)
        draws.append(current)
    found = np.array(draws, dtype=float)
    assert found.mean(axis=0) == pytest.approx(p @ sets, abs=0.03)
    both = np.einsum("k,ki,kj->ij", p, sets, sets)
    assert found.T @ found / len(found) == pytest.approx(both, abs=0.03)


def test_the_heat_bath_leaves_its_arguments_unchanged():
    taken, slope, curvature = quadratic(5)
    before = taken.copy(), slope.copy()
    heat_bath(taken, slope, csr_matrix(curvature), np.array([(0, 1)]), np.random.default_rng(0), 5)
    assert np.array_equal(taken, before[0])
    assert np.array_equal(slope, before[1])
