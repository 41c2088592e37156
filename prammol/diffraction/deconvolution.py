"""Counts as a point detector would have them, for a start: Richardson-Lucy deconvolution.

With the response R, background b and counts I of valid points v the iteration

    S <- S R^T[v I / (R S + b)] / R^T v

climbs the Poisson likelihood of S (Richardson, J. Opt. Soc. Am. 62, 55 (1972); Lucy, Astron. J.
79, 745 (1974)). A few steps sharpen the speckles and leave the noise as it is. The iteration needs
a response without negative weights: the symmetric one of a few taps that is nearest to R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.optimize import nnls

from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.response import Extent, Response
from prammol.diffraction.response_rows import transfer

Floats = NDArray[np.float64]

# chosen: 250 atoms at 1e18, boxes and Gaussians; 30 and more only raise the noise
_STEPS = 10
_DARK = 1e-3  # derived: photons; keeps a quotient finite
_NODES = 64  # derived: many more than taps


def deconvolved(data: Diffraction, extent: Extent, chosen: Sequence[int]) -> Diffraction:
    """Return the data with the counts of some patches sharpened, and without background there.

    Themselves if they have no response.

    Parameters
    ----------
    data : Diffraction
    extent : Extent
    chosen : sequence of int
        Numbers of the patches, 0 is the first.
    """
    if data.response is None:
        return data
    counts = list(data.counts)
    background = [np.array(b) for b in data.background]
    for k in chosen:
        taps = _taps(data.response, extent.filled(data.patches[k]), k)

        def blurred(values: Floats, taps: Sequence[Floats] = taps) -> Floats:
            for axis, weights in enumerate(taps):
                values = correlate1d(values, weights, axis, mode="nearest")
            return values

        seen = data.valid[k].astype(float)
        photons = np.where(data.valid[k], data.counts[k], 0.0)
        dark = (background[k] if background else 0.0) + _DARK
        norm = np.maximum(blurred(seen), _DARK)
        # Masked points start from their surroundings.
        sharp = (blurred(np.where(data.valid[k], data.signal(k), 0.0)) + _DARK) / norm
        for _ in range(_STEPS):
            sharp *= blurred(seen * photons / (blurred(sharp) + dark)) / norm
        counts[k] = sharp
        if background:
            background[k][:] = 0.0
    return replace(data, counts=counts, background=background, response=None)


def _taps(response: Response, filled: Floats, k: int) -> list[Floats]:
    """Return symmetric weights of each axis, none of them negative, that are nearest to K."""
    out = []
    for box, blur, most in zip(response.box[k], response.blur[k], filled, strict=True):
        reach = int(np.ceil(0.5 * box + 4.0 * blur)) + 1
        u = np.linspace(0.0, most, _NODES)
        waves = np.cos(2.0 * np.pi * np.outer(u, np.arange(reach + 1)))
        waves[:, 1:] *= 2.0
        half, _ = nnls(waves, transfer(u, box, blur))
        out.append(np.concatenate([half[:0:-1], half]))
    return out
