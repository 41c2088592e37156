"""Peaks of one grain: a patch may hold a brighter one of another.

Three peaks of a grain have lengths and angles of reflections of the potential's crystal; peaks of
two grains that share none of them don't. Of the sets that do, the brightest is taken.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import DataError
from prammol.diffraction.bragg_patch import dimensions
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.peak_position import peak_points
from prammol.phasing.indexing import indexed
from prammol.potentials.potential import Potential

Floats = NDArray[np.float64]

_APART = 0.15  # derived: half of what peaks of twins are apart at least, of their length
_PART = 5e-3  # chosen: as of grains; see there
_MOST = 4  # derived: as many as grains that meet in an edge, less one


def with_own_peaks(data: Diffraction, potential: Potential) -> Diffraction:
    """Return the data with Bragg vectors of one grain.

    Itself where the brightest peaks are of one grain, or no three peaks are. Patches without a peak
    of the grain keep their brightest.

    Parameters
    ----------
    data : Diffraction
    potential : Potential
        Gives structure and lattice constant.
    """
    peaks = data.peaks()
    if potential.compound or dimensions(peaks) < 3 or len(peaks) < 3:
        return data
    triples = [list(t) for t in combinations(range(len(peaks)), 3)]
    if any(of_one_grain(peaks[t], potential) for t in triples):
        return data
    rivals = [_rivals(data, k) for k in range(len(peaks))]
    best, found = -np.inf, None
    for triple in triples:
        for chosen in product(*(rivals[k] for k in triple)):
            light = sum(np.log(height) for _, height in chosen)
            if light > best and of_one_grain(np.array([q for q, _ in chosen]), potential):
                best, found = light, dict(zip(triple, (q for q, _ in chosen), strict=True))
    if found is None:
        return data
    own = peaks.copy()
    for k, q in found.items():
        own[k] = q
    return replace(data, bragg=own)


def of_one_grain(peaks: Floats, potential: Potential) -> bool:
    """Tell whether three peaks, rows of (3, 3) [1/Å], may be reflections of one crystal."""
    if dimensions(peaks) < 3:
        return False
    try:
        return len(indexed(peaks, potential)) > 0
    except DataError:
        return False


def _rivals(data: Diffraction, k: int) -> list[tuple[Floats, float]]:
    """Return the peaks of a patch, brightest first: Bragg vector [1/Å] and photons."""
    patch, valid = data.patches[k], data.valid[k].copy()
    points = patch.q().reshape(*patch.shape, 3)
    found: list[tuple[Floats, float]] = []
    while len(found) < _MOST and valid.any():
        signal = np.where(valid, data.signal(k), 0.0)
        index, weight = peak_points(data.counts[k], valid, signal)
        q = weight @ patch.at(index) / max(float(weight.sum()), 1e-300)
        height = float(signal[tuple(index.T)].max())
        if height <= max(1.0, _PART * (found[0][1] if found else 0.0)):
            break
        found.append((q, height))
        valid &= np.linalg.norm(points - q, axis=3) > _APART * np.linalg.norm(q)
    return found
