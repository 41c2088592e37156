"""Terraces: a layer on a face of a crystal, whole or as far as another face's plane.

A layer that covers a part of a face ends in steps along planes of the lattice. Which of them the
crystal has, or lacks, are some thousand questions, of which each is about many atoms.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from prammol.reconstruction.occupancy.surface_blocks import Ints, SurfaceBlocks

_CUTS = 8  # chosen: places of a step on a terrace, evenly; not varied
_FEWEST = 3  # derived: an island of fewer atoms is a matter of single ones


def terraces(blocks: SurfaceBlocks) -> Iterator[Ints]:
    """Yield blocks, (m,) int: each layer that may come or go, and its parts.

    Parameters
    ----------
    blocks : SurfaceBlocks
        The shape. It may change between two blocks if it is changed back.
    """
    seen: set[bytes] = set()
    layers = blocks.lattice.layers
    for face in range(len(layers)):
        for whole in blocks.outermost(face):
            for other in range(len(layers)):
                along = layers[other, whole]
                ends = np.unique(along)
                for end in ends[np.unique(np.linspace(0, len(ends) - 1, _CUTS).astype(int))]:
                    part = whole[along <= end]
                    key = np.sort(part).tobytes()
                    if len(part) >= _FEWEST and key not in seen:
                        seen.add(key)
                        yield part
