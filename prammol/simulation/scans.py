"""Rocking scans of a crystal on an instrument that is as imperfect as a real one.

The paper has cubes of points at exactly known places; this is what a beamline would write
instead: images with the angles of a diffractometer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import MOST_COUNTS
from prammol.diffraction.form_factors import form_factor, form_factors
from prammol.diffraction.photon_flux import ELECTRON_RADIUS, patch_centre
from prammol.simulation.instrument import Detector, Instrument
from prammol.simulation.pixel_average import blur_rule, mean_intensity
from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]
# The diffractometer: outermost circle first, as in prammol.diffraction.diffractometer.
SAMPLE_CIRCLES = {"eta": "y-", "chi": "x+", "phi": "z-"}
DETECTOR_CIRCLES = {"nu": "z-", "delta": "y-"}
PIXEL_DIRECTIONS = ("z-", "y+")
# Bits of a CXI mask.
HOT, DEAD, MISSING = 0x4, 0x8, 0x200  # derived: format, CXI
_HOT_COUNTS = 10**7  # chosen: above every peak; not varied


@dataclass(frozen=True, eq=False)
class RockingScan:
    """What the reader of a scan has.

    Attributes
    ----------
    counts : (images, rows, columns) ndarray
    mask : (rows, columns) uint32 ndarray
        CXI mask, 0 is a good pixel.
    angles : dict
        Of all circles [degrees]; ``eta`` has one for each image.
    monitor : float
        Part of the beam that meets the crystal.
    """

    counts: NDArray[np.int64]
    mask: NDArray[np.uint32]
    angles: dict[str, FloatArray]
    monitor: float


@dataclass(frozen=True, eq=False)
class ScanTruth:
    """What the reader doesn't have.

    Attributes
    ----------
    peak : (3,) ndarray
        Scattering vector of the Bragg peak [1/Å].
    offset, rotation : (3,) ndarray
        The true scattering vector is R q + offset [1/Å] with the rotation vector of R [rad].
    scale : float
        C [sqrt(photons)] for a gain of 1.
    signal, background : (images, rows, columns) ndarray
        Expected photons of the crystal and of the rest, before dead time.
    zingers : (images, rows, columns) bool ndarray
    """

    peak: FloatArray
    offset: FloatArray
    rotation: FloatArray
    scale: float
    signal: FloatArray
    background: FloatArray
    zingers: NDArray[np.bool_]


def turned(axis: str, degrees: float) -> FloatArray:
    """Return the rotation matrix of a circle, (3, 3)."""
    vector = np.eye(3)["xyz".index(axis[0])] * (1.0 if axis[1] == "+" else -1.0)
    return np.asarray(Rotation.from_rotvec(np.radians(degrees) * vector).as_matrix())


def angles_of_peak(peak: FloatArray, instrument: Instrument) -> dict[str, FloatArray]:
    """Return the angles [degrees] of a scan through a Bragg peak, (3,) [1/Å].

    phi and chi bring it upright, eta tilts it against the beam, delta lifts the detector.

    Raises
    ------
    InputError
        If the wavelength is too long for the peak.
    """
    scans, sine = instrument.scans, np.linalg.norm(peak) * instrument.beam.wavelength / (4 * np.pi)
    if sine >= 1:
        msg = f"no angle gives a peak at {np.linalg.norm(peak):.3g} 1/Å with this wavelength"
        raise InputError(msg)
    theta = np.degrees(np.arcsin(sine))
    phi = np.degrees(np.arctan2(peak[1], peak[0])) - 90.0
    _, y, z = turned(SAMPLE_CIRCLES["phi"], phi) @ peak
    index = np.arange(scans.images) - (scans.images - 1) / 2
    return {
        "eta": theta + scans.step * index,
        "chi": np.array(np.degrees(np.arctan2(y, z))),
        "phi": np.array(phi),
        "nu": np.array(0.0),
        "delta": np.array(2 * theta),
    }


def points_of(
    instrument: Instrument, angles: dict[str, FloatArray], offset: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return scattering vectors and solid angle times polarisation, as the angles have it.

    Parameters
    ----------
    instrument : Instrument
    angles : dict
        See :func:`angles_of_peak`.
    offset : (3,) ndarray
        From the middle of each point, in images, rows and columns.

    Returns
    -------
    q : (images, rows, columns, 3) ndarray
        In the frame of the sample [1/Å].
    factor : (images, rows, columns) ndarray
        [sr]
    """
    camera, k = instrument.detector, 2 * np.pi / instrument.beam.wavelength
    rows, columns = (
        np.arange(n) - (n - 1) / 2 + u for n, u in zip(camera.shape, offset[1:], strict=True)
    )
    pixel = np.zeros((*camera.shape, 3))
    pixel[..., 0] = camera.distance / camera.pixel_size
    pixel[..., 1] = columns
    pixel[..., 2] = -rows[:, None]
    far = np.linalg.norm(pixel, axis=-1)
    solid = pixel[..., 0] / far**3 * camera.fill**2
    arms = turned("z-", float(angles["nu"])) @ turned("y-", float(angles["delta"]))
    out = pixel / far[..., None] @ arms.T
    along = {"horizontal": (1.0, 0.0), "vertical": (0.0, 1.0), "unpolarised": (0.5, 0.5)}
    field = 1.0 - out[..., 1:] ** 2 @ np.array(along[instrument.beam.polarisation])
    scattered = k * (out - [1.0, 0.0, 0.0])
    still = turned("x+", float(angles["chi"])) @ turned("z-", float(angles["phi"]))
    turning = (instrument.scans.step * offset[0] + eta for eta in angles["eta"])
    q = np.array([scattered @ (turned("y-", eta) @ still) for eta in turning])
    return q, np.broadcast_to(solid * field, q.shape[:3])


