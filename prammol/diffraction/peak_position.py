"""Where in a patch the Bragg peak is, also where the detector was saturated there.

A peak whose brightest points are masked has its largest counts beside its centre. The intensity
of a crystal is nearly the same on both sides of the Bragg vector (Friedel's law, but for strain):
the centre is where the amplitudes a and those on the other side are most alike,

    max over c of sum a(q) a(2 c - q) / sum a(q)^2,  q and 2 c - q both valid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.outshining import brightest

Floats = NDArray[np.float64]
Points = NDArray[np.bool_]

_REACH = 2  # derived: points, half of the narrowest peak
_AROUND = 12  # chosen: points; holes of 300, balls of 300 to 4692 atoms
_HIDDEN = 0.1  # chosen: between a few bad pixels and a hole's edge; not varied
_ENOUGH = 0.5  # derived: of the photons, that have a partner


def peak_points(counts: Floats, valid: Points, signal: Floats) -> tuple[NDArray[np.int_], Floats]:
    """Return points of a patch, (m, 3), whose weighted mean is the peak, and the weights, (m,).

    Those within two points of the brightest one that isn't a zinger; if more than a tenth of these
    are masked, those next to the centre of symmetry.

    Parameters
    ----------
    counts, valid : ndarray
        Of the patch.
    signal : ndarray
        Counts less background, 0 where not valid.
    """
    number, seen = brightest(counts, valid, signal)
    top = np.unravel_index(number, counts.shape)
    index = _box(top, _REACH, counts.shape)
    near = tuple(index.T)
    weight = seen[near]
    if weight.sum() == 0:
        return index, (index == np.array(top)).all(axis=1).astype(float)
    if 1.0 - valid[near].mean() < _HIDDEN:
        return index, weight
    wide = _box(top, _AROUND, counts.shape)
    corner = wide.min(axis=0)
    shape = wide.max(axis=0) + 1 - corner
    places = tuple(wide.T)
    centre = corner + _symmetric(
        np.sqrt(seen[places]).reshape(shape), valid[places].astype(float).reshape(shape)
    )
    index = _box(np.floor(centre).astype(np.intp), 1, counts.shape)
    linear = np.prod(np.maximum(1.0 - np.abs(index - centre), 0.0), axis=1)
    return index, linear


def _box(
    middle: Sequence[np.intp] | NDArray[np.intp], reach: int, shape: Sequence[int]
) -> NDArray[np.int_]:
    """Return the indices of the points around one, (m, 3)."""
    part = tuple(
        slice(max(int(t) - reach, 0), min(int(t) + reach + 1, n))
        for t, n in zip(middle, shape, strict=True)
    )
    return np.asarray(np.mgrid[part]).reshape(3, -1).T


def _symmetric(amplitude: Floats, valid: Floats) -> Floats:
    """Return the index about which amplitudes are most symmetric, (3,), a multiple of a half."""
    from scipy.signal import fftconvolve  # half a second, for what hardly any data need

    alike = fftconvolve(amplitude, amplitude)
    compared = fftconvolve(amplitude**2, valid)
    enough = compared > _ENOUGH * compared.max()
    ratio = np.where(enough, alike / np.where(enough, compared, 1.0), 0.0)
    return 0.5 * np.array(np.unravel_index(int(ratio.argmax()), ratio.shape), dtype=float)
