"""Phase retrieval of a single Bragg patch: an ordinary BCDI problem.

The amplitudes sqrt(I) under a smooth window around the Bragg peak are phased by
HIO and ER (Fienup, Appl. Opt. 21, 2758 (1982)) inside the support. A real window
on the amplitudes is a convolution of the object, so it is legitimate, and it
takes away the ringing of the patch's border.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ducc0
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.support import Support

TINY = np.float32(1e-20)  # derived: single precision, far below any amplitude
_SHORT = 64  # chosen: speed only, 50^3 to 139^3 points; shorter FFTs gain nothing
# chosen: not varied
_STRONG = 3  # a point this many times weaker than the largest isn't of the bulk
_BULK_QUANTILE = 0.6  # chosen: 600 atoms at 1e18; same atoms from 0.3 to 0.6


@dataclass(frozen=True, eq=False)
class MeasuredPatch:
    """What is phased: the counts of one patch on an affine grid.

    Attributes
    ----------
    patch : BraggPatch
    peak : (3,) ndarray
        Scattering vector of the Bragg peak [1/Å].
    counts : ndarray, shape of the patch
        Photons without the background.
    valid : bool ndarray, shape of the patch
        Where they were measured.
    """

    patch: BraggPatch
    peak: NDArray[np.float64]
    counts: NDArray[np.float64]
    valid: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
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
    noise : float
        What counting noise alone gives for it.
    """

    patch: BraggPatch
    peak: NDArray[np.float64]
    field: NDArray[np.complex64]
    centre: NDArray[np.float64]
    error: float
    noise: float


