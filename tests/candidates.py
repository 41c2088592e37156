"""Positions of which some hold an atom: how bright they are, and Eq. 6 for any of them."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from small_crystal import box

from prammol.diffraction.bragg_patch import cubic_patch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor

SCALE = 3.0

PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))

WIDE, NARROW = box(45.0), box(9.0)  # points to spare: none, seven of eight


def likelihood(q, counts, x, scale=SCALE, points=slice(None)):
    """Eq. 6 by direct summation."""
    lam = np.abs(scale * direct_structure_factor(q, x)) ** 2
    return np.sum((counts * np.log(lam) - lam)[points])


def dozen(rng: np.random.Generator) -> tuple[NDArray[np.float64], Diffraction]:
    """A dozen positions well apart, and the counts of the first eight."""
    sites = np.array(list(product(range(3), range(2), range(2))), dtype=float) * 3.1
    sites += rng.normal(scale=0.2, size=sites.shape)
    rng.shuffle(sites)
    patches = [cubic_patch(p, 0.5, 13, 4.05) for p in PEAKS]
    counts = [
        rng.poisson(np.abs(SCALE * direct_structure_factor(p.q(), sites[:8])) ** 2)
        .reshape(p.shape)
        .astype(float)
        for p in patches
    ]
    return sites, Diffraction(patches, counts)
