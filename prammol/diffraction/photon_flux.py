"""From the photons of the beam to counts: the scale C.

The model has one unknown scale, lambda = C^2 abs(Omega)^2 (paper Eq. 2). In the kinematic
approximation a point detector of solid angle dOmega counts

    C^2 = Phi r_e^2 P f(G)^2 dOmega

photons for each unit of abs(Omega)^2, with the time-integrated flux Phi, the classical electron
radius r_e, the polarisation factor P and the form factor f of an atom at the Bragg peak G.
The paper states no such relation; this is the textbook's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from prammol.core.defaults import MEASUREMENT
from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch

ELECTRON_RADIUS = 2.8179403205e-9  # derived: physics, CODATA [µm]
"""Classical electron radius [um] (CODATA 2022)."""
PAPER_WAVELENGTH: float = MEASUREMENT["wavelength"]
"""10 keV [Å]."""


def form_factor(element: str, q: float) -> float:
    """Return the number of electrons an atom scatters like.

    The four Gaussians of the International Tables for Crystallography, vol. C (1992),
    table 6.1.1.4, from gemmi; without anomalous dispersion.

    Parameters
    ----------
    element : str
        Chemical symbol.
    q : float
        Length of the scattering vector [1/Å, with 2 pi].

    Raises
    ------
    InputError
        If the table doesn't have the element or doesn't reach so far.
    """
    import gemmi

    known = gemmi.Element(element)
    if known.name != element or known.atomic_number == 0:
        msg = f"no form factor for {element!r}, expected a chemical symbol such as 'Al'"
        raise InputError(msg)
    s = q / (4 * np.pi)  # sin(theta) / wavelength
    if not 0 <= s <= 2:
        msg = f"form factors are known up to |q| = {8 * np.pi:.0f} 1/Å, got {q}"
        raise InputError(msg)
    return float(known.it92.calculate_sf(s**2))


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

    As the model has one scale for all patches, this is their mean; for peaks of one
    family on equal grids, as the paper's, all are the same.

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
    values = [
        form_factor(element, float(np.linalg.norm(g))) ** 2 * solid_angle(p, wavelength)
        for g, p in zip(centres, patches, strict=True)
    ]
    return ELECTRON_RADIUS**2 * polarisation * float(np.mean(values))


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
