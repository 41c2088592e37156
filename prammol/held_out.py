"""Points held out in blocks larger than the speckles of the pattern.

Coherent diffraction is oversampled: points closer than a speckle, 2 pi / D for an object of
the size D, say the same. Single held-out points are told by their neighbours, so that they
confirm whatever fits these. Only points further than a speckle from all that were fitted test
a model (cross-validation of correlated data: Roberts et al., Ecography 40, 913 (2017)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction import Diffraction, Shard
from prammol.patches import BraggPatch

_EDGE = 3.0  # speckles, the middle one of which tests


@dataclass(frozen=True)
class HeldOut:
    """Weights of this rank's points, 0 or 1.

    Attributes
    ----------
    fitted : (m,) ndarray
        Points to fit.
    rest : (m,) ndarray
        All others.
    apart : (m,) ndarray
        Those of the rest that are about a speckle or more from any that is fitted.
    """

    fitted: NDArray[np.float64]
    rest: NDArray[np.float64]
    apart: NDArray[np.float64]


def hold_out_blocks(
    data: Diffraction,
    shard: Shard,
    size: float,
    fraction: float,
    rng: np.random.Generator,
) -> HeldOut:
    """Draw blocks of points.

    Parameters
    ----------
    data : Diffraction
    shard : Shard
    size : float
        Size of the object [Å].
    fraction : float
        Part of the blocks held out; one at least.
    rng : Generator
        In the same state on all ranks.
    """
    edges = [_edges_of_block(p, size) for p in data.patches]
    counts = [
        np.ceil(np.array(p.shape) / e).astype(int) for p, e in zip(data.patches, edges, strict=True)
    ]
    numbers = [int(np.prod(c)) for c in counts]
    total = sum(numbers)
    drawn = np.zeros(total, dtype=bool)
    drawn[rng.permutation(total)[: max(1, round(fraction * total))]] = True
    rest, apart = np.zeros(shard.size), np.zeros(shard.size)
    starts = np.cumsum([0] + [p.size for p in data.patches])
    firsts = np.cumsum([0, *numbers])
    for k, patch in enumerate(data.patches):
        here = shard.patch_index == k
        point = np.array(np.unravel_index(shard.global_index[here] - starts[k], patch.shape))
        block, inside = np.divmod(point, edges[k][:, None])
        held = drawn[firsts[k] + np.ravel_multi_index(tuple(block), tuple(counts[k]))]
        # The outermost third of a block has neighbours that are fitted.
        margin = edges[k][:, None] // 3
        middle = ((inside >= margin) & (inside < edges[k][:, None] - margin)).all(axis=0)
        rest[here], apart[here] = held, held & middle
    return HeldOut(1.0 - rest, rest, apart)


def _edges_of_block(patch: BraggPatch, size: float) -> NDArray[np.int_]:
    """Return the edges of a block along each axis, (3,) [points]."""
    steps = np.linalg.norm(patch.step, axis=1)
    points = _EDGE * 2 * np.pi / (steps * size)
    return np.clip(np.round(points), 3, np.maximum(np.array(patch.shape) // 2, 3)).astype(int)
