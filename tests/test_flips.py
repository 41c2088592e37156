"""Flips of sites and the prior of bonds: against enumeration, plain sums and counted bonds."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from small_crystal import fcc_ball, relaxed_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.binary_quadratic import best_flips
from prammol.reconstruction.occupancy.bond_prior import fit_bonds, scale_free_bonds
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, overlaps
from prammol.structure.vacant_sites import vacant_sites

COMM = Communicator()
ALUMINIUM = aluminium()
DISTANCE, REACH = ALUMINIUM.neighbour_distance, ALUMINIUM.bond_reach


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


def test_overlap_is_the_plain_sum():
    x = relaxed_ball(5.0)
    shard = local_shard(simulate(x, points=12), COMM)
    factor = StructureFactor(shard.patches, 1e-12)
    s = np.random.default_rng(1).random(factor.size)
    found = overlaps(factor, s, x, 6.0, COMM).toarray()
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    for i, j in ((0, 0), (0, 5), (3, 7), (2, 30)):
        wave = direct_structure_factor(factor.q, (x[i] - x[j])[None])
        expected = (s @ wave.real) / s.sum() if apart[i, j] < 6.0 else 0.0
        assert found[i, j] == pytest.approx(expected, abs=1e-9)
        assert found[i, j] == found[j, i]


def test_the_quadratic_function_has_the_overlaps_to_four_digits():
    x = relaxed_ball(6.0)
    shard = local_shard(simulate(x, points=16), COMM)
    factor = StructureFactor(shard.patches, 1e-9)
    misfit = PoissonMisfit(shard, factor)
    taken = np.arange(len(x)) > 0
    sites = CandidateSites(misfit, ALUMINIUM, x, taken)
    near = sites.expand(taken, depth=0.2)
    omega = factor.forward(x[taken])
    s = misfit.sharpness(omega, misfit.scale(omega))
    free = x[near.free]
    exact = overlaps(factor, s, free, 4 * DISTANCE, COMM).toarray()
    apart = np.linalg.norm(free[:, None] - free[None], axis=2)
    bonds = near.prior.strength * ((apart < REACH) & (apart > 0))
    height = near.curvature.diagonal()[:, None]
    assert np.abs((near.curvature.toarray() + bonds) / height - exact).max() < 1e-4


@pytest.mark.parametrize(("scale", "seed"), [(1.9, 1), (0.02, 1), (0.02, 2), (0.012, 3)])
def test_a_damaged_surface_is_mended(scale, seed):
    """Down to a hundredth of a photon in most points; an atom's worth is 2 C^2 points."""
    x = np.asarray(fcc_ball(10.0))
    rng = np.random.default_rng(seed)
    shard = local_shard(simulate(x, points=32, scale=scale, seed=seed), COMM)
    factor = StructureFactor(shard.patches, 1e-6)
    misfit = PoissonMisfit(shard, factor)
    positions = np.vstack([x, vacant_sites(x, REACH, DISTANCE)])
    true = np.arange(len(positions)) < len(x)
    number = (np.linalg.norm(positions[:, None] - x[None], axis=2) < REACH).sum(axis=1) - true
    damaged = true.copy()
    damaged[rng.choice(np.flatnonzero(true & (number < 9)), 12, replace=False)] = False
    damaged[rng.choice(np.flatnonzero(~true), 12, replace=False)] = True
    sites = CandidateSites(misfit, ALUMINIUM, positions, damaged)
    found = sites.choose(damaged, passes=6)
    assert (found.taken != true).sum() <= (0 if scale > 1 else 2)
    assert found.prior.strength > 0


def test_atoms_are_moved_not_doubled():
    """Of two places too close for two atoms the data's is taken."""
    x = np.asarray(fcc_ball(8.0))
    shard = local_shard(simulate(x, points=24), COMM)
    factor = StructureFactor(shard.patches, 1e-6)
    rim = np.argsort(-np.linalg.norm(x, axis=1))[:15]
    positions = np.vstack([x, x[rim] + [0.5, 0.6, -0.3]])
    true = np.arange(len(positions)) < len(x)
    taken = true.copy()
    taken[rim], taken[len(x) :] = False, True
    sites = CandidateSites(PoissonMisfit(shard, factor), ALUMINIUM, positions, taken)
    assert np.array_equal(sites.choose(taken, passes=4).taken, true)


def test_vacant_sites_continue_the_lattice():
    """Of an unrelaxed ball they are lattice points, all that three atoms point to."""
    x, outer = fcc_ball(8.0), fcc_ball(14.0)
    found = vacant_sites(x, REACH, DISTANCE)
    far = np.linalg.norm(outer[:, None] - x[None], axis=2).min(axis=1) > 0.1
    lattice = outer[far]
    gap = np.linalg.norm(found[:, None] - lattice[None], axis=2)
    assert gap.min(axis=1).max() < 1e-6
    assert len(np.unique(gap.argmin(axis=1))) == len(found)
    number = (np.linalg.norm(lattice[:, None] - x[None], axis=2) < REACH).sum(axis=1)
    # Inside the hull every neighbour of a vacant site has another one behind it.
    missed = gap.min(axis=0) > 1e-6
    assert number[missed].max() < 6


def test_a_vacancy_inside_is_found():
    x = relaxed_ball(10.0)
    inside = int(np.argmin(np.linalg.norm(x, axis=1)))
    found = vacant_sites(np.delete(x, inside, axis=0), REACH, DISTANCE)
    assert np.linalg.norm(found - x[inside], axis=1).min() < 0.1


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


def test_energy_of_the_prior_counts_bonds():
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
