"""One frame for objects that were phased apart.

Counts don't change when the object is shifted or inverted. Where the support is loose, or looks
the same from both sides, phase retrieval leaves each patch its own shift and hand. The shape is
common to all of them: the amplitudes of the waves say what to undo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prammol.core.parallel import Communicator
from prammol.phasing.fourier_synthesis import Waves
from prammol.phasing.hio_er import PhasedPatch, dual_grid

_LESS = 0.9  # chosen: times the mismatch of the shapes, for another hand; not varied
_STILL = 0.5  # derived: voxels; the grid doesn't tell less


def in_common_frame(
    phased: Mapping[int, PhasedPatch], masks: Mapping[int, NDArray[np.bool_]]
) -> dict[int, PhasedPatch]:
    """Return the patches shifted and inverted so that all are of one object.

    The one with the least error stays as it is, and so do those that are shifted by less than
    half a voxel.

    Parameters
    ----------
    phased : mapping of int to PhasedPatch
        All with the same origin.
    masks : mapping of int to bool ndarray
        The support of each on its own grid in real space.
    """
    keys = sorted(phased)
    first = min(keys, key=lambda k: phased[k].error)
    patch, mask = phased[first].patch, masks[first]
    size = np.zeros((len(keys), *patch.shape))
    waves = Waves([phased[k] for k in keys], Communicator())
    size[:, mask] = np.abs(waves(dual_grid(patch)[mask.ravel()])).T
    size /= np.sqrt(np.sum(size**2, axis=(1, 2, 3), keepdims=True))
    wanted = np.fft.fftn(size[keys.index(first)])
    half = np.array(patch.shape) // 2
    out = {first: phased[first]}
    for k, own in zip(keys, size, strict=True):
        if k == first:
            continue
        wave = np.fft.fftn(own)
        same, shift = _top(np.fft.ifftn(wanted * wave.conj()).real)
        other, total = _top(np.fft.ifftn(wanted * wave).real)
        p = phased[k]
        if 1.0 - other < _LESS * (1.0 - same):
            # The two indices of a point and its inverse add up to twice the middle.
            shift = total - 2 * half
            p = replace(p, field=p.field.conj())
        shift = (shift + half) % patch.shape - half
        if np.abs(shift).max() >= _STILL:
            turn = (p.patch.q() - p.peak) @ (shift @ patch.voxel())
            field = p.field * np.exp(-1j * turn).reshape(p.patch.shape)
            p = replace(p, field=field.astype(np.complex64))
        out[k] = p
    return out


def _top(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the largest value of a periodic field and where it is, between points, (3,)."""
    place = np.unravel_index(int(values.argmax()), values.shape)
    shift = np.array(place, dtype=float)
    for axis, n in enumerate(values.shape):
        line = np.moveaxis(values, axis, 0)[(slice(None), *np.delete(place, axis))]
        before, here, after = line[(place[axis] + np.arange(-1, 2)) % n]
        bend = before - 2.0 * here + after
        shift[axis] += 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(values.max()), shift
