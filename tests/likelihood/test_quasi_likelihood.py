"""The misfit of the counts: against plain formulas, finite differences and noise."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.extra_photons import EXTRA, extra_photons
from prammol.likelihood.holdout_blocks import peak_window
from prammol.likelihood.quasi_likelihood import PoissonMisfit

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
    power = np.maximum(shard.counts - 2 * np.sqrt(shard.counts), 0)
    u = shard.valid * window / (1 + 4 * floor**2 * power)
    return np.sum(u * plain_share(shard.counts, c**2 * np.abs(omega) ** 2))


def plain_share(counts, lam, extra=EXTRA):
    """Half the Poisson deviance, a few photons added to both."""
    return lam - counts + (counts + extra) * np.log((counts + extra) / (lam + extra))


@pytest.mark.parametrize("start", [0.1, 0.5, 0.9, 1.1, 8.0])
def test_the_best_scale_does_not_depend_on_where_the_search_starts(case, start):
    x, shard, factor = case
    misfit = PoissonMisfit(shard, factor)
    omega = direct_structure_factor(factor.q, x)
    c = misfit.scale(omega, start * C)
    power, u = np.abs(omega) ** 2, shard.valid
    slope = u * power * (1 - (shard.counts + EXTRA) / (c**2 * power + EXTRA))
    assert abs(slope.sum()) < 1e-9 * np.abs(slope).sum()


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_the_misfit_is_the_plain_sum_at_its_best_scale(case, floor):
    x, shard, factor = case
    w = np.linspace(0.2, 1.0, len(x))
    window = np.linspace(0.1, 1, shard.size)
    result = PoissonMisfit(shard, factor, window, floor)(x, w)
    assert result.value == pytest.approx(
        plain_misfit(x, w, shard, result.scale, floor, window), rel=1e-9
    )
    for c in (0.999 * result.scale, 1.001 * result.scale):
        assert plain_misfit(x, w, shard, c, floor, window) > result.value


def test_the_gradients_are_those_of_finite_differences(case):
    x, shard, factor = case
    w = np.linspace(0.2, 1.0, len(x))
    misfit = PoissonMisfit(shard, factor, None, 0.05)
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
    before = PoissonMisfit(shard, factor)(x, positions=True)
    counts = np.where(shard.valid, shard.counts, 1e6)
    changed = type(shard)(**{**vars(shard), "counts": counts})
    after = PoissonMisfit(changed, factor)(x, positions=True)
    assert after.value == before.value
    assert np.array_equal(after.d_positions, before.d_positions)


def test_few_photons_have_fewer_added(case):
    """A fixed part of the mean signal, below the hundredth that many photons have."""
    x, shard, factor = case
    assert extra_photons(shard) == EXTRA
    rng = np.random.default_rng(3)
    omega = factor.forward(x)
    c = C * np.sqrt(0.1 / shard.counts[shard.valid].mean())
    counts = np.where(shard.valid, rng.poisson(c**2 * np.abs(omega) ** 2), 0).astype(float)
    few = type(shard)(**{**vars(shard), "counts": counts})
    extra = extra_photons(few)
    assert extra == pytest.approx(0.0075 * counts[shard.valid].mean())
    result = PoissonMisfit(few, factor)(x)
    share = plain_share(counts, result.scale**2 * np.abs(omega) ** 2, extra)
    assert result.value == pytest.approx(np.sum(shard.valid * share), rel=1e-9)
    # Background isn't signal; where it is all there is, something is still added.
    level = np.where(shard.valid, 0.05, 0.0)
    dim = type(shard)(**{**vars(few), "background": level})
    assert extra_photons(dim) == pytest.approx(0.0075 * (counts - level)[shard.valid].mean())
    dark = type(shard)(**{**vars(few), "background": counts + 1.0})
    assert 0 < extra_photons(dark) < 1e-5


def test_the_excess_tells_the_truth_from_a_missing_atom(case):
    x, shard, factor = case
    misfit = PoissonMisfit(shard, factor)
    assert abs(misfit.excess(factor.forward(x), C)[0]) < 4
    less = factor.forward(x[1:])
    sigmas, atoms, sigma = misfit.excess(less, misfit.scale(less))
    assert sigmas > 5
    assert atoms == pytest.approx(sigmas * sigma)
    assert 0.3 < atoms < 3


def test_the_floor_is_the_error_of_the_model(case):
    _, shard, factor = case
    rng = np.random.default_rng(1)
    omega = 3000.0 * (1 + rng.random(shard.size)) * np.exp(2j * np.pi * rng.random(shard.size))
    counts = (C * np.abs(omega) * (1 + 0.05 * rng.normal(size=shard.size))) ** 2
    wrong = type(shard)(**{**vars(shard), "counts": np.where(shard.valid, counts, 0.0)})
    assert PoissonMisfit(wrong, factor).floor_for(omega, C) == pytest.approx(0.05, rel=0.25)


@pytest.mark.parametrize("photons", [0.003, 0.03, 0.3, 3.0, 300.0])
def test_the_floor_is_zero_where_noise_explains_all(case, photons):
    """Points with few photons once made it the largest of all."""
    _, shard, factor = case
    rng = np.random.default_rng(8)
    omega = np.sqrt(rng.exponential(size=shard.size)) + 0j
    c = np.sqrt(photons)
    counts = np.where(shard.valid, rng.poisson(photons * np.abs(omega) ** 2), 0).astype(float)
    noisy = type(shard)(**{**vars(shard), "counts": counts})
    assert PoissonMisfit(noisy, factor).floor_for(omega, c, photons) == 0.0


def test_the_floor_adds_photons_where_the_structure_factor_is_small(case):
    """floor^2 C^2 n of them, on both sides."""
    x, shard, factor = case
    omega = factor.forward(x)
    level = C**2 * len(x)
    value, c, _ = PoissonMisfit(shard, factor, floor=0.2, incoherent=level).field(omega)
    e = EXTRA + 0.04 * level
    lam = c**2 * np.abs(omega) ** 2
    u = shard.valid / (1 + 0.16 * np.maximum(shard.counts - 2 * np.sqrt(shard.counts), 0))
    some = shard.counts + e
    plain = np.sum(u * (lam - shard.counts + some * np.log(some / (lam + e))))
    assert value == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("mean", [0.02, 0.3, 5.0])
def test_few_photons_leave_no_bias(mean):
    """The slope at the truth averages to nothing: C is found however few the photons."""
    patch = BraggPatch([1.2, -1.9, 1.0], np.eye(3) * 0.02, (40, 40, 40))
    rng = np.random.default_rng(5)
    omega = rng.normal(size=patch.size) + 1j * rng.normal(size=patch.size)
    c = np.sqrt(mean / 2.0)
    counts = rng.poisson(c**2 * np.abs(omega) ** 2).astype(float).reshape(patch.shape)
    shard = local_shard(Diffraction([patch], [counts]), Communicator())
    misfit = PoissonMisfit(shard, StructureFactor([patch]))
    # The Poisson bound on C^2 is its square over the photons.
    photons = counts.sum()
    assert misfit.scale(omega) ** 2 == pytest.approx(c**2, rel=4 / np.sqrt(photons))


def test_the_preference_of_held_out_points_and_its_noise(case):
    """Over many draws the difference of J scatters as foretold about what it is for no noise."""
    x, shard, factor = case
    old, new = factor.forward(x[1:]), factor.forward(x)
    lam = C**2 * np.abs(new) ** 2
    rng = np.random.default_rng(7)
    gains, noises = [], []
    for _ in range(200):
        counts = np.where(shard.valid, rng.poisson(lam), 0).astype(float)
        drawn = PoissonMisfit(type(shard)(**{**vars(shard), "counts": counts}), factor)
        gain, noise = drawn.preference(old, new)
        gains.append(gain)
        noises.append(noise)
    assert np.std(gains) == pytest.approx(np.mean(noises), rel=0.15)
    assert np.mean(gains) > 2 * np.mean(noises)


def test_the_sharpness_is_the_curvature_by_the_weight_of_an_atom(case):
    """On average over places, from second differences of noiseless counts."""
    x, shard, factor = case
    omega = factor.forward(x)
    counts = np.where(shard.valid, C**2 * np.abs(omega) ** 2, 0.0)
    misfit = PoissonMisfit(type(shard)(**{**vars(shard), "counts": counts}), factor)
    rng = np.random.default_rng(8)
    h, curvatures = 1e-3, []
    for place in rng.uniform(-8, 8, (60, 3)):
        one = factor.forward(place[None])
        values = []
        for w in (h, -h):
            lam = C**2 * np.abs(omega + w * one) ** 2
            values.append(shard.valid @ plain_share(counts, lam))
        curvatures.append(sum(values) / h**2)
    expected = 2 * C**2 * misfit.sharpness(omega, C).sum()
    assert np.mean(curvatures) == pytest.approx(expected, rel=0.2)


def test_the_window_is_one_at_the_peak_and_has_the_width_asked_for():
    patch = BraggPatch([0, 0, 0], np.eye(3) * 0.1, (11, 3, 3))
    counts = np.ones(patch.shape)
    shard = local_shard(Diffraction([patch], [counts]), Communicator())
    window = peak_window(shard, np.array([[0.5, 0.1, 0.1]]), 2.0).reshape(patch.shape)
    assert window[5, 1, 1] == pytest.approx(1.0)
    assert window[10, 1, 1] == pytest.approx(np.exp(-0.5 * (0.5 * 2.0) ** 2))
