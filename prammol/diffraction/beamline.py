"""A beamline as far as a plan needs it: what a rocking scan of a Bragg peak measures, and its dose.

Kinematic scattering of a crystal that the beam bathes: the flux is the same for all atoms. The
dose is the energy of absorbed photons by mass, mu/rho = 2 r_e lambda f'' N_A / M, with f'' by
Cromer & Liberman (J. Chem. Phys. 53, 1891 (1970)) from gemmi; photoelectrons and fluorescence that
leave a small crystal make the true one smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch

_HC = 12.398419843  # derived: physics [keV Å]
_RADIUS_CM = 2.8179403205e-13  # derived: physics, the electron's [cm]
_AVOGADRO = 6.02214076e23  # derived: physics
_JOULE_PER_KEV = 1.602176634e-16  # derived: physics
_CM2_PER_UM2 = 1e8  # derived: unit, 1/µm² in 1/cm²
_LARGEST = 1e30  # derived: no number of a beamline is larger
_ENERGIES = (3.0, 70.0)  # derived: range of the table's use [keV]
_ELEMENTS = (3, 92)  # derived: range of the table
_TWO_THETA = 120.0  # chosen: degrees, where detector arms end; not varied


@dataclass(frozen=True)
class Beamline:
    """A beam, a detector and a rocking scan.

    Attributes
    ----------
    name : str
    energy : float
        Photon energy [keV].
    flux_density : float
        Coherent photons a second on the crystal [1/s/um^2].
    distance : float
        From the crystal to the detector [m].
    pixel : float
        Edge of a pixel [um].
    pixels : int
        Pixels along an edge of the detector.
    rocking_step : float
        Angle between two images [degrees].
    images : int
        Images of a scan.
    exposure : float
        Of an image [s].
    background : float
        Other photons of a pixel [1/s].
    beam : float
        Edge of the focus [um]; a larger crystal isn't bathed. 0: larger than any crystal.
    two_theta_max : float
        Largest scattering angle that the detector reaches [degrees].

    Raises
    ------
    InputError
        If a number isn't what is expected.
    """

    name: str
    energy: float
    flux_density: float
    distance: float
    pixel: float
    pixels: int
    rocking_step: float
    images: int
    exposure: float
    background: float = 0.0
    beam: float = 0.0
    two_theta_max: float = _TWO_THETA

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "name":
                continue
            whole = f.name in ("pixels", "images")
            wanted = "a whole number of at least 2" if whole else "a positive number"
            least = 2 if whole else 0
            zero = f.name in ("background", "beam")
            good = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not (good and least <= value <= _LARGEST and (value > 0 or zero)):
                msg = f"{self.name}: {f.name} is {value!r}, expected {wanted}"
                raise InputError(msg)
        if not _ENERGIES[0] <= self.energy <= _ENERGIES[1]:
            msg = (
                f"{self.name}: energy is {self.energy:g}, expected {_ENERGIES[0]:g} to "
                f"{_ENERGIES[1]:g} keV"
            )
            raise InputError(msg)
        if self.two_theta_max >= 180:
            msg = f"{self.name}: two_theta_max is {self.two_theta_max:g}, expected less than 180"
            raise InputError(msg)

    @property
    def wavelength(self) -> float:
        """Wavelength [Å]."""
        return _HC / self.energy

    @property
    def flux(self) -> float:
        """Photons that meet the crystal during one image [1/um^2]."""
        return self.flux_density * self.exposure

    @property
    def solid_angle(self) -> float:
        """Of a pixel [sr]."""
        return (1e-6 * self.pixel / self.distance) ** 2

    def bragg_angle(self, length: float) -> float | None:
        """Return theta of a scattering vector [1/Å] in degrees; None where it can't be reached."""
        sine = length * self.wavelength / (4 * np.pi)
        if not 0 < sine < 1:
            return None
        theta = float(np.degrees(np.arcsin(sine)))
        return theta if 2 * theta <= self.two_theta_max else None

    def patch(self, peak: ArrayLike) -> BraggPatch:
        """Return the points of a rocking scan around a peak, the detector square to the beam.

        Parameters
        ----------
        peak : (3,) array_like
            Scattering vector [1/Å].

        Raises
        ------
        InputError
            If it can't be reached.
        """
        peak = np.array(peak, dtype=float)
        length = float(np.linalg.norm(peak))
        theta = self.bragg_angle(length)
        if theta is None:
            msg = (
                f"{self.name}: the peak with d = {2 * np.pi / length:.3g} Å can't be reached at "
                f"{self.energy:g} keV within 2 theta = {self.two_theta_max:g} degrees"
            )
            raise InputError(msg)
        along = peak / length
        across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
        across /= np.linalg.norm(across)
        angle = np.radians(theta)
        pixel = 2 * np.pi / self.wavelength * 1e-6 * self.pixel / self.distance
        step = np.array(
            [
                length * np.radians(self.rocking_step) * across,
                pixel * np.cross(along, across),
                pixel * (np.cos(angle) * along - np.sin(angle) * across),
            ]
        )
        shape = (self.images, self.pixels, self.pixels)
        return BraggPatch(peak - (np.array(shape) - 1) / 2 @ step, step, shape)

    def dose(self, element: str, mass: float, scans: int) -> float:
        """Return the dose of scans [Gy].

        Parameters
        ----------
        element : str
            Chemical symbol.
        mass : float
            Of an atom [g/mol].
        scans : int
            Number of rocking scans.
        """
        cm2 = self.flux * self.images * scans * _CM2_PER_UM2
        by_gram = cm2 * absorption(element, mass, self.energy) * self.energy * _JOULE_PER_KEV
        return 1000.0 * by_gram


