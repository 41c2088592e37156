"""Positions fitted to the counts with the energy as a restraint."""

from __future__ import annotations

from types import SimpleNamespace

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


class Downhill:
    """A misfit that falls for ever, and an energy that is nothing."""

    farthest = 0.0

    def __call__(self, y, positions, scale):
        self.farthest = max(self.farthest, float(np.abs(y).max()))
        return SimpleNamespace(value=-1e3 * y.sum(), d_positions=np.full(y.shape, -1e3), scale=1.0)

    def energy_forces(self, y):
        return 0.0, np.zeros(y.shape)


def test_no_atom_is_tried_farther_than_its_place_can_be():
    """Transforms of an atom that has flown off would need all memory."""
    hill = Downhill()
    found = restrained_fit(hill, hill, np.zeros((4, 3)), 1.0, 30)
    assert np.isfinite(found).all()
    assert 0.5 < found.max() <= hill.farthest <= 5.0
