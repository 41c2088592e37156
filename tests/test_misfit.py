"""The variance-stabilised misfit: against plain formulas, finite differences and noise."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.comm import Communicator
from prammol.diffraction import Diffraction, local_shard
from prammol.misfit import AmplitudeMisfit, noise_level, peak_window
from prammol.patches import BraggPatch
from prammol.scattering import StructureFactor, direct_structure_factor

C = 0.7


def sheared_patches() -> list[BraggPatch]:
    shear = np.array([[0.11, 0.01, 0.0], [-0.02, 0.12, 0.01], [0.0, 0.03, 0.1]])
    return [
        BraggPatch([1.2, -1.9, 1.0], shear, (5, 4, 6)),
        BraggPatch([0.9, 1.0, -1.7], shear.T, (4, 4, 5)),
    ]


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    x = fcc_ball(5.0) + rng.normal(0, 0.1, fcc_ball(5.0).shape)
    patches = sheared_patches()
    lam = [C**2 * np.abs(direct_structure_factor(p.q(), x)) ** 2 for p in patches]
    counts = [
        rng.poisson(v).astype(float).reshape(p.shape) for v, p in zip(lam, patches, strict=True)
    ]
    valid = [rng.random(p.shape) > 0.2 for p in patches]
    shard = local_shard(Diffraction(patches, counts, valid), Communicator())
    return x, shard, StructureFactor(shard.patches, 1e-12)


def plain_misfit(x, weights, shard, c, floor=0.0, window=1.0):
    """J by the direct sum, written out."""
    q = np.concatenate([p.q() for p in shard.patches])
    omega = direct_structure_factor(q, x, weights)
    u = shard.valid * window / (1 + 4 * floor**2 * shard.counts)
    difference = np.sqrt(shard.counts + 3 / 8) - np.sqrt(c**2 * np.abs(omega) ** 2 + 3 / 8)
    return 2 * np.sum(u * difference**2)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_value_is_the_plain_sum_at_its_best_scale(case, floor):
    x, shard, factor = case
    w = np.linspace(0.2, 1.0, len(x))
    window = np.linspace(0.1, 1, shard.size)
    result = AmplitudeMisfit(shard, factor, window, floor)(x, w)
    assert result.value == pytest.approx(
        plain_misfit(x, w, shard, result.scale, floor, window), rel=1e-9
    )
    for c in (0.999 * result.scale, 1.001 * result.scale):
        assert plain_misfit(x, w, shard, c, floor, window) > result.value


def test_gradients_by_finite_differences(case):
    x, shard, factor = case
    w = np.linspace(0.2, 1.0, len(x))
    misfit = AmplitudeMisfit(shard, factor, None, 0.05)
    result = misfit(x, w, positions=True, occupancies=True)
    h = 1e-5
    for j, a in ((0, 0), (3, 1), (10, 2)):
        d = np.zeros_like(x)
        d[j, a] = h
        slope = (misfit(x + d, w).value - misfit(x - d, w).value) / (2 * h)
        assert result.d_positions[j, a] == pytest.approx(slope, rel=1e-5, abs=1e-4)
        e = np.zeros(len(w))
        e[j] = h
        slope = (misfit(x, w + e).value - misfit(x, w - e).value) / (2 * h)
        assert result.d_weights[j] == pytest.approx(slope, rel=1e-5, abs=1e-4)


def test_masked_points_have_no_weight(case):
    x, shard, factor = case
    before = AmplitudeMisfit(shard, factor)(x, positions=True)
    counts = np.where(shard.valid, shard.counts, 1e6)
    changed = type(shard)(**{**vars(shard), "counts": counts})
    after = AmplitudeMisfit(changed, factor)(x, positions=True)
    assert after.value == before.value
    assert np.array_equal(after.d_positions, before.d_positions)


def test_noise_level_is_what_poisson_counts_give():
    rng = np.random.default_rng(0)
    for lam in (0.01, 0.3, 2.0, 15.0, 300.0, 1e6):
        counts = rng.poisson(lam, 400_000)
        share = 2 * (np.sqrt(counts + 3 / 8) - np.sqrt(lam + 3 / 8)) ** 2
        mean, variance = noise_level(np.array([lam]))
        assert mean[0] == pytest.approx(share.mean(), abs=5 * share.std() / np.sqrt(len(share)))
        assert variance[0] == pytest.approx(share.var(), rel=0.05)


def test_excess_tells_truth_from_a_missing_atom(case):
    x, shard, factor = case
    misfit = AmplitudeMisfit(shard, factor)
    assert abs(misfit.excess(factor.forward(x), C)[0]) < 4
    less = factor.forward(x[1:])
    sigmas, atoms = misfit.excess(less, misfit.scale(less))
    assert sigmas > 5
    assert 0.3 < atoms < 3


def test_floor_is_the_error_of_the_model(case):
    _, shard, factor = case
    rng = np.random.default_rng(1)
    omega = 3000.0 * (1 + rng.random(shard.size)) * np.exp(2j * np.pi * rng.random(shard.size))
    counts = (C * np.abs(omega) * (1 + 0.05 * rng.normal(size=shard.size))) ** 2
    wrong = type(shard)(**{**vars(shard), "counts": np.where(shard.valid, counts, 0.0)})
    assert AmplitudeMisfit(wrong, factor).floor_for(omega, C) == pytest.approx(0.05, rel=0.25)


def test_window_is_one_at_the_peak_and_has_the_width_asked_for():
    patch = BraggPatch([0, 0, 0], np.eye(3) * 0.1, (11, 3, 3))
    counts = np.ones(patch.shape)
    shard = local_shard(Diffraction([patch], [counts]), Communicator())
    window = peak_window(shard, np.array([[0.5, 0.1, 0.1]]), 2.0).reshape(patch.shape)
    assert window[5, 1, 1] == pytest.approx(1.0)
    assert window[10, 1, 1] == pytest.approx(np.exp(-0.5 * (0.5 * 2.0) ** 2))
