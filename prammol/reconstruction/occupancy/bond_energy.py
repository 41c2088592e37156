"""The bond energy at low signal, by matching surface roughness with and without the data.

Sets of sites have the prior exp(b N) for N bonds. The evidence of b is greatest where sets
sampled with the data and sets of the prior alone are equally smooth: its derivative is the
difference of their mean N. The prior left alone need not come to rest for that: both chains
start from the same set, a likely one, and by how much the surface gets rougher or smoother
without the data in a few sweeps tells where to go (contrastive divergence: Hinton, Neural
Computation 14, 1771 (2002)). Both have the same random numbers: where data say nothing they
are alike, and b stays.

Smoothness is the b that a surface itself tells by the number of neighbours of its atoms and of
its vacant sites (maximum pseudo-likelihood: Besag, The Statistician 24, 179 (1975)): it doesn't
depend on the size of the crystal, and what it is off by is so for both chains.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.gibbs_sampling import swept

# chosen: 600-atom crystals drawn with b = 0.7 to 2, which it finds; spread not recorded
_SWEEPS = 5  # of each chain
_SAME_SITES = np.inf  # free with the data as without: none because the data want it strongly
# chosen: not varied
_LARGEST_STEP = 2.0  # factor by which the worth changes at most


def learnt_bond(
    sites: CandidateSites,
    taken: NDArray[np.bool_],
    bond: float,
    rng: np.random.Generator,
    considered: int,
) -> float:
    """Return the worth of a bond that is likelier than the present one.

    Parameters
    ----------
    sites : CandidateSites
        Whatever a bond is worth there.
    taken : (n,) bool ndarray
        A likely set, sampled with the data.
    bond : float
        The present worth, as a log-likelihood.
    rng : Generator
        In the same state on all ranks.
    considered : int
        How often a flip of each site is considered in a sweep.
    """
    sites = sites.with_bond(bond)
    held = alone = taken
    smoothness = np.zeros(2)
    pair = [np.random.default_rng(seed) for seed in 2 * [rng.integers(2**63)]]
    for _ in range(_SWEEPS):
        near = sites.expand(held, _SAME_SITES)
        held = swept(sites, held, near, pair[0], considered)
        near = sites.without_data(alone)
        alone = swept(sites, alone, near, pair[1], considered)
        smoothness += sites.smoothness(held), sites.smoothness(alone)
    if not smoothness.all():
        return bond
    return bond * float(np.clip(smoothness[0] / smoothness[1], 1 / _LARGEST_STEP, _LARGEST_STEP))
