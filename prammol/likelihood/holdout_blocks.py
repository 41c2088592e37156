"""Points held out in blocks larger than the speckles of the pattern.

Coherent diffraction is oversampled: points closer than a speckle, 2 pi / D for an object of
the size D, say the same. Single held-out points are told by their neighbours, so that they
confirm whatever fits these. Only points further than a speckle from all that were fitted test
a model (cross-validation of correlated data: Roberts et al., Ecography 40, 913 (2017)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction, Shard

# derived: a speckle that tests and one either side to keep it from what is fitted
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


def peak_window(shard: Shard, peaks: NDArray[np.float64], blur: float) -> NDArray[np.float64]:
    """Return exp(-(d blur)^2 / 2), d the distance of each point to its Bragg peak.

    Parameters
    ----------
    shard : Shard
        This rank's points.
    peaks : (p, 3) ndarray
        Bragg peak of each patch [1/Å].
    blur : float
        Width of the real-space Gaussian the window belongs to [Å].
    """
    if not shard.patches:
        return np.zeros(0)
    offset = np.concatenate([p.q() for p in shard.patches]) - peaks[shard.patch_index]
    return np.exp(-0.5 * blur**2 * np.sum(offset**2, axis=1))


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
    label, inside, total = _blocks(data, shard, edges)
    drawn = np.zeros(total, dtype=bool)
    drawn[rng.permutation(total)[: max(1, round(fraction * total))]] = True
    held = drawn[label]
    # The outermost third of a block has neighbours that are fitted.
    edge = np.array(edges)[shard.patch_index].T
    margin = edge // 3
    middle = ((inside >= margin) & (inside < edge - margin)).all(axis=0)
    rest = held.astype(float)
    return HeldOut(1.0 - rest, rest, (held & middle).astype(float))


def random_field(
    data: Diffraction, shard: Shard, size: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a Gaussian field of mean 0 and variance 1, about the same over a speckle, (m,).

    Errors times such a field vary as their sums do, though they go together from point to point
    (dependent wild bootstrap: Shao, J. Am. Stat. Assoc. 105, 218 (2010)).

    Parameters
    ----------
    data : Diffraction
    shard : Shard
    size : float
        Size of the object [Å].
    rng : Generator
        In the same state on all ranks.
    """
    parts, start = [], 0
    for k, patch in enumerate(data.patches):
        rows = [
            _between(n, edge)
            for n, edge in zip(patch.shape, _edges_of_block(patch, size), strict=True)
        ]
        field = rng.normal(size=[r.shape[1] for r in rows])
        for r in rows:
            field = np.tensordot(field, r, axes=(0, 1))
        parts.append(field.ravel()[shard.global_index[shard.patch_index == k] - start])
        start += patch.size
    return np.concatenate(parts)


def _between(points: int, edge: int) -> NDArray[np.float64]:
    """Return rows that interpolate between nodes, each of norm 1, (points, nodes)."""
    node, part = np.divmod(np.arange(points), edge)
    rows = np.zeros((points, points // edge + 2))
    rows[np.arange(points), node] = 1.0 - part / edge
    rows[np.arange(points), node + 1] = part / edge
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _blocks(
    data: Diffraction, shard: Shard, edges: Sequence[NDArray[np.int_]]
) -> tuple[NDArray[np.int_], NDArray[np.int_], int]:
    """Divide all patches into blocks of some edges [points].

    Returns
    -------
    label : (m,) int ndarray
        Block of each of this rank's points.
    inside : (3, m) int ndarray
        Where in its block each is.
    total : int
        Number of blocks.
    """
    label = np.zeros(shard.size, dtype=int)
    inside = np.zeros((3, shard.size), dtype=int)
    start = total = 0
    for k, (patch, edge) in enumerate(zip(data.patches, edges, strict=True)):
        here = shard.patch_index == k
        counts = tuple(-(-np.array(patch.shape) // edge))
        point = np.array(np.unravel_index(shard.global_index[here] - start, patch.shape))
        block, inside[:, here] = np.divmod(point, edge[:, None])
        label[here] = total + np.ravel_multi_index(tuple(block), counts)
        start, total = start + patch.size, total + int(np.prod(counts))
    return label, inside, total


def _edges_of_block(patch: BraggPatch, size: float) -> NDArray[np.int_]:
    """Return the edges of a block along each axis, (3,) [points]."""
    steps = np.linalg.norm(patch.step, axis=1)
    points = _EDGE * 2 * np.pi / (steps * size)
    return np.clip(np.round(points), 3, np.maximum(np.array(patch.shape) // 2, 3)).astype(int)
