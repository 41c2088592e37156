"""From the photons of the beam to counts: the scale C.

The model has one unknown scale, lambda = C^2 abs(Omega)^2 (paper Eq. 2). In the kinematic
approximation a point detector of solid angle dOmega counts

    Phi r_e^2 P f(q)^2 dOmega

photons for each unit of abs(Omega)^2, with the time-integrated flux Phi, the classical electron
radius r_e, the polarisation factor P and the form factor f of an atom. C^2 is the mean of that at
the Bragg peaks; what a point has more or less is its gain, :func:`known_gain`. The paper has
one f for all points and states no such relation; this is the textbook's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prammol.core.defaults import MEASUREMENT
from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.form_factors import form_factor, form_factors

ELECTRON_RADIUS = 2.8179403205e-9  # derived: physics, CODATA [µm]
"""Classical electron radius [um] (CODATA 2022)."""
PAPER_WAVELENGTH: float = MEASUREMENT["wavelength"]
"""10 keV [Å]."""


def patch_centre(patch: BraggPatch) -> np.ndarray:
    """Return the scattering vector in the middle of a patch, (3,) [1/Å]."""
    return patch.origin + (np.array(patch.shape) - 1) / 2 @ patch.step


def solid_angle(patch: BraggPatch, wavelength: float = PAPER_WAVELENGTH) -> float:
    """Return the solid angle of one point of a patch [sr].

    The first axis of a patch is taken as that of the rotation, the other two as those
    of the detector: a pixel of the area A in reciprocal space is seen under
    (wavelength / 2 pi)^2 A. For a cubic grid of step dh [r.l.u.] this is the
    (wavelength dh / a)^2 of the three patches of the paper.

    Parameters
    ----------
    patch : BraggPatch
        The grid.
    wavelength : float
        Wavelength [Å].

    Raises
    ------
    InputError
        If the wavelength isn't positive.
    """
    if not (np.isfinite(wavelength) and wavelength > 0):
        msg = f"the wavelength must be a positive number of Å, got {wavelength}"
        raise InputError(msg)
    area = np.linalg.norm(np.cross(patch.step[1], patch.step[2]))
    return float((wavelength / (2 * np.pi)) ** 2 * area)


def counts_per_flux(
    patches: Sequence[BraggPatch],
    element: str,
    wavelength: float = PAPER_WAVELENGTH,
    polarisation: float = 1.0,  # derived: physics, no polarisation factor
    peaks: ArrayLike | None = None,
) -> float:
    """Return C^2 / Phi = r_e^2 P f(G)^2 dOmega [um^2].

    The mean of all patches; for peaks of one family on equal grids, as the paper's, all are the
    same.

    Parameters
    ----------
    patches : sequence of BraggPatch
        Where is measured.
    element : str
        Chemical symbol.
    wavelength : float
        Wavelength [Å].
    polarisation : float
        Polarisation factor P, 1 for scattering in the plane across the polarisation.
    peaks : (p, 3) array_like, optional
        Scattering vector of the Bragg peak of each patch [1/Å]; the middles of the
        patches if not given.

    Raises
    ------
    InputError
        If the element is unknown, or a number isn't positive or doesn't fit.
    """
    if len(patches) == 0:
        msg = "the scale needs at least one patch"
        raise InputError(msg)
    if not 0 < polarisation <= 1:
        msg = f"the polarisation factor must be above 0 and at most 1, got {polarisation}"
        raise InputError(msg)
    centres = np.array([patch_centre(p) for p in patches]) if peaks is None else np.array(peaks)
    if centres.shape != (len(patches), 3):
        msg = f"peaks must have the shape ({len(patches)}, 3), got {centres.shape}"
        raise InputError(msg)
    values = _of_peaks(patches, element, wavelength, centres)
    return ELECTRON_RADIUS**2 * polarisation * float(np.mean(values))


def _of_peaks(
    patches: Sequence[BraggPatch], element: str, wavelength: float, peaks: NDArray[np.float64]
) -> list[float]:
    """Return f(G)^2 dOmega of each patch."""
    return [
        form_factor(element, float(np.linalg.norm(g))) ** 2 * solid_angle(p, wavelength)
        for g, p in zip(peaks, patches, strict=True)
    ]


def known_gain(
    patches: Sequence[BraggPatch], element: str, wavelength: float = PAPER_WAVELENGTH
) -> list[NDArray[np.float64]]:
    """Return what f(q) and the solid angle make of the mean at each point, beside C^2.

    f(q)^2 dOmega in units of its mean at the peaks, :func:`counts_per_flux`.

    Parameters
    ----------
    patches, element, wavelength
        See :func:`counts_per_flux`.

    Returns
    -------
    list of ndarray
        One array with the patch's shape per patch.

    Raises
    ------
    InputError
        If the element is unknown, the wavelength isn't positive, or a point is out of the table.
    """
    centres = np.array([patch_centre(p) for p in patches])
    mean = float(np.mean(_of_peaks(patches, element, wavelength, centres)))
    return [
        _squared_form_factors(p, element) * (solid_angle(p, wavelength) / mean) for p in patches
    ]


def _squared_form_factors(patch: BraggPatch, element: str) -> NDArray[np.float64]:
    """Return f(q)^2 of the points of a patch, with its shape."""
    return (form_factors(element, np.linalg.norm(patch.q(), axis=1)) ** 2).reshape(patch.shape)


def with_form_factor(data: Diffraction, element: str) -> Diffraction:
    """Return data whose gain has f(q)^2, in units of its mean at the peaks.

    Unchanged if the data say how their form factor is (``meta["form_factor"]``: ``"q"`` if the gain
    has it, ``"constant"`` if they were simulated without), or were simulated before they said.

    Parameters
    ----------
    data : Diffraction
    element : str
        Chemical symbol.

    Raises
    ------
    InputError
        As :func:`form_factors`.
    """
    if "form_factor" in data.meta or "scale" in data.meta:
        return data
    peaks = np.linalg.norm(data.peaks(), axis=1)
    mean = float(np.mean(form_factors(element, peaks) ** 2))
    known = data.gain or [np.ones(p.shape) for p in data.patches]
    gain = [
        g * (_squared_form_factors(p, element) / mean)
        for g, p in zip(known, data.patches, strict=True)
    ]
    return replace(data, gain=gain, meta={**data.meta, "form_factor": "q"})


def scale_from_flux(
    flux: float,
    patches: Sequence[BraggPatch],
    element: str,
    wavelength: float = PAPER_WAVELENGTH,
    polarisation: float = 1.0,  # derived: physics, no polarisation factor
    peaks: ArrayLike | None = None,
) -> float:
    """Return the scale C of a time-integrated flux.

    Parameters
    ----------
    flux : float
        Time-integrated flux Phi [photons/um^2].
    patches, element, wavelength, polarisation, peaks
        See :func:`counts_per_flux`.

    Raises
    ------
    InputError
        If the flux isn't positive, and as :func:`counts_per_flux`.
    """
    if not (np.isfinite(flux) and flux > 0):
        msg = f"the flux must be a positive number of photons/um^2, got {flux}"
        raise InputError(msg)
    return float(np.sqrt(flux * counts_per_flux(patches, element, wavelength, polarisation, peaks)))
