"""How many photons are added to data and model."""

from __future__ import annotations

import numpy as np

from prammol.diffraction.dataset import Shard

# chosen: vacancy crystal, 3.8e15; ten times more halves the curvature; same atoms from 0.005 to
# 0.02 (600 atoms at 1e18)
EXTRA = 0.01  # photons added to data and model, at most
# Fewer where photons are few: what is added hides what less than that would tell.
# chosen: vacancy crystal, 3e14, where 0.01 hid half of the information; same atoms from 0.00375 to
# 0.015 (600 atoms at 1e18)
_EXTRA_PART = 0.0075  # of the mean signal of a point
_EXTRA_LEAST = 1e-6  # derived: keeps logarithms finite


def extra_photons(shard: Shard) -> float:
    """Return how many photons are added to data and model, the same for all ranks."""
    background = 0.0 if shard.background is None else float(shard.background.sum())
    # Both are 0 where not valid.
    sums = np.array([shard.counts.sum() - background, shard.valid.sum()], dtype=float)
    signal, points = shard.comm.allreduce(sums)
    return float(np.clip(_EXTRA_PART * signal / max(points, 1.0), _EXTRA_LEAST, EXTRA))
