"""Crystals of which one missing atom is hardly seen."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import relaxed_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.reconstruction.occupancy.low_signal import is_low_signal


@pytest.mark.parametrize(("worth", "low"), [(10.0, True), (40.0, False)])
def test_low_signal_is_what_one_missing_atom_changes(worth, low):
    """C^2 for each point: about half the square of the standard deviations it is seen with."""
    ball = relaxed_ball(12.0)
    points = 3 * 16**3
    scale = np.sqrt(worth / points)
    shard = local_shard(simulate(ball, points=16, scale=scale), Communicator())
    factor = StructureFactor(shard.patches, 1e-6)
    assert is_low_signal(shard, factor, factor.forward(ball)) is low
