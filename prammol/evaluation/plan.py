"""What an experiment that hasn't been done would tell: patches, photons, dose, errors, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.beamline import Beamline, reachable_peaks
from prammol.diffraction.form_factors import form_factor
from prammol.diffraction.photon_flux import ELECTRON_RADIUS
from prammol.likelihood.prospects import (
    PatchPhotons,
    Prospects,
    bragg_strength,
    prospects,
)
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential
from prammol.potentials.softness import relaxation

# chosen: display
_FACTORS = tuple(10.0 ** (0.5 * k) for k in range(-6, 7))  # of the flux, in the picture
_LISTED = 12  # chosen: display
_FRINGES = 2.0  # derived: with fewer speckles a patch doesn't hold the peak
_ATOMS = (13.0, 1e10)  # derived: an atom with its neighbours; a µm, where scattering is dynamical
_INDEPENDENT = 1e-9  # derived: rounding


@dataclass(frozen=True)
class PlannedPatch:
    """The rocking scan of one peak.

    Attributes
    ----------
    hkl : tuple of float
    theta : float
        Bragg angle [degrees].
    half_width : (3,) tuple of float
        Along rocking, rows and columns [2 pi / first edge of the cell].
    shape : (3,) tuple of int
    photons : float
    points_per_speckle : (3,) tuple of float
    """

    hkl: tuple[float, ...]
    theta: float
    half_width: tuple[float, ...]
    shape: tuple[int, ...]
    photons: float
    points_per_speckle: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What an experiment would tell.

    Attributes
    ----------
    element, structure : str
    atoms : float
    diameter_nm : float
        Of a ball of them [nm].
    beamline : Beamline
    reachable : list of dict
        See :func:`prammol.diffraction.beamline.reachable_peaks`.
    patches : list of PlannedPatch
    flux : float
        Photons that meet the crystal during one image [1/um^2].
    dose_gray : float
        Of all scans [Gy].
    time_s : float
        Exposure of all scans [s].
    prospects : Prospects
    resolving_flux : float or None
        Flux of an image at which single atoms are resolved [photons/um^2]; None: at none.
    curve : list of dict
        ``flux``, ``wrong_atoms``, ``position_pm``, ``verdict`` at other fluxes.
    """

    element: str
    structure: str
    atoms: float
    diameter_nm: float
    beamline: Beamline
    reachable: list[dict[str, Any]]
    patches: list[PlannedPatch]
    flux: float
    dose_gray: float
    time_s: float
    prospects: Prospects
    resolving_flux: float | None
    curve: list[dict[str, Any]]

    def summary(self) -> dict[str, Any]:
        """Return all of it as numbers, texts, lists and dicts."""
        return asdict(self)


def plan(
    potential: Potential,
    beamline: Beamline,
    *,
    diameter_nm: float | None = None,
    atoms: float | None = None,
    peaks: Sequence[Sequence[float]] | None = None,
) -> Plan:
    """Return what rocking scans of a crystal would tell.

    Parameters
    ----------
    potential : Potential
        Element, lattice and stiffness.
    beamline : Beamline
    diameter_nm : float, optional
        Of a ball [nm]; this or `atoms`.
    atoms : float, optional
    peaks : (p, 3) sequence, optional
        Bragg peaks (h, k, l); three of the innermost if not given.

    Raises
    ------
    InputError
        If the potential is for several elements, a peak is extinct or out of reach, the peaks lie
        in a plane, or the crystal is too small, too large for the beam, or its peak for the
        detector or the scan.
    """
    if len(potential.elements) > 1:
        msg = f"{potential.name} is for {', '.join(potential.elements)}, expected one element"
        raise InputError(msg)
    atoms = _number(potential, diameter_nm, atoms)
    radius = (0.75 / np.pi * atoms * potential.atomic_volume) ** (1 / 3)
    if beamline.beam and 2 * radius > 1e4 * beamline.beam:
        msg = (
            f"the crystal has a diameter of {0.2 * radius:.4g} nm, {beamline.name} a beam of "
            f"{1000 * beamline.beam:.4g} nm: expected a crystal that the beam bathes"
        )
        raise InputError(msg)
    reciprocal = potential.lattice.reciprocal / potential.lattice_constant
    sites = np.array(potential.lattice.sites, dtype=float)
    indices = np.array(potential.lattice.peaks if peaks is None else peaks, dtype=float)
    _require_peaks(indices, sites)
    scans, measured = [], []
    for hkl in indices:
        scan, one = _scan(potential, beamline, hkl @ reciprocal, atoms, radius)
        scans.append(replace(scan, hkl=tuple(hkl.tolist())))
        measured.append(one)
    cluster = Cluster(potential)
    try:
        soft = relaxation(potential, cluster)
    finally:
        cluster.close()
    found, *others = prospects(measured, atoms, potential, soft, (1.0, *_FACTORS))
    curve = [
        {
            "flux": factor * beamline.flux,
            "wrong_atoms": at.wrong_atoms,
            "position_pm": at.position_pm,
            "verdict": at.verdict,
        }
        for factor, at in zip(_FACTORS, others, strict=True)
    ]
    factor_needed = found.resolving_factor
    return Plan(
        element=potential.element,
        structure=potential.structure,
        atoms=atoms,
        diameter_nm=0.2 * radius,
        beamline=beamline,
        reachable=reachable_peaks(beamline, reciprocal, sites)[:_LISTED],
        patches=scans,
        flux=beamline.flux,
        dose_gray=beamline.dose(potential.element, potential.mass, len(scans)),
        time_s=len(scans) * beamline.images * beamline.exposure,
        prospects=found,
        resolving_flux=None if factor_needed is None else factor_needed * beamline.flux,
        curve=curve,
    )


