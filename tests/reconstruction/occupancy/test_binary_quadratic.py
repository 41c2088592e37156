"""Quadratic functions of occupancies 0 and 1, against enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from prammol.reconstruction.occupancy.binary_quadratic import best_flips


def quadratic(rng, n, strength):
    """A random convex quadratic function with couplings, its slope at a random set."""
    a = rng.normal(size=(n, n)) * strength
    curvature = a @ a.T + np.diag(rng.uniform(5, 20, n))
    linear = rng.normal(0, 15, n)
    taken = rng.random(n) > 0.5

    def value(t):
        return linear @ t + 0.5 * t @ curvature @ t

    return curvature, value, taken, linear + curvature @ taken


@pytest.mark.parametrize("seed", range(8))
def test_no_flip_and_no_pair_of_flips_is_left(seed):
    curvature, value, taken, slope = quadratic(np.random.default_rng(seed), 10, 0.8)
    result = best_flips(taken, slope, csr_matrix(curvature), 1e-9)
    found, cost = result.taken, result.cost
    before, after = value(taken.astype(float)), value(found.astype(float))
    assert result.gain == pytest.approx(before - after)
    assert after <= before
    for i, j in product(range(10), repeat=2):
        other = found.copy()
        other[i] ^= True
        if i == j:
            assert cost[i] == pytest.approx(value(other.astype(float)) - after)
        else:
            other[j] ^= True
        assert value(other.astype(float)) >= after - 1e-6
    every = min(value(np.array(t, dtype=float)) for t in product((0, 1), repeat=10))
    assert after <= before - 0.9 * (before - every)


def test_weakly_coupled_sites_get_the_best_of_all_sets():
    curvature, value, taken, slope = quadratic(np.random.default_rng(3), 12, 0.2)
    found = best_flips(taken, slope, csr_matrix(curvature), 1e-9).taken
    every = min(value(np.array(t, dtype=float)) for t in product((0, 1), repeat=12))
    assert value(found.astype(float)) == pytest.approx(every)
