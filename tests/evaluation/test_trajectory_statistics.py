"""Statistics of trajectories, against motion that is known."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.evaluation.trajectory_statistics import Motion

NEIGHBOUR = 4.05 / np.sqrt(2)


def test_the_mean_square_displacement_of_gaussian_motion_is_measured():
    x = fcc_ball(12.0)
    rng = np.random.default_rng(3)
    shift = rng.normal(0, 0.2, x.shape)
    motion = Motion(x, NEIGHBOUR)
    for _ in range(1000):
        motion.add(x + shift + rng.normal(0, 0.1, x.shape))
    assert np.abs(motion.mean_positions - x - shift).max() < 6 * 0.1 / np.sqrt(1000)
    assert motion.displacements.mean() == pytest.approx(0.01, rel=0.01)
    assert not motion.moved().any()


def test_shells_of_a_crystal_and_of_a_gas():
    x = fcc_ball(16.0)
    motion = Motion(x, NEIGHBOUR, inside=0.05)
    motion.add(x)
    r, g = motion.shells()
    density = 4 / 4.05**3
    volume = 4 / 3 * np.pi * ((r + 0.025) ** 3 - (r - 0.025) ** 3)
    neighbours = np.cumsum(g * volume * density)
    assert neighbours[np.searchsorted(r, 1.2 * NEIGHBOUR)] == pytest.approx(12)
    assert neighbours[np.searchsorted(r, 1.55 * NEIGHBOUR)] == pytest.approx(18)
    assert motion.order() == 0
    rng = np.random.default_rng(4)
    gas = Motion(x, NEIGHBOUR, inside=0.05)
    for _ in range(20):
        gas.add(x + rng.normal(0, 2.0, x.shape))
    assert gas.order() == pytest.approx(1.0, abs=0.25)
    assert gas.moved().all()


def test_an_atom_that_hopped_is_told():
    x = fcc_ball(9.0)
    motion = Motion(x, NEIGHBOUR)
    y = x.copy()
    y[5] += [2.0, 2.0, 0.0]
    for snapshot in (x, y, y, y):
        motion.add(snapshot)
    assert np.flatnonzero(motion.moved()).tolist() == [5]
