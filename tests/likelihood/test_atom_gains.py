"""Gains of single atoms against brute force, one direct sum per atom."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import cubic_patch
from prammol.diffraction.dataset import Shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.atom_gains import single_atom_gains

COMM = Communicator()

SCALE = 0.7

PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


@pytest.fixture
def factor():
    return StructureFactor([cubic_patch(p, 0.5, 11, 4.05) for p in PEAKS])


@pytest.fixture
def crystal(rng, factor):
    """Positions of an object, positions for new atoms, counts of something else, a mask."""
    truth = rng.random((40, 3)) * 12
    x = np.concatenate([truth[:35] + 0.05 * rng.normal(size=(35, 3)), rng.random((20, 3)) * 12])
    inside = np.arange(55) < 35
    counts = rng.poisson(SCALE**2 * np.abs(direct_structure_factor(factor.q, truth)) ** 2)
    points = rng.random(factor.size) < 0.9
    return x, inside, counts.astype(float), points


def brute_force(factor, omega, counts, points, x, inside):
    """Eq. 6 with the wave of each atom subtracted or added, less Eq. 6 as it is."""

    def likelihood(field):
        lam = SCALE**2 * np.abs(field) ** 2
        return np.sum((counts * np.log(lam) - lam)[points])

    waves = [direct_structure_factor(factor.q, one[None]) for one in x]
    changed = [omega - w if i else omega + w for w, i in zip(waves, inside, strict=True)]
    return np.array([likelihood(c) for c in changed]) - likelihood(omega)


def gains(factor, omega, counts, *arguments, **options):
    """Those of a crystal without background."""
    valid = np.ones(len(counts), dtype=bool)
    index = np.arange(len(counts))
    shard = Shard(factor.patches, 0 * index, index, counts, valid, None, len(counts), COMM)
    return single_atom_gains(shard, factor, omega, *arguments, **options)


def test_three_terms_rank_like_brute_force(factor, crystal):
    x, inside, counts, points = crystal
    omega = direct_structure_factor(factor.q, x[inside])
    exact = brute_force(factor, omega, counts, points, x, inside)
    fast = gains(factor, omega, counts, points, SCALE, x, inside)
    for part in (inside, ~inside):
        assert np.corrcoef(fast[part], exact[part])[0, 1] > 0.999
        assert np.abs(fast - exact)[part].max() < 0.15 * exact[part].std()


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.6), (1.7, 20.0)], ids=["weak", "strong"])
def test_series_converges_on_weak_and_on_strong_points(factor, crystal, rng, low, high):
    x, inside, counts, points = crystal
    omega = rng.uniform(low, high, factor.size) * np.exp(2j * np.pi * rng.random(factor.size))
    exact = brute_force(factor, omega, counts, points, x, inside)
    fast = gains(factor, omega, counts, points, SCALE, x, inside, terms=25)
    np.testing.assert_allclose(fast, exact, rtol=2e-4, atol=2e-5 * np.abs(exact).max())


def test_points_that_do_not_count_have_no_weight(factor, crystal):
    x, inside, counts, points = crystal
    omega = direct_structure_factor(factor.q, x[inside])
    arguments = (points, SCALE, x, inside)
    wrong = np.where(points, counts, 1e5)
    np.testing.assert_array_equal(
        gains(factor, omega, wrong, *arguments),
        gains(factor, omega, counts, *arguments),
    )


def test_gains_of_the_parts_of_two_ranks_add_up(crystal, factor):
    x, inside, counts, points = crystal
    omega = direct_structure_factor(factor.q, x[inside])
    whole = gains(factor, omega, counts, points, SCALE, x, inside)
    cut = factor.patches[0].size
    parts = np.zeros(len(x))
    for patches, part in ((factor.patches[:1], slice(cut)), (factor.patches[1:], slice(cut, None))):
        local = StructureFactor(patches)
        parts += gains(local, omega[part], counts[part], points[part], SCALE, x, inside)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())
