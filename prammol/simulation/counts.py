"""Simulated diffraction: a crystal, a flux and a seed give photon counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from prammol.core.defaults import DYNAMICS, FORM_FACTORS, MEASUREMENT
from prammol.core.errors import DataError, InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.background import Background, background_arrays
from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.photon_flux import PAPER_WAVELENGTH, known_gain, scale_from_flux
from prammol.diffraction.response import Extent, Response, detected, widened
from prammol.diffraction.scatterers import Scatterers
from prammol.diffraction.structure_factor import StructureFactor, squared
from prammol.potentials.potential import Potential
from prammol.simulation.averages import MeanAmplitude, mean_structure_factor
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels

_ACCURACY = 1e-12  # derived: far below the counting noise of any flux
_MARGIN = 12  # derived: points; further ones have no part in an interval of 4 steps
# derived: physics
_OVERLAP = 0.1  # Å; no two atoms of any crystal are so close


def simulate(
    atoms: Atoms,
    flux: float,
    seed: int,
    patches: Sequence[BraggPatch] | None = None,
    temperature: float | None = None,
    wavelength: float = PAPER_WAVELENGTH,
    potential: Potential | None = None,
    comm: Communicator | None = None,
    equilibrate: int = DYNAMICS["equilibrate"],
    steps: int = DYNAMICS["steps"],
    every: int = DYNAMICS["every"],
    timestep: float = DYNAMICS["timestep"],
    remove_rigid_motion: bool = True,
    background: Background = 0.0,
    diffuse: bool = False,
    form_factor: str = MEASUREMENT["form_factor"],
    response: Response | None = None,
) -> Diffraction:
    """Draw photon counts, each from Poisson(C^2 g abs(Omega)^2 + background) (paper Eqs. 1 and 2).

    With a temperature, Omega is the mean over snapshots of canonical dynamics (paper Eqs. 11
    and 12), the coherent part. A detector also sees the diffuse one,
    <abs(Omega)^2> - abs(<Omega>)^2.

    Parameters
    ----------
    atoms : Atoms
        The crystal.
    flux : float
        Time-integrated flux [photons/um^2].
    seed : int
        Seed of the counts and of the velocities.
    patches : sequence of BraggPatch, optional
        Where to measure; the paper's three if not given.
    temperature : float, optional
        Temperature [K]; the atoms stay where they are if not given.
    wavelength : float
        Wavelength [Å].
    potential : Potential, optional
        For the dynamics; the paper's aluminium if not given.
    comm : Communicator, optional
        The dynamics runs on all its ranks. All get the same counts.
    equilibrate, steps, every : int
        Time steps before the first snapshot, after it, and between two.
    timestep : float
        Time step [fs].
    remove_rigid_motion : bool
        Lay each snapshot on the crystal by the best translation and rotation. Else
        only its centre is kept, as in the paper, and the crystal can turn.
    background : float or sequence of ndarray
        Photons expected at each point that the crystal didn't scatter: one number for
        all, or one array per patch. It is declared in the data that are returned.
    diffuse : bool
        Whether the counts of a temperature have the diffuse part, too.
    form_factor : str
        ``"q"``: the gain g has f(q) within the patches and their solid angles,
        :func:`prammol.diffraction.known_gain`, and is declared. ``"constant"``: the paper's
        single f, g = 1.
    response : Response, optional
        What pixels, rocking steps and partial coherence make of the intensity. It is declared,
        too.

    Returns
    -------
    Diffraction
        ``meta`` has ``flux``, ``scale``, ``element``, of several the lightest, which the scale is
        that of, and ``elements``, ``wavelength``, ``seed``,
        ``total_counts``, ``peak_counts``; with a temperature also ``temperature``,
        ``snapshots``, ``equilibrate``, ``every``, ``timestep``, ``remove_rigid_motion``,
        ``dynamics_seed`` and ``diffuse``.

    Raises
    ------
    DataError
        If not one photon is counted.
    InputError
        If the crystal is empty or has two atoms in one place, a number makes no sense,
        the potential is for another element, or atoms at rest shall scatter diffusely.
    SimulationError
        If the dynamics fails.
    """
    patches = list(patches) if patches is not None else paper_patches()
    _check(atoms, seed)
    wide = patches if response is None else [widened(p, _MARGIN) for p in patches]
    if temperature is None:
        if diffuse:
            msg = "diffuse scattering needs a temperature, atoms at rest have none"
            raise InputError(msg)
        factor = StructureFactor(
            wide, _ACCURACY, scatterers=_scatterers(atoms, patches, form_factor)
        )
        mean = MeanAmplitude(factor.forward(atoms.positions), wide, atoms.element, _meta(atoms))
    elif len(atoms.elements) > 1:
        msg = f"dynamics is for one element, the crystal has {', '.join(atoms.elements)}"
        raise InputError(msg)
    else:
        mean = mean_structure_factor(
            atoms,
            temperature,
            seed,
            wide,
            potential,
            comm,
            equilibrate,
            steps,
            every,
            timestep,
            remove_rigid_motion,
        )
    if response is not None:
        gain = [
            known_gain(p, atoms.element, wavelength) if form_factor == "q" else [1.0]
            for p in (wide, patches)
        ]
        mean = _detected(mean, response, patches, Extent(atoms.positions), gain)
    data = draw_counts(mean, flux, seed, wavelength, background, diffuse, form_factor)
    return data if response is None else replace(data, response=response)


def _scatterers(atoms: Atoms, patches: Sequence[BraggPatch], form_factor: str) -> Scatterers | None:
    """Return how several elements scatter, None if there is one."""
    if len(atoms.elements) == 1:
        return None
    labels = Labels.of_atoms(atoms.positions, atoms.kinds)
    return Scatterers.of(atoms.elements, patches, form_factor == "constant", labels)


def _meta(atoms: Atoms) -> dict[str, Any]:
    """Return what data of several elements record of them."""
    return {} if len(atoms.elements) == 1 else {"elements": ",".join(atoms.elements)}


def _detected(
    mean: MeanAmplitude,
    response: Response,
    patches: Sequence[BraggPatch],
    extent: Extent,
    gain: Sequence[Sequence[ArrayLike]],
) -> MeanAmplitude:
    """Return what a detector sees of amplitudes known beyond the edges, but for the gain."""
    around, own = (np.concatenate([np.ravel(g) for g in gains]) for gains in gain)

    def seen(power: NDArray[np.float64]) -> NDArray[np.float64]:
        return detected(response, patches, power * around, _MARGIN, extent) / own

    omega = np.sqrt(seen(squared(mean.omega))).astype(complex)
    whole = None if mean.intensity is None else seen(mean.intensity)
    return replace(mean, omega=omega, patches=patches, intensity=whole)


def draw_counts(
    mean: MeanAmplitude,
    flux: float,
    seed: int,
    wavelength: float = PAPER_WAVELENGTH,
    background: Background = 0.0,
    diffuse: bool = False,
    form_factor: str = MEASUREMENT["form_factor"],
) -> Diffraction:
    """Draw photon counts of a known scattering, each from Poisson(C^2 g abs(Omega)^2 + b) (Eq. 1).

    Several measurements of one crystal can share the mean over its dynamics.

    Parameters
    ----------
    mean : MeanAmplitude
        As :func:`mean_structure_factor` returns it.
    flux, seed, wavelength, background, diffuse, form_factor
        See :func:`simulate`.

    Raises
    ------
    DataError
        If not one photon is counted.
    InputError
        If the amplitude doesn't fit its patches or has no mean intensity, or a number makes no
        sense.
    """
    patches, element = mean.patches, mean.element
    intensity = mean.intensity if diffuse else squared(mean.omega)
    if intensity is None:
        msg = "the mean amplitude has no mean intensity, run the dynamics again"
        raise InputError(msg)
    size = sum(p.size for p in patches)
    if intensity.shape != (size,):
        msg = f"the scattering has shape {intensity.shape}, expected ({size},) for these patches"
        raise InputError(msg)
    if form_factor not in FORM_FACTORS:
        msg = f"the form factor is {form_factor!r}, expected one of {', '.join(FORM_FACTORS)}"
        raise InputError(msg)
    scale = scale_from_flux(flux, patches, element, wavelength)
    arrays = background_arrays(background, patches)
    expected = scale**2 * intensity
    gain = known_gain(patches, element, wavelength) if form_factor == "q" else []
    if gain:
        expected *= np.concatenate([g.ravel() for g in gain])
    if arrays:
        expected = expected + np.concatenate([b.ravel() for b in arrays])
    flat = _draw(expected, seed, f"a flux of {flux:g} photons/um^2")
    known: dict[str, Any] = {
        "flux": float(flux),
        "scale": scale,
        "element": element,
        "wavelength": float(wavelength),
        "seed": int(seed),
        "form_factor": form_factor,
        **mean.meta,
        **({"diffuse": diffuse} if "temperature" in mean.meta else {}),
        "total_counts": float(flat.sum()),
        "peak_counts": float(flat.max()),
    }
    counts = _split(flat, patches)
    source = "simulated diffraction"
    return Diffraction(
        patches,
        counts,
        meta=known,
        source=source,
        background=arrays,
        gain=gain,
        geometry=GeometryUncertainty.none(),
    )


def require_apart(atoms: Atoms) -> None:
    """Raise InputError if two atoms are in one place."""
    if len(atoms) < 2:
        return
    gap, near = cKDTree(atoms.positions).query(atoms.positions, k=2)
    i = int(gap[:, 1].argmin())
    if gap[i, 1] < _OVERLAP:
        j = int(near[i, near[i] != i][0])
        msg = (
            f"atoms {min(i, j) + 1} and {max(i, j) + 1} are {gap[i, 1]:.2g} Å apart, "
            "remove one of them"
        )
        raise InputError(msg)


def _check(atoms: Atoms, seed: int) -> None:
    if len(atoms) == 0:
        msg = "the crystal has no atoms, there is nothing to simulate"
        raise InputError(msg)
    require_apart(atoms)
    if seed < 0:
        msg = f"the seed of a simulation can't be negative, got {seed}"
        raise InputError(msg)


def _split(flat: NDArray[np.float64], patches: Sequence[BraggPatch]) -> list[NDArray[np.float64]]:
    """Cut values on all points into one array for each patch."""
    parts = np.split(flat, np.cumsum([p.size for p in patches])[:-1])
    return [c.reshape(p.shape) for c, p in zip(parts, patches, strict=True)]


def _draw(expected: NDArray[np.float64], seed: int, what: str) -> NDArray[np.float64]:
    """Draw Poisson counts, the same on every rank."""
    if expected.max() > 1e18:
        msg = f"{what} gives {expected.max():.1e} photons in one point, too many to count"
        raise InputError(msg)
    counts = np.random.default_rng([seed, 0]).poisson(expected).astype(float)
    if counts.sum() == 0:
        msg = f"{what} leaves not one photon ({expected.sum():.2g} expected), it is too low"
        raise DataError(msg)
    return counts
