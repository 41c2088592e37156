"""The thermal expansion of a perfect crystal, against a free particle's mean positions."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.errors import SimulationError
from prammol.potentials import periodic_crystal
from prammol.potentials.lammps import Cluster
from prammol.potentials.periodic_crystal import thermal_expansion
from prammol.potentials.potential import aluminium


@pytest.mark.slow
def test_the_expansion_is_that_of_a_particle_whose_atoms_vibrate():
    kelvin = 300.0
    cluster = Cluster(aluminium())
    x, _, _ = cluster.relax(fcc_ball(12.0), force_tolerance=1e-4)
    inside = np.linalg.norm(x - x.mean(axis=0), axis=1) < 7.0
    arm = x[inside] - x[inside].mean(axis=0)
    stretched = []

    def visit(y):
        now = y[inside] - y[inside].mean(axis=0)
        # singular values: what the particle does besides turning
        even = np.linalg.lstsq(arm, now, rcond=None)[0]
        stretched.append(np.mean(np.linalg.svd(even, compute_uv=False)) - 1.0)

    cluster.sample_nvt(x, kelvin, 1, visit, 1000, 4000, 20, timestep=2.0)
    cluster.close()
    assert thermal_expansion(aluminium(), kelvin) == pytest.approx(np.mean(stretched), rel=0.15)


def test_a_crystal_that_falls_apart_has_no_expansion(monkeypatch):
    monkeypatch.setattr(periodic_crystal, "_STEPS", (200, 200))
    with pytest.raises(SimulationError):
        thermal_expansion(aluminium(), 1e6)
