"""Which model of the motion held-out points prefer."""

from __future__ import annotations

import numpy as np
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.reconstruction.refinement.thermal_model import ThermalModel


def test_the_brightest_points_alone_decide_nothing_while_much_is_unexplained():
    """Better where the photons are and worse everywhere else: counting noise would take it."""
    x = relaxed_ball(8.5)
    problem = make_problem(simulate(x, points=24), x=x, cluster=True)
    model = ThermalModel(problem, x, debye_waller=True, occupancies=True)
    problem.cluster.close()
    rng = np.random.default_rng(3)
    old = problem.factor.forward(x + rng.normal(0, 0.2, x.shape))
    true = problem.factor.forward(x)
    every, size = np.ones(len(old)), np.abs(true)
    worse = old * (1 + 0.3 * rng.choice([-1, 1], len(old)))
    new = np.where(size < np.quantile(size, 0.7), worse, old)
    new = np.where(size > np.quantile(size, 0.98), true, new)
    gain, noise = model.misfit(every).preference(old, new)
    assert gain > 10 * noise
    assert not model.prefers(every, old, new)
    assert model.prefers(every, old, true)
    assert model.prefers(every, old, 0.5 * (old + true))
