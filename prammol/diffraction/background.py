"""Background that is declared: photons that the crystal didn't scatter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import MOST_COUNTS

Background = float | Sequence[NDArray[np.float64]]


def background_arrays(
    background: Background, patches: Sequence[BraggPatch]
) -> list[NDArray[np.float64]]:
    """Return one array per patch from one number for all of them; none for 0.

    Raises
    ------
    InputError
        If it is negative, not finite, above 1e18 or fits no patch.
    """
    if not isinstance(background, Sequence):
        if not 0 <= background <= MOST_COUNTS:
            msg = f"the background is {background}, expected photons per point, at least 0"
            raise InputError(msg)
        return [np.full(p.shape, float(background)) for p in patches] if background else []
    arrays = [np.asarray(b, dtype=float) for b in background]
    shapes = [b.shape for b in arrays]
    if arrays and shapes != [p.shape for p in patches]:
        msg = f"the background has shapes {shapes}, expected {[p.shape for p in patches]}"
        raise InputError(msg)
    if not all(((b >= 0) & (b <= MOST_COUNTS)).all() for b in arrays):
        msg = "the background contains NaN, infinity or negative numbers, expected photons"
        raise InputError(msg)
    return arrays
