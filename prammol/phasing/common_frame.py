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

# A support that fits has fixed both already.
_LESS = (
    0.5  # chosen: times the mismatch of the shapes, for another frame; gold of 6172 atoms in a box
)
_HAND = 0.9  # chosen: times that of the same hand, for the other; not varied
_STILL = 1.5  # derived: voxels; phasing in a common envelope mends a step of one


def in_common_frame(
    phased: Mapping[int, PhasedPatch], masks: Mapping[int, NDArray[np.bool_]]
) -> dict[int, PhasedPatch]:
    """Return the patches shifted and inverted so that all are of one object.

    The one with the least error stays as it is, and so do those whose shapes hardly fit better
    then.

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
        along = np.fft.ifftn(wanted * wave.conj()).real
        same, shift = _top(along)
        other, total = _top(np.fft.ifftn(wanted * wave).real)
        p = out[k] = phased[k]
        inverted = 1.0 - other < _HAND * (1.0 - same)
        if 1.0 - max(same, other) > _LESS * (1.0 - along[0, 0, 0]):
            continue
        # The two indices of a point and its inverse add up to twice the middle.
        shift = total - 2 * half if inverted else shift
        shift = (shift + half) % patch.shape - half
        if not inverted and np.abs(shift).max() < _STILL:
            continue
        turn = (p.patch.q() - p.peak) @ (shift @ patch.voxel())
        field = p.field.conj() if inverted else p.field
        field = field * np.exp(-1j * turn).reshape(p.patch.shape)
        out[k] = replace(p, field=field.astype(np.complex64))
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
