"""Positions of which some hold an atom: how bright they are, and Eq. 6 for any of them."""

from __future__ import annotations

import numpy as np
from small_crystal import box

from prammol.diffraction.structure_factor import direct_structure_factor

SCALE = 3.0


PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))

WIDE, NARROW = box(45.0), box(9.0)  # points to spare: none, seven of eight


def likelihood(q, counts, x, scale=SCALE, points=slice(None)):
    """Eq. 6 by direct summation."""
    lam = np.abs(scale * direct_structure_factor(q, x)) ** 2
    return np.sum((counts * np.log(lam) - lam)[points])
