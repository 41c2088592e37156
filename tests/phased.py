"""A crystal whose patches have their true phases, as if phasing were perfect."""

from __future__ import annotations

from functools import cache

import numpy as np
from small_crystal import fcc_ball

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.phasing.hio_er import (
    PhasedPatch,
    gaussian_window,
)

# In an order in which the matrix isn't symmetric: a transpose must be noticed.
ORDER = ((1, 1, -1), (-1, 1, 1), (1, -1, 1))


PEAKS = 2 * np.pi / 4.05 * np.array(ORDER)


WIDTH = 0.3 * 2 * np.pi / 4.05


NEIGHBOUR = 4.05 / np.sqrt(2)


@cache
def bitten_ball():
    """A ball with a bite, so that it isn't its own inverse."""
    x = fcc_ball(13.0)
    x = x[np.linalg.norm(x - [12, 3, 1], axis=1) > 8]
    return x - x.mean(axis=0) + [3.0, -2.0, 1.0]


@cache
def phased_patches():
    """Its patches with their true phases."""
    centre = np.array([3.0, -2.0, 1.0])
    out = []
    for patch, peak in zip(paper_patches(24, peaks=ORDER), PEAKS, strict=True):
        field = direct_structure_factor(patch.q(), bitten_ball() - centre).reshape(patch.shape)
        window = gaussian_window(patch, peak, WIDTH)
        field = (field * window).astype(np.complex64)
        out.append(PhasedPatch(patch, peak, field, centre, 0.0, 0.0))
    return out
