"""Positions fitted to the counts with the energy as a restraint."""

from __future__ import annotations

import numpy as np
from small_crystal import ball_and_misfit

from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.refinement.restrained_fit import restrained_fit


def test_atoms_move_to_where_the_data_want_them():
    """The energy alone would do it as well: so it gets almost no weight here."""
    x, misfit = ball_and_misfit()
    y = x + np.random.default_rng(1).normal(0, 0.05, x.shape)
    cluster = Cluster(aluminium())
    fitted = restrained_fit(misfit, cluster, y, 1e-3, 60)
    cluster.close()
    off = fitted - x
    start = y - x
    assert np.abs(off - off.mean(axis=0)).mean() < 0.2 * np.abs(start - start.mean(axis=0)).mean()
