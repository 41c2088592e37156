"""How the images of atoms at neighbouring sites overlap, and which sites are neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from scipy.spatial import cKDTree

from prammol.core.parallel import Communicator, share
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.whole_field import on_every_rank

# derived: 200 bytes for a pair, 64 for a point on a grid 2^3 times as fine in single precision
_POINTS_PER_PAIR = 3
# chosen: speed only, 26 MB; a transform takes longer than so many pairs on any smaller grid
_LEAST_PAIRS = 131_072


def overlaps(
    factor: StructureFactor,
    sharpness: NDArray[np.float64],
    sites: NDArray[np.float64],
    reach: float,
    comm: Communicator,
) -> csr_matrix:
    """Return H of all pairs of sites closer than `reach`, in units of its diagonal, (n, n).

    Parameters
    ----------
    factor : StructureFactor
    sharpness : (m,) ndarray
        Weight s of each point, :meth:`prammol.likelihood.quasi_likelihood.PoissonMisfit.sharpness`.
    sites : (n, 3) ndarray
        Positions [Å].
    reach : float
        Distance beyond which the overlap is left out [Å].
    comm : Communicator
    """
    if factor.amplitude is not None:
        sharpness = sharpness * factor.amplitude  # the adjoint has the other one
    whole, field = on_every_rank(factor, sharpness, comm)
    one = whole.adjoint(field, np.zeros((1, 3))).real[0]

    def alike(apart: NDArray[np.float64]) -> NDArray[np.float32]:
        # Single precision: the transforms aren't any more exact.
        return (whole.adjoint(field, apart).real / one).astype(np.float32)

    # As many pairs at a time as take the memory of a transform.
    most = max(whole.size // _POINTS_PER_PAIR, _LEAST_PAIRS)
    upper = _upper(sites, reach, most, alike, diagonal=0.5, comm=comm)
    return _symmetric(upper)


def pairwise(sites: NDArray[np.float64], reach: float) -> csr_matrix:
    """Return a symmetric array with 1.0 for all pairs closer than `reach`."""
    return _symmetric(_upper(sites, reach, _LEAST_PAIRS))


def _upper(
    sites: NDArray[np.float64],
    reach: float,
    most: int,
    value: Callable[[NDArray[np.float64]], NDArray[np.floating]] | None = None,
    diagonal: float = 0.0,
    comm: Communicator | None = None,
) -> csr_matrix:
    """Return an array with a value for each pair of sites closer than `reach`, i < j, (n, n).

    Parameters
    ----------
    sites : (n, 3) ndarray
        Positions [Å].
    reach : float
        Distance [Å].
    most : int
        About so many pairs at a time.
    value : callable, optional
        Values for differences of positions, (p, 3) [Å], as (p,); 1.0 if not given.
    diagonal : float
        Value on the diagonal.
    comm : Communicator, optional
        Its ranks share the pairs; each does all if not given.
    """
    n, tree = len(sites), cKDTree(sites)
    start, end = (0, n) if comm is None else share(n, comm.rank, comm.size)
    blocks = [csr_matrix((0, n))]
    at_once = 1 + int(most // max(tree.count_neighbors(tree, reach) / max(n, 1), 1.0))
    for first in range(start, end, at_once):
        block = sites[first : min(first + at_once, end)]
        found = cKDTree(block).sparse_distance_matrix(tree, reach, output_type="ndarray")
        i, j = found["i"], found["j"]
        del found
        later = j > i + first
        i, j = i[later].astype(np.int32), j[later].astype(np.int32)
        values = np.ones(len(i)) if value is None else value(block[i] - sites[j])
        own = np.arange(len(block) if diagonal else 0, dtype=np.int32)
        values = np.concatenate([values, np.full(len(own), diagonal, dtype=values.dtype)])
        i, j = np.concatenate([i, own]), np.concatenate([j, own + np.int32(first)])
        blocks.append(csr_matrix((values, (i, j)), shape=(len(block), n)))
    mine = csr_matrix(vstack(blocks, format="csr"))
    return mine if comm is None else csr_matrix(vstack(comm.gather(mine), format="csr"))


def _symmetric(upper: csr_matrix) -> csr_matrix:
    """Return an array plus its transpose."""
    return (upper + upper.T.tocsr()).tocsr()
