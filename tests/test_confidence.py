"""Sampling of sets of sites: against the sum over all sets."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from prammol.confidence import sample_sets


def quadratic(seed, sites=7, depth=1.5):
    rng = np.random.default_rng(seed)
    curvature = rng.normal(size=(sites, sites))
    curvature = curvature + curvature.T + 4.0 * np.eye(sites)
    taken = rng.random(sites) < 0.5
    return taken, depth * rng.normal(size=sites), curvature


def exact(taken, slope, curvature):
    """Marginals, mean number and its spread by the sum over all sets."""
    sets = np.array(list(product([0.0, 1.0], repeat=len(taken))))
    d = sets - taken
    energy = d @ slope + 0.5 * np.einsum("ki,ij,kj->k", d, curvature, d)
    p = np.exp(-(energy - energy.min()))
    p /= p.sum()
    number = sets.sum(axis=1)
    mean = p @ number
    return p @ sets, mean, np.sqrt(p @ number**2 - mean**2)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("exchanges", [False, True])
def test_marginals_are_those_of_the_sum_over_all_sets(seed, exchanges):
    taken, slope, curvature = quadratic(seed)
    all_pairs = np.array([(i, j) for i in range(7) for j in range(i)])
    pairs = all_pairs if exchanges else np.empty((0, 2), dtype=int)
    rng = np.random.default_rng(seed)
    found = sample_sets(taken, slope, csr_matrix(curvature), pairs, rng, 10_000.0)
    occupied, mean, spread = exact(taken, slope, curvature)
    assert found.occupied == pytest.approx(occupied, abs=0.03)
    assert found.mean == pytest.approx(mean, abs=0.08)
    assert found.spread == pytest.approx(spread, abs=0.05)
    assert found.moves > 1000


def test_a_sharp_distribution_costs_no_moves():
    taken, _, curvature = quadratic(5)
    sign = np.where(taken, -1.0, 1.0)
    sure = sign * 300.0 - 0.5 * sign * np.diag(curvature)
    pairs = np.array([(0, 1), (2, 3)])
    rng = np.random.default_rng(0)
    found = sample_sets(taken, sure, csr_matrix(curvature), pairs, rng)
    assert found.moves == 0
    assert np.array_equal(found.occupied, taken)
    assert (found.mean, found.spread) == (taken.sum(), 0.0)
