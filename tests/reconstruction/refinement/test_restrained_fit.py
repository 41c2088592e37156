"""Positions fitted to the counts with the energy as a restraint."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import relaxed_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.refinement.restrained_fit import restrained_fit

COMM = Communicator()


@pytest.fixture(scope="module")
def case():
    x = relaxed_ball(8.5)
    shard = local_shard(simulate(x, points=20), COMM)
    factor = StructureFactor(shard.patches, 1e-9)
    return x, PoissonMisfit(shard, factor)


def test_atoms_move_to_where_the_data_want_them(case):
    """The energy alone would do it as well: so it gets almost no weight here."""
    x, misfit = case
    y = x + np.random.default_rng(1).normal(0, 0.05, x.shape)
    cluster = Cluster(aluminium())
    pulled = restrained_fit(misfit, cluster, y, 1e-3, 60)
    cluster.close()
    off = pulled - x
    start = y - x
    assert np.abs(off - off.mean(axis=0)).mean() < 0.2 * np.abs(start - start.mean(axis=0)).mean()
