"""Mean square displacements found from counts."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import relaxed_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.debye_waller import ThermalStructureFactor
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.refinement.thermal_motion import fit_displacements
from prammol.structure.surface import neighbour_classes

COMM = Communicator()

LENGTH = 2 * np.pi * np.sqrt(3) / 4.05


@pytest.mark.parametrize("hopping", [False, True])
def test_displacements_are_found_from_counts(hopping):
    x = relaxed_ball(10.0)
    classes = neighbour_classes(x, 1.22 * 2.864, fewest=30)
    truth = 0.01 + 0.008 * np.arange(classes.max() + 1)
    rng = np.random.default_rng(4)
    present = np.where(classes > 1, rng.uniform(0.3, 1.0, len(x)), 1.0) if hopping else None
    data = simulate(x, points=24, displacements=truth[classes], occupancies=present)
    shard = local_shard(data, COMM)
    factor = StructureFactor(shard.patches, 1e-9)
    found = fit_displacements(PoissonMisfit(shard, factor), x, classes, None, present)
    assert np.abs(found - truth).max() < 1e-3
    moving = ThermalStructureFactor(
        shard.patches, found[classes], LENGTH, 1e-9, occupancies=present
    )
    still, best = PoissonMisfit(shard, factor)(x), PoissonMisfit(shard, moving)(x)
    # Noise alone gives one half for each point.
    assert best.value == pytest.approx(0.5 * factor.size, rel=0.03)
    assert still.value > 4 * best.value