def simulate_scans(
    atoms: Atoms,
    instrument: Instrument,
    seed: int,
    cells: Sequence[BraggPatch],
    snapshots: Sequence[FloatArray] | None = None,
) -> tuple[list[RockingScan], list[ScanTruth]]:
    """Measure a crystal.

    Parameters
    ----------
    atoms : Atoms
        Their frame is that of the sample.
    instrument : Instrument
    seed : int
        Seed of the hidden geometry, the bad pixels and the counts.
    cells : sequence of BraggPatch
        A reciprocal cell around each peak, the steps its edges:
        :func:`prammol.simulation.innermost_patches` with 2 points and a half width of 0.5.
    snapshots : sequence of (n, 3) ndarray, optional
        Positions over the dynamics [Å]; the atoms are at rest if not given.

    Raises
    ------
    InputError
        If a number of the instrument doesn't fit the crystal or the number of scans.
    DataError
        If not one photon is counted.
    """
    given = [len(v) for v in (instrument.scans.exposure, instrument.scans.scale) if v]
    if any(n != len(cells) for n in given):
        msg = f"exposure or scale is given for {given[0]} scans, there are {len(cells)}"
        raise InputError(msg)
    frames = snapshots or [atoms.positions]
    truths = [_expected(atoms.element, frames, instrument, seed, k, c) for k, c in enumerate(cells)]
    rng = np.random.default_rng([seed, 3])
    mask = _bad_pixels(instrument.detector, rng)
    scans = []
    for k, (cell, true) in enumerate(zip(cells, truths, strict=True)):
        counts = _counted(true, instrument.detector, mask, rng)
        angles = angles_of_peak(patch_centre(cell), instrument)
        scans.append(RockingScan(counts, mask, angles, _of(instrument.scans.exposure, k)))
    if not any(np.where(s.mask == 0, s.counts, 0).any() for s in scans):
        msg = f"a flux of {instrument.beam.flux:g} photons/um^2 leaves not one photon"
        raise DataError(msg)
    return scans, truths


def _of(values: tuple[float, ...] | None, k: int) -> float:
    return 1.0 if values is None else values[k]


