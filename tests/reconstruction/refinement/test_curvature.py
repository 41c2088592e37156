"""Curvatures of misfit and energy, against second differences."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.reconstruction.refinement.curvature import curvature_of_data, curvature_of_energy


def test_curvatures_are_second_derivatives():
    x = relaxed_ball(8.5)
    problem = make_problem(simulate(x, points=16), cluster=True)
    # J of one atom, away from all others, grows by curvature d^2 / 2 on average over places.
    rng = np.random.default_rng(2)
    omega = problem.factor.forward(x)
    moved = []
    for j in rng.integers(0, len(x), 30):
        shift = 1e-3 * rng.normal(size=3)
        one = problem.factor.forward(x[j] + np.array([[0, 0, 0], shift]), np.array([-1.0, 1.0]))
        change = 1.9 * (np.abs(omega + one) - np.abs(omega))
        moved.append(2 * np.sum(change**2) / np.sum(shift**2))
    assert curvature_of_data(problem, 1.9) == pytest.approx(2 * np.mean(moved), rel=0.3)
    energy = curvature_of_energy(problem.cluster, x, np.random.default_rng(3))
    base = problem.cluster.energy_forces(x)[0]
    shift = 0.01 * rng.normal(size=x.shape)
    second = sum(problem.cluster.energy_forces(x + s * shift)[0] - base for s in (1, -1))
    problem.cluster.close()
    assert energy == pytest.approx(second / np.sum(shift**2), rel=0.15)
