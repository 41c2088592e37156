"""Rotation and even strain: they must undo what was done to the crystal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_crystal import ball_and_misfit, make_problem, relaxed_ball, simulate

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.refinement.rotation_strain import align_strained


def test_a_rotation_is_undone():
    x, misfit = ball_and_misfit()
    ends = []
    for angles in ((1e-3, -2e-3, 5e-4), (0.0, 0.0, 4e-3)):
        y = Rotation.from_rotvec(angles).apply(x - x.mean(axis=0)) + x.mean(axis=0)
        turned, value = align_strained(misfit, y, y)
        shift = (x - turned).mean(axis=0)
        # The photons fix the orientation to some 1e-5 rad: 0.03 pm on the surface.
        assert np.abs(turned + shift - x).max() < 1e-3 < np.abs(y - x).max()
        assert value == pytest.approx(misfit(turned).value)
        assert value < misfit(y).value
        ends.append(turned + shift)
    assert np.abs(ends[0] - ends[1]).max() < 1e-6


def test_an_even_strain_is_found():
    """As of a warm crystal: the energy knows nothing of it."""
    x, misfit = ball_and_misfit()
    strain = np.array([[4e-3, 1e-3, 0.0], [1e-3, 3e-3, -5e-4], [0.0, -5e-4, 5e-3]])
    c = x.mean(axis=0)
    y = c + (x - c) @ np.linalg.inv(np.eye(3) + strain)
    rng = np.random.default_rng(2)
    for seen in (y, x + rng.normal(0, 0.05, x.shape)):
        found, value = align_strained(misfit, y, seen)
        shift = (x - found).mean(axis=0)
        assert np.abs(found + shift - x).max() < 2e-3 < np.abs(y - x).max()
        assert value == pytest.approx(misfit(found).value)


def test_no_strain_is_fitted_to_noise():
    x, misfit = ball_and_misfit()
    found, value = align_strained(misfit, x, x)
    arm = x - x.mean(axis=0)
    turn = np.linalg.lstsq(arm, found - found.mean(axis=0), rcond=None)[0]
    assert np.abs(turn @ turn.T - np.eye(3)).max() < 1e-12
    assert np.abs(arm @ turn - (found - found.mean(axis=0))).max() < 1e-10
    assert value <= misfit(x).value


@pytest.mark.parametrize("size", [1.0005, 1.003])
def test_strain_is_fitted_to_its_end(size):
    """Not only until a step is worth less than the threshold: what is left would be an error."""
    x = relaxed_ball(8.5)
    data = simulate(size * x, points=20)
    problem = make_problem(data, x=x)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    found, value = align_strained(misfit, x, x)
    _, best = align_strained(misfit, found, found)
    assert value - best < 0.1
    error = found - found.mean(axis=0) - size * (x - x.mean(axis=0))
    assert np.abs(error).max() < 3e-3