def _expected(
    element: str,
    snapshots: Sequence[FloatArray],
    instrument: Instrument,
    seed: int,
    k: int,
    cell: BraggPatch,
) -> ScanTruth:
    """Return the expected photons of scan k."""
    beam, scans, camera = instrument.beam, instrument.scans, instrument.detector
    peak = patch_centre(cell)
    draws = np.random.default_rng([seed, 2, k]).standard_normal((2, 3))
    draws /= np.linalg.norm(draws, axis=1, keepdims=True)
    offset = scans.offset * float(np.linalg.norm(cell.step[0])) * draws[0]
    rotation = np.radians(scans.rotation) * draws[1]
    matrix = Rotation.from_rotvec(rotation).as_matrix()
    angles = angles_of_peak(peak, instrument)

    def point(u: FloatArray) -> tuple[FloatArray, FloatArray]:
        q, factor = points_of(instrument, angles, u)
        q = q @ matrix.T + offset
        return q, factor * form_factors(element, np.linalg.norm(q, axis=-1)) ** 2

    q = point(np.zeros(3))[0]
    rules = [
        blur_rule(box, sigma, _frequency(q, axis, snapshots[0]))
        for axis, (box, sigma) in enumerate(
            [
                (scans.turning, beam.coherence[0]),
                (camera.fill, float(np.hypot(camera.spread, beam.coherence[1]))),
                (camera.fill, float(np.hypot(camera.spread, beam.coherence[2]))),
            ]
        )
    ]
    coherent = instrument.sample.scattering == "coherent"
    photons = beam.flux * _of(scans.exposure, k) * _of(scans.scale, k) * ELECTRON_RADIUS**2
    solid = (camera.pixel_size / camera.distance) ** 2
    signal = photons * mean_intensity(snapshots, point, rules, coherent)
    if signal.max() > MOST_COUNTS:
        msg = f"a flux of {beam.flux:g} photons/um^2 gives too many photons to count"
        raise InputError(msg)
    scale = float(np.sqrt(photons * solid) * form_factor(element, float(np.linalg.norm(peak))))
    background = np.broadcast_to(_background(camera) * _of(scans.exposure, k), signal.shape)
    none = np.zeros(signal.shape, dtype=bool)
    return ScanTruth(peak, offset, rotation, scale, signal, background, none)


def _frequency(q: FloatArray, axis: int, x: FloatArray) -> float:
    """Return the highest frequency of abs(Omega)^2 along an axis [rad per step]."""
    steps = np.diff(q, axis=axis)
    few = [np.unique(np.linspace(0, n - 1, 3).astype(int)) for n in steps.shape[:3]]
    return float(np.ptp(x @ steps[np.ix_(*few)].reshape(-1, 3).T, axis=0).max())


def _background(camera: Detector) -> FloatArray:
    """Return the photons of an image that the crystal didn't scatter."""
    rows, columns = np.indices(camera.shape, dtype=float)
    # chosen: display, a third of the way from the middle
    beside = [(n - 1) / 2 + n / 6 for n in camera.shape]
    square = (rows - beside[0]) ** 2 + (columns - beside[1]) ** 2
    hump = camera.hump * np.exp(-0.5 * square / camera.hump_width**2)
    return np.asarray(camera.background + hump)


def _bad_pixels(camera: Detector, rng: np.random.Generator) -> NDArray[np.uint32]:
    mask = np.zeros(camera.shape, dtype=np.uint32)
    draw = rng.random(camera.shape)
    mask[draw < camera.dead_pixels] |= DEAD
    mask[draw > 1 - camera.hot_pixels] |= HOT
    for first, last in camera.gap_rows:
        mask[first : last + 1] = MISSING
    for first, last in camera.gap_columns:
        mask[:, first : last + 1] = MISSING
    return mask


def _counted(
    true: ScanTruth, camera: Detector, mask: NDArray[np.uint32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the counts of a scan; marks the zingers in the truth."""
    counts = rng.poisson(true.signal + true.background).astype(float)
    counts = np.rint(counts / (1 + counts * camera.dead_time / camera.count_time))
    true.zingers[...] = rng.random(counts.shape) < camera.zingers
    counts += true.zingers * np.ceil(rng.exponential(camera.zinger_height, counts.shape))
    counts[:, mask == HOT] = _HOT_COUNTS
    if camera.saturation is not None:
        counts = np.minimum(counts, np.floor(camera.saturation))
    counts[:, (mask & (DEAD | MISSING)) != 0] = 0.0
    return counts.astype(np.int64)
