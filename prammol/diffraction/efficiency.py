"""What of a gain acts before the response of the detector, and what after it.

Form factor, polarisation and solid angle vary smoothly over a patch: they are part of the intensity
that pixel and blur average. Flat field and dead time differ from pixel to pixel: they count what
is left of the average.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.polynomial.legendre import legval
from numpy.typing import NDArray

_DEGREE = 3  # chosen: form factor and polarisation over a patch to 1e-3; not varied


def smooth_part(gain: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the smooth part of a gain, at masked points, too.

    The exponential of the polynomial of third degree that fits its logarithm best.

    Parameters
    ----------
    gain : (n1, n2, n3) ndarray
        Positive where valid.
    valid : (n1, n2, n3) bool ndarray
        If no point is, 1 is returned.
    """
    if not valid.any():
        return np.ones(gain.shape)
    axes = [np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in gain.shape]
    along = [np.array([legval(a, unit) for unit in np.eye(_DEGREE + 1)]) for a in axes]
    powers = [p for p in product(range(_DEGREE + 1), repeat=3) if sum(p) <= _DEGREE]
    columns = np.array(
        [
            (along[0][a][:, None, None] * along[1][b][:, None] * along[2][c]).ravel()
            for a, b, c in powers
        ]
    )
    known = columns[:, valid.ravel()]
    logarithm = np.log(gain[valid])
    fit = np.linalg.lstsq(known @ known.T, known @ logarithm, rcond=None)[0]
    return np.asarray(np.exp(fit @ columns)).reshape(gain.shape)