def trimmed(measured: MeasuredPatch) -> MeasuredPatch:
    """Return a patch without the outermost planes that make FFTs slow.

    Edges of more than `_SHORT` points lose a few where their number has large prime factors: an FFT
    of 139^3 points takes twice as long as one of 135^3.
    """
    patch = measured.patch
    shape = [n if n <= _SHORT else _smooth(n) for n in patch.shape]
    first = [(n - m) // 2 for n, m in zip(patch.shape, shape, strict=True)]
    part = tuple(slice(f, f + m) for f, m in zip(first, shape, strict=True))
    corner = patch.origin + np.array(first) @ patch.step
    kept = BraggPatch(corner, patch.step, shape)
    return MeasuredPatch(kept, measured.peak, measured.counts[part], measured.valid[part])


def _smooth(n: int) -> int:
    """Return the largest number up to n without prime factors above 7."""
    while True:
        rest = n
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n -= 1


def gaussian_window(
    patch: BraggPatch, peak: NDArray[np.float64], width: float
) -> NDArray[np.float32]:
    """Return exp(-abs(q - peak)^2 / (2 width^2)) on a patch; width in 1/Å."""
    offset = patch.q() - peak
    value = np.exp(-0.5 * np.sum(offset**2, axis=1) / width**2)
    return value.reshape(patch.shape).astype(np.float32)


def phase_patch(
    measured: MeasuredPatch,
    width: float,
    mask: NDArray[np.bool_],
    centre: NDArray[np.float64],
    start: NDArray[np.complex64],
    iterations: int,
    beta: float = 0.9,  # chosen: the usual feedback of HIO (Fienup); not varied
) -> PhasedPatch:
    """Phase the counts of one patch.

    Parameters
    ----------
    measured : MeasuredPatch
    width : float
        Standard deviation of the window [1/Å].
    mask : bool ndarray
        Support on the patch's own grid in real space, its middle at `centre`.
    centre : (3,) ndarray
        Origin in real space [Å].
    start : complex ndarray
        Structure factor whose phases to start from.
    iterations : int
        Iterations in all; every fourth block of twenty and the last 60 are ER, the
        others HIO.
    beta : float
        Feedback of HIO.
    """
    patch, peak = measured.patch, measured.peak
    counts, valid = measured.counts, measured.valid
    window = gaussian_window(patch, peak, width)
    seen = np.sqrt(np.where(valid, counts, 0.0)) * window
    amplitude = np.fft.ifftshift(seen.astype(np.float32))
    known = np.fft.ifftshift(valid)
    inside = np.fft.ifftshift(mask)
    wave = np.fft.ifftshift(start).astype(np.complex64)
    psi = _to_object(_with_amplitude(wave, amplitude, np.True_)) * inside
    for step in range(iterations):
        new = _to_object(_with_amplitude(_to_patch(psi), amplitude, known))
        er = step % 80 >= 60 or step >= iterations - 60
        psi = new * inside if er else np.where(inside, new, psi - np.float32(beta) * new)
    wave = _to_patch(psi * inside)
    misfit = float(np.linalg.norm((np.abs(wave) - amplitude)[known]))
    norm = max(float(np.linalg.norm(amplitude[known])), 1e-20)
    noise = float(np.sqrt(np.sum(_variance(counts)[valid] * window[valid] ** 2))) / norm
    # Keep the measured amplitudes: the support only chose the phases.
    field = np.fft.fftshift(_with_amplitude(wave, amplitude, known))
    return PhasedPatch(patch, peak, field, centre, misfit / norm, noise)


# chosen: screw dislocation, four of six starts; spread not recorded
def stagnated(phased: Mapping[int, PhasedPatch], times: float = 2.0) -> list[int]:
    """Return the patches that HIO left far from where their sisters got.

    All patches are of one object and one support: what misfit the best of them leaves
    beyond its noise, the others can reach too.

    Parameters
    ----------
    phased : mapping of int to PhasedPatch
    times : float
        Patches whose error is larger by this factor have stagnated.
    """
    least = min(max(p.error**2 - p.noise**2, 0.0) for p in phased.values())
    return [k for k, p in phased.items() if p.error > times * np.sqrt(least + p.noise**2)]


def support_mask(
    patch: BraggPatch, support: Support, centre: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return the support on a patch's own grid in real space, dilated by one voxel."""
    inside = support.contains(centre + dual_grid(patch)).reshape(patch.shape)
    return np.asarray(ndimage.binary_dilation(inside, ndimage.generate_binary_structure(3, 3)))


def envelope_mask(
    waves: Callable[[NDArray[np.float64]], NDArray[np.complex128]],
    patch: BraggPatch,
    mask: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return a tighter support from the mean amplitude of all phased patches.

    The shape is common to all Bragg peaks, the strain is not: averaging the
    amplitudes is shrink-wrap (Marchesini et al., Phys. Rev. B 68, 140101 (2003))
    with several looks at one object.

    Parameters
    ----------
    waves : callable
        The waves at positions from the common origin, (n, 3) [Å] to (n, patches).
    patch : BraggPatch
        The patch on whose grid the support is wanted.
    mask : bool ndarray
        Where to look.
    threshold : float
        Fraction of the bulk's amplitude.
    """
    size = np.abs(waves(dual_grid(patch)[mask.ravel()]))
    envelope = (size / bulk_amplitude(size)).mean(axis=1)
    out = np.zeros(patch.size, dtype=bool)
    out[mask.ravel()] = envelope > threshold
    return out.reshape(patch.shape)


def bulk_amplitude(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each wave's amplitude in the bulk, (patches,).

    The 0.6 quantile of those above a third of the largest.
    """
    strong = size > size.max(axis=0) / _STRONG
    columns = zip(size.T, strong.T, strict=True)
    return np.array([np.quantile(column[s], _BULK_QUANTILE) for column, s in columns])


def dual_grid(patch: BraggPatch) -> NDArray[np.float64]:
    """Positions of the dual grid of a patch, (size, 3) [Å], 0 in the middle."""
    index = np.indices(patch.shape).reshape(3, -1).T - np.array(patch.shape) // 2
    return np.asarray(index @ patch.voxel())


def _variance(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an estimate of E (sqrt(I) - sqrt(lambda))^2: 1/4, and more where photons are few."""
    return np.where(counts > 0, 0.25 + 1.0 / np.maximum(counts, 1.0) ** 2, 0.0)


def _with_amplitude(
    wave: NDArray[np.complex64], amplitude: NDArray[np.float32], known: NDArray[np.bool_] | np.bool_
) -> NDArray[np.complex64]:
    """Replace the modulus where it was measured."""
    replaced = wave * (amplitude / np.maximum(np.abs(wave), TINY))
    return np.asarray(replaced if known.all() else np.where(known, replaced, wave), np.complex64)


def _to_patch(psi: NDArray[np.complex64]) -> NDArray[np.complex64]:
    return np.asarray(ducc0.fft.c2c(psi, forward=True, nthreads=1))


def _to_object(wave: NDArray[np.complex64]) -> NDArray[np.complex64]:
    return np.asarray(ducc0.fft.c2c(wave, forward=False, inorm=2, nthreads=1))
