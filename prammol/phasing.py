"""Phase retrieval of a single Bragg patch: an ordinary BCDI problem.

The amplitudes sqrt(I) under a smooth window around the Bragg peak are phased by
HIO and ER (Fienup, Appl. Opt. 21, 2758 (1982)) inside the support. A real window
on the amplitudes is a convolution of the object, so it is legitimate, and it
takes away the ringing of the patch's border.
"""

from __future__ import annotations

from dataclasses import dataclass

import ducc0
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prammol.patches import BraggPatch
from prammol.support import Support


@dataclass(frozen=True)
class PhasedPatch:
    """Complex structure factor of one patch, relative to an origin in real space.

    Attributes
    ----------
    patch : BraggPatch
    peak : (3,) ndarray
        Scattering vector of the Bragg peak [1/Å].
    field : complex ndarray, shape of the patch
        Windowed structure factor, sum_j exp(-i q.(x_j - centre)) times a free
        constant.
    centre : (3,) ndarray
        Origin in real space [Å].
    error : float
        Relative misfit of the amplitudes inside the support, 0 is perfect.
    """

    patch: BraggPatch
    peak: NDArray[np.float64]
    field: NDArray[np.complex64]
    centre: NDArray[np.float64]
    error: float


def gaussian_window(
    patch: BraggPatch, peak: NDArray[np.float64], width: float
) -> NDArray[np.float32]:
    """Return exp(-abs(q - peak)^2 / (2 width^2)) on a patch; width in 1/Å."""
    offset = patch.q() - peak
    value = np.exp(-0.5 * np.sum(offset**2, axis=1) / width**2)
    return value.reshape(patch.shape).astype(np.float32)


def phase_patch(
    patch: BraggPatch,
    counts: NDArray[np.float64],
    valid: NDArray[np.bool_],
    support: Support,
    peak: NDArray[np.float64],
    width: float,
    rng: np.random.Generator,
    iterations: int = 400,
    beta: float = 0.9,
) -> PhasedPatch:
    """Phase the counts of one patch.

    Parameters
    ----------
    patch, counts, valid
        Grid, photons and mask, arrays of the patch's shape.
    support : Support
        Low-resolution support; dilated here by one voxel of the patch's own grid.
    peak : (3,) ndarray
        Scattering vector of the Bragg peak [1/Å].
    width : float
        Standard deviation of the window [1/Å].
    rng : Generator
        Draws the starting phases.
    iterations : int
        Iterations in all; every fourth block and the last are ER, the others HIO.
    beta : float
        Feedback of HIO.
    """
    shape = patch.shape
    window = gaussian_window(patch, peak, width)
    amplitude = (np.sqrt(np.where(valid, counts, 0.0)) * window).astype(np.float32)
    amplitude = np.fft.ifftshift(amplitude)
    known = np.fft.ifftshift(valid)
    all_known = bool(known.all())

    centre = support.centres().mean(axis=0)
    mask = np.fft.ifftshift(_support_on_grid(patch, support, centre))

    start = np.exp(2j * np.pi * rng.random(shape)).astype(np.complex64)
    psi = _to_object(amplitude * start) * mask
    for step in range(iterations):
        wave = _to_patch(psi)
        size = np.abs(wave)
        replaced = wave * (amplitude / np.maximum(size, 1e-20))
        if not all_known:
            replaced = np.where(known, replaced, wave)
        new = _to_object(replaced)
        er = step % 80 >= 60 or step >= iterations - 60
        psi = new * mask if er else np.where(mask, new, psi - beta * new)
    psi *= mask
    wave = _to_patch(psi)
    norm = float(np.linalg.norm(amplitude[known]))
    error = float(np.linalg.norm((np.abs(wave) - amplitude)[known])) / max(norm, 1e-30)
    # Keep the measured amplitudes: the support only chose the phases.
    size = np.maximum(np.abs(wave), 1e-20)
    field = np.where(known, amplitude, size) * wave / size
    shifted: NDArray[np.complex64] = np.fft.fftshift(field).astype(np.complex64)
    return PhasedPatch(patch, peak, shifted, centre, error)


def _support_on_grid(
    patch: BraggPatch, support: Support, centre: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The support on the dual grid of the patch, dilated by one voxel."""
    shape = np.array(patch.shape)
    index = np.indices(patch.shape).reshape(3, -1).T - shape // 2
    inside = support.contains(centre + index @ patch.voxel()).reshape(patch.shape)
    return np.asarray(ndimage.binary_dilation(inside, ndimage.generate_binary_structure(3, 3)))


def _to_patch(psi: NDArray[np.complex64]) -> NDArray[np.complex64]:
    return ducc0.fft.c2c(psi, forward=True, nthreads=1)


def _to_object(wave: NDArray[np.complex64]) -> NDArray[np.complex64]:
    return ducc0.fft.c2c(wave, forward=False, inorm=2, nthreads=1)
