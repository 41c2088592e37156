"""Occupancies between 0 and 1, fitted to counts."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import relaxed_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.continuous import fit_occupancies

COMM = Communicator()


@pytest.fixture(scope="module")
def case():
    x = relaxed_ball(8.5)
    shard = local_shard(simulate(x, points=20), COMM)
    factor = StructureFactor(shard.patches, 1e-9)
    return x, PoissonMisfit(shard, factor)


def test_occupancies_of_wrong_atoms_vanish_and_of_true_ones_are_full(case):
    x, misfit = case
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
