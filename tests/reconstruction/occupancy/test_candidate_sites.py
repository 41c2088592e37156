"""Joint choice of sites: the expansion against plain sums, damaged surfaces mended."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball, relaxed_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.overlaps import overlaps
from prammol.structure.vacant_sites import vacant_sites

COMM = Communicator()

ALUMINIUM = aluminium()

DISTANCE, REACH = ALUMINIUM.neighbour_distance, ALUMINIUM.bond_reach


def test_the_overlap_of_two_images_is_the_plain_sum():
    x = relaxed_ball(5.0)
    shard = local_shard(simulate(x, points=12), COMM)
    factor = StructureFactor(shard.patches, 1e-12)
    s = np.random.default_rng(1).random(factor.size)
    found = overlaps(factor, s, x, 6.0, COMM).toarray()
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    for i, j in ((0, 0), (0, 5), (3, 7), (2, 30)):
        wave = direct_structure_factor(factor.q, (x[i] - x[j])[None])
        expected = (s @ wave.real) / s.sum() if apart[i, j] < 6.0 else 0.0
        assert found[i, j] == pytest.approx(expected, abs=1e-7)
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


def test_of_two_places_too_close_only_one_is_taken():
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
