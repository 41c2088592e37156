"""From the angles of a rocking scan to its patch in reciprocal space.

The conversion is that of xrayutilities (Kriegner, Wintersberger and Stangl, J. Appl.
Cryst. 46, 1162 (2013)), with its laboratory frame: x along the beam, z up, y such that
x, y, z are right-handed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.curved_patch import AFFINE, patch_of_points

# Part of the intensity whose field is along y and z.
# derived: physics
_FIELD = {
    "horizontal": (1.0, 0.0),
    "vertical": (0.0, 1.0),
    "unpolarised": (0.5, 0.5),
    "": (0.0, 0.0),
}


@dataclass(frozen=True)
class Diffractometer:
    """Circles and detector of a diffractometer, the same for all scans.

    Parameters
    ----------
    wavelength : float
        Wavelength [Å].
    distance : float
        From the sample to the detector [m].
    pixel_size : (2,) sequence of float
        Along the two axes of an image [m].
    beam_centre : (2,) sequence of float
        Pixel the direct beam hits with the detector at 0 degrees, counted from 0 in the images
        as they are given; outside of them if they were cropped.
    sample_axes, detector_axes : sequence of str
        Circles, the outermost first: the axis a circle turns about and the sense, such
        as ``"y-"``; "+" turns counterclockwise as seen against the axis.
    pixel_directions : (2,) sequence of str
        Directions of the two axes of an image in the laboratory, with the detector at 0.
    tilt : (3,) sequence of float
        Rotation of the detector about the beam, azimuth of its tilt and tilt [degrees], as
        ``detrot``, ``tiltazimuth`` and ``tilt`` of xrayutilities.

    Raises
    ------
    InputError
        If a length isn't positive or an axis isn't one of x, y, z with its sign.
    """

    wavelength: float
    distance: float
    pixel_size: Sequence[float]
    beam_centre: Sequence[float]
    sample_axes: Sequence[str] = ("y-", "z-")
    detector_axes: Sequence[str] = ("z-", "y-")
    pixel_directions: Sequence[str] = ("z-", "y+")
    tilt: Sequence[float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        lengths = [self.wavelength, self.distance, *self.pixel_size]
        if len(lengths) != 4 or not (np.isfinite(lengths).all() and min(lengths) > 0):
            msg = (
                f"wavelength, distance and pixel size are {self.wavelength}, {self.distance} and "
                f"{tuple(self.pixel_size)}, expected positive numbers, two for the pixel"
            )
            raise InputError(msg)
        names = [*self.sample_axes, *self.detector_axes, *self.pixel_directions]
        if not all(len(n) == 2 and n[0] in "xyz" and n[1] in "+-" for n in names):
            msg = f"the axes are {names}, expected x, y or z with + or -, such as y-"
            raise InputError(msg)
        if len(self.beam_centre) != 2 or len(self.pixel_directions) != 2 or len(self.tilt) != 3:
            msg = "expected 2 numbers for the beam centre, 2 pixel directions and 3 tilts"
            raise InputError(msg)

    def points(
        self,
        shape: Sequence[int],
        sample_angles: Sequence[ArrayLike],
        detector_angles: Sequence[float],
    ) -> NDArray[np.float64]:
        """Return the scattering vector of every pixel of every image.

        Parameters
        ----------
        shape : (3,) sequence of int
            Images, and pixels along their two axes.
        sample_angles : sequence
            Angle of each sample circle [degrees]: a number, or one for each image.
        detector_angles : sequence of float
            Angle of each detector circle [degrees].

        Returns
        -------
        (n1, n2, n3, 3) ndarray
            In the frame of the sample, in which the crystal doesn't turn [1/Å, with 2 pi].

        Raises
        ------
        InputError
            If xrayutilities isn't installed or the angles don't fit.
        """
        _require_xrayutilities()
        import xrayutilities

        angles = [np.atleast_1d(np.asarray(a, dtype=float)) for a in sample_angles]
        frames = int(shape[0])
        fits = len(angles) == len(self.sample_axes) and all(
            a.shape in ((1,), (frames,)) for a in angles
        )
        if not fits or len(detector_angles) != len(self.detector_axes):
            msg = (
                f"angles have the lengths {[len(a) for a in angles]} and there are "
                f"{len(detector_angles)} of the detector; expected 1 or {frames} for each of the "
                f"{len(self.sample_axes)} sample circles, and {len(self.detector_axes)}"
            )
            raise InputError(msg)
        if not all(np.isfinite(a).all() for a in [*angles, np.asarray(detector_angles)]):
            msg = "an angle isn't a finite number"
            raise InputError(msg)
        convert = xrayutilities.QConversion(
            list(self.sample_axes), list(self.detector_axes), [1, 0, 0], wl=self.wavelength
        )
        convert.init_area(
            *self.pixel_directions,
            cch1=self.beam_centre[0],
            cch2=self.beam_centre[1],
            Nch1=int(shape[1]),
            Nch2=int(shape[2]),
            distance=self.distance,
            pwidth1=self.pixel_size[0],
            pwidth2=self.pixel_size[1],
            **dict(zip(("detrot", "tiltazimuth", "tilt"), self.tilt, strict=True)),
        )
        q = convert.area(*[np.broadcast_to(a, frames) for a in angles], *detector_angles)
        return np.moveaxis(np.array(q), 0, -1).reshape(*map(int, shape), 3)

    def gain(
        self, shape: Sequence[int], detector_angles: Sequence[float], polarisation: str = ""
    ) -> NDArray[np.float64]:
        """Return what solid angle and polarisation make of the photons of each pixel.

        Parameters
        ----------
        shape : (2,) sequence of int
            Pixels along the two axes of an image.
        detector_angles : sequence of float
            Angle of each detector circle [degrees].
        polarisation : {"horizontal", "vertical", "unpolarised", ""}
            Of the beam, along y or z of the laboratory; nothing leaves it out.

        Returns
        -------
        (n1, n2) ndarray
            The solid angle in units of (pixel / distance)^2 times 1 - (e . k)^2 with the direction
            e of the field and k of the scattered beam.

        Raises
        ------
        InputError
            As :meth:`points`, or if the polarisation is another.
        """
        if polarisation not in _FIELD:
            known = ", ".join(filter(None, _FIELD))
            msg = f"the polarisation is {polarisation!r:.40}, expected one of {known}"
            raise InputError(msg)
        corners = replace(self, beam_centre=[c + 0.5 for c in self.beam_centre])
        still = [0.0] * len(self.sample_axes)
        q = corners.points((1, *(n + 1 for n in shape)), still, detector_angles)[0]
        out = q * self.wavelength / (2 * np.pi) + [1.0, 0.0, 0.0]
        # What a pixel covers of the unit sphere: half the product of its diagonals.
        diagonals = out[1:, 1:] - out[:-1, :-1], out[1:, :-1] - out[:-1, 1:]
        area = np.linalg.norm(np.cross(*diagonals), axis=-1) / 2
        middle = (out[1:, 1:] + out[:-1, :-1] + out[1:, :-1] + out[:-1, 1:]) / 4
        square = middle**2 / (middle**2).sum(axis=-1, keepdims=True)
        unit = float(np.prod(self.pixel_size)) / self.distance**2
        return np.asarray(area / unit * (1.0 - square[..., 1:] @ np.array(_FIELD[polarisation])))

    def patch(
        self,
        shape: Sequence[int],
        sample_angles: Sequence[ArrayLike],
        detector_angles: Sequence[float],
        orientation: ArrayLike | None = None,
        affine: float = AFFINE,
        curved: bool = True,
    ) -> BraggPatch:
        """Return the patch of a scan.

        Parameters
        ----------
        shape, sample_angles, detector_angles
            See :meth:`points`.
        orientation : (3, 3) array_like, optional
            Rotation R from the frame of the sample into one fixed to the crystal: q = R
            q_sample. Needed if the crystal was mounted anew between scans.
        affine, curved
            See :func:`prammol.diffraction.curved_patch.patch_of_points`: a patch off an affine
            grid by more than `affine` steps keeps all its points, or is refused.

        Returns
        -------
        BraggPatch or CurvedPatch

        Raises
        ------
        InputError
            As :meth:`points`, or if the orientation isn't a rotation.
        DataError
            If the patch is curved and that isn't allowed.
        """
        q = self.points(shape, sample_angles, detector_angles)
        if orientation is not None:
            turn = np.asarray(orientation, dtype=float)
            good = turn.shape == (3, 3) and np.allclose(turn @ turn.T, np.eye(3), 0, 1e-6)
            if not good or np.linalg.det(turn) < 0:
                msg = "the orientation isn't a rotation matrix, expected three orthogonal unit rows"
                raise InputError(msg)
            q = q @ turn.T
        return patch_of_points(q, "the grid of the scan", affine, curved)


def orientation_from_peaks(peaks: ArrayLike, hkl: ArrayLike) -> NDArray[np.float64]:
    """Return the rotation from measured Bragg vectors to a cubic crystal's axes.

    Parameters
    ----------
    peaks : (p, 3) array_like
        Measured scattering vectors, :meth:`prammol.Diffraction.peaks`.
    hkl : (p, 3) array_like
        Their indices.

    Returns
    -------
    (3, 3) ndarray
        R with q_crystal = R q: the `orientation` of :meth:`Diffractometer.patch` that puts a
        scan into the crystal's frame; or, if data stay in the sample's frame, the
        ``orientation`` of preset paper (Kabsch, Acta Cryst. A32, 922 (1976)).

    Raises
    ------
    InputError
        If there are fewer than two independent peaks, or they can't be these reflections:
        angles between them differ by more than 2 degrees.
    """
    q, h = np.atleast_2d(np.asarray(peaks, float)), np.atleast_2d(np.asarray(hkl, float))
    if q.shape != h.shape or q.shape[1] != 3 or np.linalg.matrix_rank(h) < 2:
        msg = f"got {q.shape} peaks and {h.shape} indices, expected two independent ones or more"
        raise InputError(msg)
    q, h = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, h))
    u, _, vt = np.linalg.svd(h.T @ q)
    turn = (u * [1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    worst = np.degrees(np.arccos(np.clip(((q @ turn.T) * h).sum(axis=1), -1, 1))).max()
    if worst > 2:
        msg = f"the peaks can't be these reflections, one is off by {worst:.1f} degrees"
        raise InputError(msg)
    return np.asarray(turn)


def _require_xrayutilities() -> None:
    if importlib.util.find_spec("xrayutilities") is None:
        msg = (
            "detector geometry needs the package xrayutilities, which isn't installed; "
            "pip install 'prammol[detectors]' brings it"
        )
        raise InputError(msg)
