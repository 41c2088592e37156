"""A finished reconstruction beside its counts: what it expects at each point, what is left over.

The mean is that of the misfit: C^2 R abs(Omega)^2 + background, with the scales, the geometry and
the background that were fitted, occupancies, thermal motion and the detector's response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.dataset import Diffraction, Shard
from prammol.diffraction.detector_flaws import masked_flaws
from prammol.diffraction.photon_flux import with_form_factor
from prammol.diffraction.response import Extent, Response
from prammol.diffraction.scatterers import Scatterers
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.extra_photons import extra_photons
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.effects import outstanding_points
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import calibrated_shard, declared_with, with_matter
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels

Floats = NDArray[np.float64]
_MARGIN = 1.0  # chosen: not varied; how far outside of the atoms a response looks [Å]
_ACCURACY = 1e-7  # chosen: as of reconstruct; see there


@dataclass(frozen=True, eq=False)
class Fit:
    """Counts, and what a reconstruction expects of them; one array per patch.

    Attributes
    ----------
    patches : sequence of BraggPatch
        Where the points were, as it was fitted.
    peaks : (patches, 3) ndarray
        Bragg peaks in the counts [1/Å].
    counts, expected : sequence of ndarray
        [photons].
    valid : sequence of bool ndarray
        Points that took part.
    extra : float
        Photons that the misfit adds to both sides.
    sigma : float
        By how many standard deviations the misfit exceeds noise.
    diffuse : bool
        Whether diffuse scattering was fitted. `sigma` is then the run's own and contains the error
        of that prediction; residuals and shells have the noise of photons alone.
    """

    patches: Sequence[BraggPatch]
    peaks: Floats
    counts: Sequence[Floats]
    expected: Sequence[Floats]
    valid: Sequence[NDArray[np.bool_]]
    extra: float
    sigma: float
    diffuse: bool = False

    def residual(self, k: int) -> Floats:
        """Return what patch k leaves [standard deviations], NaN where masked.

        The signed root of twice each point's Poisson deviance (McCullagh and Nelder 1989, 2.4.3):
        (I - lambda) / sqrt(lambda) for many photons, and of the order of one for few.
        """
        counts, expected = self.counts[k], self.expected[k]
        share = np.zeros(counts.shape)
        lam = np.maximum(expected, np.finfo(float).tiny)
        log = np.log(np.where(counts > 0, counts, 1.0) / lam)
        share = lam - counts + np.where(counts > 0, counts * log, 0.0)
        root = np.sqrt(2.0 * np.maximum(share, 0.0))
        return np.asarray(np.where(self.valid[k], np.sign(counts - expected) * root, np.nan))

    def shells(self, k: int, number: int) -> dict[str, Floats]:
        """Return means over shells around the peak of patch k.

        Returns
        -------
        dict of str to (number,) ndarray
            ``q``, distance from the peak [1/Å]; ``counts`` and ``expected`` per point [photons];
            ``sigma``, misfit beyond noise in each shell [its standard deviations]. NaN where a
            shell has no valid point.
        """
        distance = np.linalg.norm(self.patches[k].q() - self.peaks[k], axis=1)
        edges = np.linspace(0.0, float(distance.max()) * (1 + 1e-9), number + 1)
        v = self.valid[k]
        shell = np.digitize(distance[v.ravel()], edges) - 1
        counts, expected = self.counts[k][v], self.expected[k][v]
        mean, variance = noise_level(expected, self.extra)
        over = deviance(counts, expected, self.extra) - mean

        def total(values: Floats) -> Floats:
            return np.asarray(np.bincount(shell, weights=values, minlength=number), dtype=float)

        with np.errstate(invalid="ignore", divide="ignore"):
            points = total(np.ones(len(shell)))
            return {
                "q": (edges[1:] + edges[:-1]) / 2,
                "counts": total(counts) / points,
                "expected": total(expected) / points,
                "sigma": total(over) / np.sqrt(total(variance)),
            }


def fit_of(result: Reconstruction, data: Diffraction) -> Fit:
    """Return counts beside what a reconstruction expects of them.

    Parameters
    ----------
    result : Reconstruction
        Its response of the detector and masks of flaws are those it was made with.
    data : Diffraction
        What it was made from.

    Raises
    ------
    InputError
        If the calibration isn't one of these patches, or the element differs.
    """
    element, atoms = data.meta.get("elements", data.meta.get("element")), result.atoms
    elements = str(element or ",".join(atoms.elements)).split(",")
    if not set(atoms.elements) <= set(elements):
        msg = f"{data.source}: was scattered by {element}, the atoms are {','.join(atoms.elements)}"
        raise InputError(msg)
    calibration = result.calibration or Calibration.nominal(len(data.patches))
    shapes = [b.shape for b in calibration.background]
    if len(calibration.amplitude) != len(data.patches) or (
        shapes and shapes != [p.shape for p in data.patches]
    ):
        msg = f"{data.source}: the reconstruction is of other patches, expected the data it is of"
        raise InputError(msg)
    columns = result.atoms.columns
    model = Model(
        result.atoms.positions,
        result.scale,
        np.asarray(columns.get("mean_square_displacement", ()), dtype=float),
        np.asarray(columns.get("occupancy", ()), dtype=float),
        calibration=calibration,
        labels=_labels(atoms, elements),
    )
    data = with_form_factor(_as_recorded(result, data), elements[0])
    flaws = bool(result.settings.get("mask_flaws", False))
    if flaws:
        data = masked_flaws(data)
    made = _compared(data, model, elements)
    if flaws:
        shard, expected, _ = made
        own = shard.valid * np.abs(shard.counts - expected) / np.sqrt(expected + 1.0)
        points = outstanding_points(own, data.patches)
        valid = [v & ~p for v, p in zip(data.valid, points, strict=True)]
        made = _compared(replace(data, valid=valid), model, elements)
    shard, expected, sigma = made
    diffuse = "diffuse" in calibration.terms
    if diffuse:  # the weights of its error aren't in the file
        sigma = sigma if result.misfit_sigma is None else result.misfit_sigma
    shapes = [p.shape for p in data.patches]
    ends = np.cumsum([p.size for p in data.patches])[:-1]

    def split(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        parts = np.split(values, ends)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    return Fit(
        patches=[calibration.patch(p, k) for k, p in enumerate(data.patches)],
        peaks=data.peaks(),
        counts=split(shard.counts),
        expected=split(expected),
        valid=[v.astype(bool) for v in split(shard.valid.astype(float))],
        extra=extra_photons(shard),
        sigma=sigma,
        diffuse=diffuse,
    )


def _as_recorded(result: Reconstruction, data: Diffraction) -> Diffraction:
    """Return the data with the response that the reconstruction was told of, if it says so."""
    held = result.provenance.get("diffraction", {})
    told = held.get("response") if isinstance(held, dict) else None
    if not isinstance(told, dict):
        return data
    response = Response.of(len(data.patches), told.get("box", 0.0), told.get("blur", 0.0))
    return replace(data, response=response)


def _labels(atoms: Atoms, elements: Sequence[str]) -> Labels | None:
    """Return where the elements are, None if there is one."""
    if len(elements) == 1:
        return None
    kinds = np.array([elements.index(name) for name in atoms.symbols.tolist()], dtype=int)
    return Labels.of_atoms(atoms.positions, kinds)


def _compared(
    data: Diffraction, model: Model, elements: Sequence[str]
) -> tuple[Shard, Floats, float]:
    """Return the points, what the model expects of them, and the misfit in standard deviations."""
    comm = Communicator()
    calibration = model.calibration or Calibration.nominal(len(data.patches))
    extent = Extent(model.positions, _MARGIN)
    shard = calibrated_shard(declared_with(data, calibration), calibration, extent, comm)
    scatterers = None
    if model.labels is not None:
        constant = data.meta.get("form_factor") == "constant"
        scatterers = Scatterers.of(elements, data.patches, constant, model.labels)
    factor = StructureFactor(
        shard.patches, _ACCURACY, amplitude=shard.amplitude, scatterers=scatterers
    )
    shard = with_matter(shard, calibration, factor)
    misfit = PoissonMisfit(shard, factor)
    omega = model.structure_factor(factor)
    sigma, _, _ = misfit.excess(omega, model.scale)
    return shard, misfit.expected(omega, model.scale), sigma
