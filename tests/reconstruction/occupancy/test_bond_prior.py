"""The prior of bonds, against plain fits and counted bonds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from small_crystal import fcc_ball

from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.bond_prior import BondPrior, fit_bonds, scale_free_bonds

ALUMINIUM = aluminium()

DISTANCE, REACH = ALUMINIUM.neighbour_distance, ALUMINIUM.bond_reach


def test_bonds_are_learnt_as_a_logistic_regression():
    rng = np.random.default_rng(4)
    number = rng.integers(2, 12, 4000)
    taken = rng.random(4000) < 1 / (1 + np.exp(-1.3 * (number - 5.4)))
    prior = fit_bonds(number[taken], number[~taken])

    def plain(beta):
        eta = beta[0] + beta[1] * number
        return np.sum(np.log1p(np.exp(eta)) - taken * eta) + beta[1] ** 2 / 8

    best = minimize(plain, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8}).x
    assert prior.strength == pytest.approx(best[1], rel=1e-2)
    assert prior.half == pytest.approx(-best[0] / best[1], rel=1e-2)
    assert prior.strength == pytest.approx(1.3, abs=0.15)


def test_perfect_separation_gives_a_finite_prior():
    prior = fit_bonds(np.array([7, 8, 9]), np.array([3, 4, 5]))
    assert 0.5 < prior.strength < 5
    assert prior.half == pytest.approx(6.0, abs=0.5)


def test_the_energy_of_the_prior_counts_bonds():
    x = np.array([[0, 0, 0], [DISTANCE, 0, 0], [0, DISTANCE, 0], [20, 0, 0.0]])
    prior = fit_bonds(np.array([7, 8]), np.array([3, 4]))
    assert prior.energy(x, REACH) == pytest.approx(prior.strength * (4 * prior.half - 2))


def neighbours(x):
    return cKDTree(x).query_ball_point(x, REACH, return_length=True) - 1


def test_scale_free_bonds_favour_no_size():
    """Balls of other sizes cost next to nothing, a rough surface does."""
    x = fcc_ball(16.0)
    prior = scale_free_bonds(neighbours(x), 1.0)
    assert prior.energy(x, REACH) == pytest.approx(0.0, abs=1e-6)
    broken = 6 * len(x) - neighbours(x).sum() / 2
    for radius in (13.0, 20.0):
        other = fcc_ball(radius)
        assert abs(prior.energy(other, REACH)) < 0.03 * broken
    outer = np.flatnonzero(np.linalg.norm(x, axis=1) > 13.0)
    rough = np.delete(x, np.random.default_rng(0).choice(outer, len(outer) // 4), axis=0)
    assert prior.energy(rough, REACH) > 0.1 * broken


def test_scale_free_bonds_have_the_odds_of_one_more_atom():
    x = fcc_ball(16.0)
    number = neighbours(x)
    prior = scale_free_bonds(number, 0.7)
    n, bonds = len(x), number.sum() / 2
    for k in (3, 9):
        more = prior.of(n + 1, bonds + k) - prior.of(n, bonds)
        assert more == pytest.approx(0.7 * (prior.half_at(n) - k), abs=1e-3)
    assert fit_bonds(np.array([7, 8]), np.array([3, 4])).half_at(5) == pytest.approx(
        fit_bonds(np.array([7, 8]), np.array([3, 4])).half
    )


def test_vacant_sites_cost_no_more_than_the_surest_bond_energy():
    prior = BondPrior(2.0, 6.0)
    assert prior.overcharged(np.array([3, 7, 8]), 100) == 0.0
    assert prior.overcharged(np.array([12, 11, 8]), 100) == pytest.approx(22 - 2 * np.log(100))
