"""Wider errors while the model is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit


def misfit_with_model_error(
    shard: Shard,
    factor: StructureFactor,
    omega: NDArray[np.complex128],
    atoms: int,
    points: NDArray[np.float64] | None = None,
) -> PoissonMisfit:
    """Return the misfit whose noise includes what an object doesn't explain.

    Parameters
    ----------
    shard, factor
        As for :class:`PoissonMisfit`.
    omega : (m,) complex ndarray
        Structure factor of the object on this rank's points.
    atoms : int
        How many it has.
    points : (m,) ndarray, optional
        Weight of each point in it, between 0 and 1. How much isn't explained is taken from all.
    """
    exact = PoissonMisfit(shard, factor)
    scale = exact.scale(omega)
    incoherent = scale**2 * atoms
    floor = exact.floor_for(omega, scale, incoherent)
    return PoissonMisfit(shard, factor, points, floor, incoherent)