def _number(potential: Potential, diameter_nm: float | None, atoms: float | None) -> float:
    if (diameter_nm is None) == (atoms is None):
        msg = "the size is missing: expected either the diameter or the number of atoms"
        raise InputError(msg)
    if atoms is None:
        assert diameter_nm is not None
        atoms = np.pi / 6 * (10 * diameter_nm) ** 3 / potential.atomic_volume
    if not (np.isfinite(atoms) and _ATOMS[0] <= atoms <= _ATOMS[1]):
        msg = (
            f"the crystal has {atoms:.3g} atoms, expected {_ATOMS[0]:.0f} (a few cells) "
            f"to {_ATOMS[1]:.0e} (beyond, scattering isn't kinematic)"
        )
        raise InputError(msg)
    return float(atoms)


def _require_peaks(indices: NDArray[np.float64], sites: NDArray[np.float64]) -> None:
    if indices.ndim != 2 or indices.shape[1] != 3 or not len(indices):
        msg = "peaks must be triples (h, k, l)"
        raise InputError(msg)
    strength = np.abs(np.exp(2j * np.pi * indices @ sites.T).sum(axis=1))
    for hkl, s in zip(indices, strength, strict=True):
        if s < 0.05 * len(sites):
            msg = f"the peak {tuple(hkl.tolist())} is extinct, expected one of the structure's"
            raise InputError(msg)
    if abs(np.linalg.svd(indices, compute_uv=False)[-1]) < _INDEPENDENT or len(indices) < 3:
        msg = "the peaks leave a direction undetermined, expected three that aren't in a plane"
        raise InputError(msg)


def _scan(
    potential: Potential,
    beamline: Beamline,
    peak: NDArray[np.float64],
    atoms: float,
    radius: float,
) -> tuple[PlannedPatch, PatchPhotons]:
    """Return what a rocking scan measures."""
    patch = beamline.patch(peak)
    length = float(np.linalg.norm(peak))
    width = np.linalg.norm(patch.step, axis=1)
    speckle = np.pi / radius
    for name, w, n in zip(
        ("rocking scan", "detector", "detector"), width, patch.shape, strict=True
    ):
        if w * n < _FRINGES * speckle:
            msg = (
                f"{beamline.name}: the {name} covers {w * n:.2g} 1/Å, and a speckle is "
                f"{speckle:.2g} 1/Å wide: expected two speckles at least, take a larger crystal, "
                "step or detector"
            )
            raise InputError(msg)
    scale = beamline.flux * (ELECTRON_RADIUS * form_factor(potential.element, length)) ** 2
    zone = (2 * np.pi) ** 3 / potential.atomic_volume / abs(float(np.linalg.det(patch.step)))
    photons = scale * beamline.solid_angle * atoms * bragg_strength(potential) * zone
    rlu = 2 * np.pi / potential.lattice_constant
    scan = PlannedPatch(
        hkl=(),
        theta=float(beamline.bragg_angle(length) or 0.0),
        half_width=tuple((0.5 * width * np.array(patch.shape) / rlu).tolist()),
        shape=patch.shape,
        photons=photons,
        points_per_speckle=tuple((speckle / width).tolist()),
    )
    return scan, PatchPhotons(patch, peak, photons, beamline.background * beamline.exposure)
