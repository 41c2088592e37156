"""The flat background that the darkest points of a patch show."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import poisson

from prammol.phasing.dark_level import _chances, dark_level


def speckles(mean, level, seed=1, points=20000):
    """Counts of speckles, whose intensity is exponential, of several mean intensities."""
    rng = np.random.default_rng(seed)
    means = mean * np.exp(rng.normal(0.0, 1.5, points))
    return rng.poisson(rng.exponential(means) + level).astype(float)


@pytest.mark.parametrize("level", [0.0, 3.0, 50.0])
def test_chances_are_those_of_an_integral_over_poisson_distributions(level):
    edges, widths = np.array([0.0, 2.0, 5.0, 60.0]), np.array([0.5, 40.0])
    below = [
        [quad(lambda s, k=k: poisson.cdf(k, s), level, level + t)[0] / t for t in widths]
        for k in edges
    ]
    expected = np.diff(np.vstack([np.zeros(2), below, np.ones(2)]), axis=0)
    assert_allclose(_chances(edges, level, widths), expected, atol=1e-9)


@pytest.mark.parametrize("mean", [0.3, 4.0, 50.0, 1e4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_speckles_alone_have_none(mean, seed):
    assert dark_level(speckles(mean, 0.0, seed)) == 0.0
    # Nor has a real field, whose intensity is even more often near 0.
    rng = np.random.default_rng(seed)
    assert dark_level(rng.poisson(mean * rng.normal(size=20000) ** 2).astype(float)) == 0.0


@pytest.mark.parametrize(("mean", "level"), [(0.3, 1.0), (4.0, 1.0), (50.0, 20.0), (50.0, 900.0)])
def test_a_flat_background_is_found_to_its_noise(mean, level):
    counts = speckles(mean, level)
    assert dark_level(counts) == pytest.approx(level, abs=0.3 * np.sqrt(level))
    assert dark_level(counts, known=level) == 0.0
    # What is small beside the noise of what is known isn't told.
    beyond = dark_level(counts, known=level / 2) if level > 1 else level / 2
    assert beyond == pytest.approx(level / 2, abs=0.3 * np.sqrt(level))


def test_hardly_any_points_or_photons_show_none():
    assert dark_level(np.zeros(0)) == 0.0
    assert dark_level(np.zeros(1000)) == 0.0
    assert dark_level(np.array([5.0])) == 0.0
