"""Where the lattice lies against the shape: what phasing each patch alone leaves open.

The constant phase of each wave is free. Changing the three by alpha_p shifts the
lattice by G^-1 alpha against the envelope, and so changes which sites lie inside.
The intensities far from the Bragg peaks tell one shift from another.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prammol.phasing.fourier_synthesis import Waves
from prammol.phasing.hio_er import bulk_amplitude


def weights_of_amplitude(amplitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return first occupancies: 0 below a quarter of the bulk's amplitude, 1 above three.

    A site on a flat surface has half the amplitude of the bulk.
    """
    return np.clip(2.0 * (amplitude - 0.25), 0.0, 1.0)


def shifted_weights(
    cell: NDArray[np.float64], waves: Waves, sites: NDArray[np.float64], steps: ArrayLike
) -> NDArray[np.float64]:
    """Return the occupancies that belong to all shifts of the lattice.

    Parameters
    ----------
    cell : (3, 3) ndarray
        Rows are primitive vectors of the lattice [Å].
    waves : Waves
        The waves of the three patches.
    sites : (n, 3) ndarray
        Sites from the patches' origin [Å].
    steps : int or (3,) array_like of int
        Shifts tried along each primitive vector.

    Returns
    -------
    (k, n) ndarray
        Occupancies in [0, 1].
    """
    bulk = bulk_amplitude(np.abs(waves(sites)))
    parts = [np.arange(n) / n for n in np.broadcast_to(np.asarray(steps, dtype=int), 3)]
    shifts = (np.array(list(product(*parts))) - 0.5) @ cell
    amplitudes = [(np.abs(waves(sites + shift)) / bulk).mean(axis=1) for shift in shifts]
    return weights_of_amplitude(np.array(amplitudes))
