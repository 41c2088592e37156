"""Terraces and rows: layers on a face of a crystal, whole or in part, and what its edges hold.

A layer that covers a part of a face ends in steps along planes of the lattice. Which of them the
crystal has, or lacks, are some thousand questions, of which each is about many atoms. Along its
edges and steps whole rows of atoms may be there or not, some hundred questions more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from prammol.reconstruction.occupancy.surface_blocks import Floats, Ints, SurfaceBlocks

_CUTS = 8  # chosen: places of a step on a terrace, evenly; not varied
_FEWEST = 3  # derived: an island of fewer atoms is a matter of single ones
# derived: of twelve neighbours atoms at an edge have seven, in a face eight or nine; a vacant site
# beside a step has five, on a face three or four
_AT_EDGE, _AT_STEP = 0.6, 0.4


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


def rows(blocks: SurfaceBlocks) -> Iterator[Ints]:
    """Yield blocks, (m,) int: rows of atoms along edges, of vacant sites along steps, their ends.

    Parameters
    ----------
    blocks : SurfaceBlocks
        The shape. It may change between two blocks if it is changed back.
    """
    neighbours, number = blocks.lattice.neighbours, blocks.number.copy()
    coordination = neighbours.shape[1]
    for state in (True, False):
        loose = number <= _AT_EDGE * coordination if state else number >= _AT_STEP * coordination
        loose = np.append(loose & (blocks.taken == state), False)
        yield from (np.array([site]) for site in np.flatnonzero(loose))
        for one, other in _opposite(blocks.lattice.vectors):
            first = np.flatnonzero(loose[:-1] & ~loose[neighbours[:, other]])
            for site in first:
                row = [site]
                while loose[site := neighbours[row[-1], one]]:
                    row.append(site)
                if len(row) > 1:
                    yield np.array(row)


def _opposite(vectors: Floats) -> list[tuple[int, int]]:
    """Return pairs of opposite vectors, each once."""
    other = np.linalg.norm(vectors[:, None] + vectors, axis=2).argmin(axis=1)
    return [(k, int(n)) for k, n in enumerate(other) if k < n]
