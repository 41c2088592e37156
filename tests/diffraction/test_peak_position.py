"""The centre of a peak, also one whose brightest points are masked: closed form of a ball."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.diffraction.peak_position import peak_points

SHAPE = (41, 38, 40)


def ball(centre, radius, photons, seed=1):
    """Counts of a homogeneous ball, abs(3 (sin x - x cos x) / x^3)^2 at x = radius * distance."""
    offset = np.indices(SHAPE).T - centre
    distance = np.maximum(np.linalg.norm(offset, axis=3).T, 1e-6)
    x = radius * distance
    form = 3.0 * (np.sin(x) - x * np.cos(x)) / x**3
    return np.random.default_rng(seed).poisson(photons * form**2).astype(float), distance


def found(counts, valid):
    index, weight = peak_points(counts, valid, np.where(valid, counts, 0.0))
    return weight @ index / weight.sum()


# Radii in radians per point: the first dark ring is 7.5 and 4.5 points from the centre.
@pytest.mark.parametrize("radius", [0.6, 1.0])
@pytest.mark.parametrize("number", [1, 60, 300])
def test_the_brightest_points_may_be_masked(radius, number):
    centre = np.array([20.3, 17.5, 20.9])
    counts, _ = ball(centre, radius, 2e4)
    valid = counts < np.sort(counts, axis=None)[-number]
    assert np.abs(found(counts, valid) - centre).max() <= 0.5


def test_a_hole_beside_the_centre_does_not_move_it():
    centre = np.array([20.0, 18.5, 21.0])
    counts, _ = ball(centre, 0.6, 2e4)
    _, distance = ball(centre + [3.0, -2.0, 1.0], 0.6, 1.0)
    valid = distance > 4.2
    assert not valid[20, 18, 21]
    assert np.abs(found(counts, valid) - centre).max() <= 0.5


def test_without_a_mask_it_is_the_centre_of_mass():
    counts, _ = ball(np.array([20.0, 18.0, 21.0]), 1.0, 2e4)
    assert found(counts, counts >= 0) == pytest.approx([20.0, 18.0, 21.0], abs=0.05)
