"""An even map of a crystal, found from counts of a few patches."""

import numpy as np
import pytest
from scipy.linalg import expm
from small_crystal import Rank, relaxed_ball, simulate

from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.refinement.even_fit import MAPS, drawn_even, fit_even
from prammol.reconstruction.refinement.relaxed_shapes import dispersion


def misfit_of(data):
    shard = local_shard(data, Rank(0, 1))
    return PoissonMisfit(shard, StructureFactor(shard.patches, 1e-9))


def spread(x, y):
    return float(np.abs((x - x.mean(axis=0)) - (y - y.mean(axis=0))).max())


def test_generators_are_orthogonal():
    flat = MAPS.reshape(9, 9)
    assert flat @ flat.T == pytest.approx(np.diag([2.0] * 3 + [1.0] * 6))


def test_a_turned_and_expanded_crystal_is_found():
    x = relaxed_ball()
    true = np.zeros(9)
    true[:4] = 0.01, -0.006, 0.004, 0.004
    arm = x - x.mean(axis=0)
    moved = arm @ expm(np.tensordot(true, MAPS, axes=1)).T
    misfit = misfit_of(simulate(moved, scale=30.0))
    fit = fit_even(misfit, x)
    assert spread(fit.positions, moved) < 5e-4
    assert spread(x, moved) > 0.05
    assert dispersion(misfit, fit.positions) < 1.1
    assert dispersion(misfit, x) > 10
    drawn = [drawn_even(misfit, x, fit, np.random.default_rng(k)) for k in range(4)]
    assert 0 < max(spread(y, moved) for y in drawn) < 2e-3


def test_one_peak_leaves_shears_where_the_prior_has_them():
    x = relaxed_ball()
    misfit = misfit_of(simulate(x, scale=30.0).of_patches([0]))
    fit = fit_even(misfit, x, near=np.full(9, 1e-4))
    assert np.abs(fit.coefficients[4:]).max() < 3e-4
