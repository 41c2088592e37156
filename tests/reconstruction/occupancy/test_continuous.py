"""Occupancies between 0 and 1, fitted to counts."""

from __future__ import annotations

import numpy as np
from small_crystal import ball_and_misfit

from prammol.reconstruction.occupancy.continuous import fit_occupancies


def test_occupancies_of_wrong_atoms_vanish_and_of_true_ones_are_full():
    x, misfit = ball_and_misfit()
    rng = np.random.default_rng(4)
    false = x[:6] * 1.0 + rng.normal(0, 1.0, (6, 3))
    sites = np.vstack([x, false])
    start = np.full(len(sites), 0.5)
    free = np.zeros(len(sites), dtype=bool)
    free[:20] = free[len(x) :] = True
    start[~free] = 1.0
    found = fit_occupancies(misfit, sites, start, free, 60, 1e-9)
    assert (found[: len(x)] > 0.9).all()
    assert (found[len(x) :] < 0.1).all()
    assert (found[20 : len(x)] == 1).all()
