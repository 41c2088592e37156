"""A support from the data alone: every patch is phased with no support to start from.

Each patch is an ordinary BCDI problem, solved by HIO, ER and shrink-wrap of the
library cohere (https://github.com/AdvancedPhotonSource/cohere). Every patch sees the
same shape, up to a shift and the inversion that intensities don't fix; laid over each
other, their mean amplitude says where the crystal is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support, support_above
from prammol.phasing.cohere import filled_gaps, phase_from, require_cohere
from prammol.phasing.hio_er import bulk_amplitude

FloatArray = NDArray[np.float64]

# chosen: one patch of the screw dislocation; spread not recorded
_LOOSE = 0.05  # of the bulk's amplitude: the shape lent to a patch that got stuck
# chosen: one patch of the screw dislocation, 0.080 against 0.006; spread not recorded
_STUCK = 2.0  # times the misfit of the best patch
# chosen: not varied
_AUTOCORRELATION = 0.04  # of its maximum: where the object overlaps its shifted self


@dataclass(frozen=True, eq=False)
class Shape:
    """What phase retrieval of one patch gives.

    Attributes
    ----------
    patch : BraggPatch
    amplitude : ndarray, shape of the patch
        Modulus of the object on the patch's grid in real space, its centre of mass in
        the middle.
    errors : tuple of float
        Relative misfit of the amplitudes, one per start; the smallest was taken.
    """

    patch: BraggPatch
    amplitude: FloatArray
    errors: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class RetrievedSupport:
    """A support and how it came about.

    Attributes
    ----------
    support : Support
        Its centre of mass at 0.
    errors : (patches,) ndarray
        Relative misfit of the amplitudes of each patch, 0 is perfect.
    correlation : (patches,) ndarray
        Correlation of each patch's amplitude with that of the best one, 1 is perfect.
    """

    support: Support
    errors: FloatArray
    correlation: FloatArray


def support_from_data(
    data: Diffraction,
    starts: int = 3,  # chosen: four to eight seconds each; not varied
    seed: int = 0,
    threshold: float = 0.1,  # chosen: vacancy and bulk crystal; spread not recorded
    report: Callable[[str], None] | None = None,
) -> RetrievedSupport:
    """Find the support by phase retrieval of every patch.

    Parameters
    ----------
    data : Diffraction
        Each patch is phased by itself, so they may differ in grid and size.
    starts : int
        Random phases to start from, per patch; the best fit is taken.
    seed : int
        Of these phases.
    threshold : float
        Voxels with more than this fraction of the bulk's amplitude are inside.
    report : callable, optional
        Gets a line of text after each patch.

    Returns
    -------
    RetrievedSupport
        On the grid of the patch that is explained best. The inversion of the crystal is
        an invariance of the data: one of the two is taken, the same for all patches.

    Raises
    ------
    InputError
        If cohere isn't installed or an argument is out of range.
    DataError
        If a patch saw nothing, or the object fills the whole field of view.
    """
    require_cohere()
    if starts < 1 or not 0 < threshold < 1:
        msg = (
            f"phase retrieval needs at least 1 start and a threshold between 0 and 1, "
            f"got {starts} and {threshold}"
        )
        raise InputError(msg)
    shapes = [_from_patch(data, k, starts, (seed, k), report) for k in range(len(data.patches))]
    best = _best(shapes)
    for k, shape in enumerate(shapes):
        if min(shape.errors) > _STUCK * min(best.errors):
            again = _from_patch(data, k, starts, (seed, k, 1), report, best)
            shapes[k] = _best([shape, again])
    amplitude, correlation = mean_amplitude(shapes)
    best = _best(shapes)
    return RetrievedSupport(
        support=_threshold(best.patch, amplitude, threshold, data.source),
        errors=np.array([min(s.errors) for s in shapes]),
        correlation=correlation,
    )


def _from_patch(
    data: Diffraction,
    k: int,
    starts: int,
    seed: Sequence[int],
    report: Callable[[str], None] | None,
    known: Shape | None = None,
) -> Shape:
    """Phase patch k, in the shape another patch gave if there is one, and say so."""
    patch, signal, valid = data.gridded(k)
    inside = None
    if known is not None:
        amplitude = _sampled(known, patch, 1, np.zeros(3))
        bulk = bulk_amplitude(amplitude.reshape(-1, 1))[0]
        inside = ndimage.binary_dilation(amplitude > _LOOSE * bulk)
    name = f"{data.source}: patch {k + 1}"
    shape = retrieve_shape(patch, signal, valid, starts, seed, name, inside)
    if report is not None:
        errors = ", ".join(f"{e:.4f}" for e in shape.errors)
        again = "" if known is None else ", again in the best patch's shape"
        report(f"patch {k + 1} of {len(data.patches)}{again}: misfits {errors}")
    return shape


def retrieve_shape(
    patch: BraggPatch,
    counts: FloatArray,
    valid: NDArray[np.bool_],
    starts: int,
    seed: Sequence[int],
    name: str = "patch",
    inside: NDArray[np.bool_] | None = None,
) -> Shape:
    """Phase one patch from several random starts.

    Points that weren't measured take the amplitude of the current object after each
    round; cohere itself knows no gaps.

    Parameters
    ----------
    patch, counts, valid
        Grid, photons and mask of the detector, arrays of the patch's shape.
    starts : int
        Random starts.
    seed : sequence of int
        Of their phases; the number of the start is added to it.
    name : str
        For messages.
    inside : bool ndarray, optional
        Support to start from; that of the autocorrelation if not given.

    Raises
    ------
    DataError
        If the patch holds no photon or is sampled too coarsely for the crystal.
    """
    window = index_window(patch.shape)
    measured = np.sqrt(np.where(valid, counts, 0.0)) * window
    if not measured.any():
        msg = f"{name}: not one photon was counted, it can't be phased"
        raise DataError(msg)
    spectrum = np.fft.ifftshift(measured)
    known = np.fft.ifftshift(np.asarray(valid, dtype=bool))
    if inside is None:
        inside = _first_support(filled_gaps(spectrum, known), known, name)
    trials = []
    for start in range(starts):
        turns = np.random.default_rng([*seed, start]).random(patch.shape)
        wave = filled_gaps(spectrum, known) * np.exp(2j * np.pi * turns)
        trials.append(phase_from(wave, spectrum, known, inside))
    errors = tuple(error for error, _ in trials)
    amplitude = trials[int(np.argmin(errors))][1]
    return Shape(patch, _centred(amplitude), errors)


def index_window(shape: Sequence[int]) -> FloatArray:
    """Return a Gaussian on a patch whose standard deviation is a quarter of each edge.

    It blurs the object by 2/pi of a voxel and takes the ringing of the patch's border
    away. No lattice is known here, so the patch gives the length.
    """
    out = np.ones(tuple(shape))
    for axis, n in enumerate(shape):
        u = (np.arange(n) - (n - 1) / 2) / (n / 4)
        out = out * np.expand_dims(np.exp(-0.5 * u**2), [a for a in range(len(shape)) if a != axis])
    return out


def autocorrelation_support(spectrum: FloatArray) -> NDArray[np.bool_]:
    """Return where the autocorrelation of the object isn't small, 0 in the middle.

    Parameters
    ----------
    spectrum : ndarray
        Amplitudes, zero frequency in the corner. The Fourier transform of their squares
        is the autocorrelation; the object fits into where it isn't small, since it is
        made of the differences of any two of its points.
    """
    patterson = np.fft.fftshift(np.abs(np.fft.fftn(spectrum**2)))
    return np.asarray(patterson > _AUTOCORRELATION * patterson.max())


def _first_support(spectrum: FloatArray, known: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
    """Return the support of the autocorrelation, DataError if it has no border."""
    inside = autocorrelation_support(spectrum)
    # a gap draws a streak through the autocorrelation, which says nothing of the size
    if known.all() and any(line.all() for line in _projections(inside)):
        msg = (
            f"{name}: the autocorrelation of the object fills the field of view, so the patch's "
            f"steps are too coarse for the crystal; phase retrieval needs at least two points "
            f"per fringe"
        )
        raise DataError(msg)
    return inside


def _projections(inside: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return for each axis which of its planes hold something."""
    axes = range(inside.ndim)
    return [np.asarray(inside.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]


def _centred(amplitude: FloatArray) -> FloatArray:
    """Roll an array so that the centre of mass of its squares is in the middle."""
    weight = amplitude**2
    shift = []
    for axis, n in enumerate(amplitude.shape):
        profile = weight.sum(axis=tuple(a for a in range(amplitude.ndim) if a != axis))
        # the mean angle, since the object may lie across the border
        angle = np.angle(np.sum(profile * np.exp(2j * np.pi * np.arange(n) / n)))
        shift.append(n // 2 - round(float(angle) * n / (2 * np.pi)))
    return np.roll(amplitude, shift, axis=tuple(range(amplitude.ndim)))


def _best(shapes: Sequence[Shape]) -> Shape:
    return min(shapes, key=lambda s: min(s.errors))


def mean_amplitude(shapes: Sequence[Shape]) -> tuple[FloatArray, FloatArray]:
    """Lay the shapes over that with the smallest error and average them.

    Strain and dislocations darken a shape where the phase changes quickly, in every
    patch elsewhere; the mean has fewer holes. Each is scaled to 1 in the bulk.

    Returns
    -------
    amplitude : ndarray
        On the grid of the best patch in real space, 0 in the middle.
    correlation : (patches,) ndarray
        With the best patch's amplitude.
    """
    reference = _best(shapes)
    target = _sampled(reference, reference.patch, 1, np.zeros(3))
    total, correlation = np.zeros(target.shape), []
    for shape in shapes:
        found = [_laid_over(shape, reference.patch, target, sign) for sign in (1, -1)]
        agreement, amplitude = max(found, key=lambda pair: pair[0])
        total += amplitude / bulk_amplitude(amplitude.reshape(-1, 1))[0]
        correlation.append(agreement)
    return total / len(shapes), np.array(correlation)


def _laid_over(
    shape: Shape, grid: BraggPatch, target: FloatArray, sign: int
) -> tuple[float, FloatArray]:
    """Return correlation and amplitude of a shape, inverted if sign < 0, shifted to fit."""
    offset = np.zeros(3)
    amplitude = _sampled(shape, grid, sign, offset)
    for _ in range(3):  # the first finds the voxel, the others the fraction of it
        spectrum = np.fft.rfftn(target) * np.fft.rfftn(amplitude).conj()
        product = np.fft.irfftn(spectrum, s=target.shape, axes=(0, 1, 2))
        offset = offset + _summit(product) @ grid.voxel()
        amplitude = _sampled(shape, grid, sign, offset)
    scale = np.linalg.norm(amplitude) * np.linalg.norm(target)
    return float((amplitude * target).sum() / scale), amplitude


def _summit(product: FloatArray) -> FloatArray:
    """Return the place of the maximum of a periodic array, to a fraction of a voxel."""
    top = np.unravel_index(int(product.argmax()), product.shape)
    out = np.empty(3)
    for axis, n in enumerate(product.shape):
        around = [
            tuple((top[a] + (a == axis) * s) % product.shape[a] for a in range(3))
            for s in (-1, 0, 1)
        ]
        below, here, above = (float(product[i]) for i in around)
        bend = 2 * here - below - above
        part = (above - below) / (2 * bend) if bend > 0 else 0.0
        out[axis] = (top[axis] + n // 2) % n - n // 2 + part
    return out


def _sampled(shape: Shape, grid: BraggPatch, sign: int, offset: FloatArray) -> FloatArray:
    """Return amplitude(sign (x - offset)) for the x of a patch's grid in real space."""
    index = np.indices(grid.shape).reshape(3, -1).T - np.array(grid.shape) // 2
    x = sign * (index @ grid.voxel() - offset)
    own = x @ np.linalg.inv(shape.patch.voxel()) + np.array(shape.patch.shape) // 2
    value = ndimage.map_coordinates(shape.amplitude, own.T, order=3, mode="constant")
    return np.asarray(np.maximum(value, 0.0)).reshape(grid.shape)


def _threshold(patch: BraggPatch, amplitude: FloatArray, threshold: float, source: str) -> Support:
    """Return the largest piece above the threshold; DataError if it has no border."""
    support = support_above(amplitude, patch.voxel(), threshold, source)
    if (np.array(support.inside.shape) == amplitude.shape).any():
        msg = (
            f"{source}: the object of phase retrieval fills the field of view; its steps in "
            f"reciprocal space are too coarse for the crystal, or the threshold is too low"
        )
        raise DataError(msg)
    return support