def absorption(element: str, mass: float, energy: float) -> float:
    """Return the mass absorption coefficient [cm^2/g] at an energy [keV].

    Parameters
    ----------
    element : str
        Chemical symbol.
    mass : float
        Of an atom [g/mol].
    energy : float

    Raises
    ------
    InputError
        If the table doesn't have the element, or not the energy.
    """
    import gemmi

    number = gemmi.Element(element).atomic_number
    if not (_ELEMENTS[0] <= number <= _ELEMENTS[1] and _ENERGIES[0] <= energy <= _ENERGIES[1]):
        msg = (
            f"the absorption of {element} at {energy:g} keV isn't known, expected elements Li to "
            f"U and {_ENERGIES[0]:g} to {_ENERGIES[1]:g} keV"
        )
        raise InputError(msg)
    _, imaginary = gemmi.cromer_liberman(number, 1000.0 * energy)
    section = 2 * _RADIUS_CM * (_HC / energy * 1e-8) * imaginary
    return float(section * _AVOGADRO / mass)


def beamline_of(values: Any, name: str) -> Beamline:
    """Return the beamline of keys and values, those of :class:`Beamline`.

    Parameters
    ----------
    values : mapping
    name : str
        For the messages.

    Raises
    ------
    InputError
        If a key is unknown or missing, or as :class:`Beamline`.
    """
    known = {f.name: f for f in fields(Beamline) if f.name != "name"}
    if not isinstance(values, Mapping):
        msg = f"{name}: expected a beamline, keys and values such as energy: 9"
        raise InputError(msg)
    for key in values:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
            msg = f"{name}: there is no key {key!r:.40}, {hint}"
            raise InputError(msg)
    optional = {"background", "beam", "two_theta_max"}
    missing = [key for key in known if key not in values and key not in optional]
    if missing:
        msg = f"{name}: the key {missing[0]} is missing"
        raise InputError(msg)
    return Beamline(name=name, **values)


def changed(beamline: Beamline, values: Mapping[str, Any]) -> Beamline:
    """Return a beamline with other numbers.

    Parameters
    ----------
    beamline : Beamline
    values : mapping
        Keys of :class:`Beamline` and their values.

    Raises
    ------
    InputError
        As :func:`beamline_of`.
    """
    old = {f.name: getattr(beamline, f.name) for f in fields(Beamline) if f.name != "name"}
    return beamline_of({**old, **values}, beamline.name)


def reachable_peaks(
    beamline: Beamline, reciprocal: NDArray[np.float64], motif: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return the families of reflections within reach, the innermost first.

    Parameters
    ----------
    beamline : Beamline
    reciprocal : (3, 3) ndarray
        Rows are the reciprocal vectors of the cell [1/Å].
    motif : (n, 3) ndarray
        All atoms of the cell, in fractions of its vectors.

    Returns
    -------
    list of dict
        ``hkl`` of one of the family, ``multiplicity``, ``d`` [Å], ``theta`` [degrees].
    """
    longest = 4 * np.pi / beamline.wavelength * np.sin(np.radians(beamline.two_theta_max / 2))
    most = int(longest / np.linalg.norm(reciprocal, axis=1).min()) + 1
    side = np.arange(-most, most + 1)
    hkl = np.array(np.meshgrid(side, side, side, indexing="ij")).reshape(3, -1).T
    length = np.linalg.norm(hkl @ reciprocal, axis=1)
    hkl, length = (
        hkl[(length > 0) & (length <= longest)],
        length[(length > 0) & (length <= longest)],
    )
    strength = np.abs(np.exp(2j * np.pi * hkl @ motif.T).sum(axis=1))
    hkl, length = hkl[strength > 0.05], length[strength > 0.05]
    out = []
    for value in np.unique(np.round(length, 6)):
        here = hkl[np.isclose(length, value, atol=2e-6)]
        first = here[np.lexsort((here.sum(axis=1), (here >= 0).sum(axis=1)))[-1]]
        out.append(
            {
                "hkl": first.tolist(),
                "multiplicity": len(here),
                "d": float(2 * np.pi / value),
                "theta": beamline.bragg_angle(float(value)),
            }
        )
    return [p for p in out if p["theta"] is not None]
