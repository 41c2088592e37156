"""Photons are whole numbers: half the memory of doubles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_integers(counts: NDArray[Any]) -> NDArray[Any]:
    """Return counts as 32-bit integers if that changes none, else as they are.

    Not as shorter ones: numpy takes the root of those in single precision.
    """
    if counts.dtype == np.int32 or not counts.size:
        return counts
    with np.errstate(invalid="ignore"):  # where masked there may be anything
        whole = counts.astype(np.int32)
    return whole if np.array_equal(whole, counts) else counts
