"""Sums over points, block by block: no intermediate value is as large as the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

# chosen: speed only, 375 000 points; 8192 against whole arrays
_BLOCK = 8192  # points whose intermediate values stay in the cache
Derivatives = Callable[[slice], NDArray[np.float64]]
"""Derivatives by some parameters, (k, p), on some points."""


def blocks(points: int) -> Iterator[slice]:
    """Yield neighbouring points."""
    return (slice(k, min(k + _BLOCK, points)) for k in range(0, points, _BLOCK))


def at_points(values: NDArray[np.float64]) -> Derivatives:
    """Return what gives values, (k, m), on some of the points."""
    return lambda points: values[:, points]
