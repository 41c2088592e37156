"""The object that phase retrieval of one patch would find, if it found all phases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.structure_factor import StructureFactor

# Of the window around the Bragg peak [1/Å]; chosen: the edges of a small crystal; not varied
_WIDTH = 0.45


def phased_object(patch: BraggPatch, x: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the object of a patch, on the grid of its discrete Fourier transform.

    Parameters
    ----------
    patch : BraggPatch
        Points on an affine grid.
    x : (n, 3) ndarray
        Positions [Å].

    Returns
    -------
    (n1, n2, n3) ndarray
        The zero of real space is in the middle.
    """
    distance = np.linalg.norm(patch.q() - patch.middle, axis=1)
    omega = StructureFactor([patch]).forward(x)
    wave = (omega * np.exp(-0.5 * (distance / _WIDTH) ** 2)).reshape(patch.shape)
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(wave)))
