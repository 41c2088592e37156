"""Thermal diffuse scattering of the object, from the potential, fitted to the counts.

Expected are

    lambda = exp(-q^2 u) (C^2 abs(Omega)^2 + a_1 S_1 + a_2 S_2) + b

with the one-phonon scattering S_1 of the softest modes and S_2 of all stiffer waves
(:mod:`prammol.diffraction.diffuse_scattering`). By the potential both factors are C^2 k_B T; they
are fitted apart, as dynamics isn't harmonic, and so is the mean square displacement u. The
prediction D is off by more than noise: its relative error e is what the counts deviate by where it
is brighter than the crystal, and there the counts weigh as lambda / (lambda + e^2 D^2). Each rank
computes some of the modes and patches, all get the same sums.

Wrong atoms scatter more than the object does, too, but coherently: an amplitude of mean square s
adds s to the counts and 2 C^2 abs(Omega)^2 s to their variance. Diffuse scattering adds nothing to
it. So the variance where the crystal is brighter tells which of the two a mean excess is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.constants import elementary_charge, k
from scipy.ndimage import map_coordinates
from scipy.special import chdtri

from prammol.core.errors import SimulationError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.diffuse_scattering import (
    DiffuseScattering,
    scattered_by_modes,
    scattered_by_waves,
    spectrum_of_waves,
)
from prammol.diffraction.structure_factor import StructureFactor, squared
from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.extra_photons import extra_photons
from prammol.potentials.lammps import Cluster
from prammol.potentials.periodic_crystal import thermal_expansion
from prammol.potentials.potential import Potential
from prammol.potentials.vibrations import force_constants, soft_modes
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem

Floats = NDArray[np.float64]

_MODES = 100  # chosen: 800 atoms at 100 K; 40 explain as much
_ACCURACY = 1e-4  # derived: far below what the model lacks, 10 %
_EVERY = 8  # chosen: speed, as for a background; not varied
_STEPS = 30  # chosen: Fisher scoring is done after five to fifteen; not varied
_HALVINGS = 8  # chosen: not varied
_ROUNDS = 2  # chosen: of factors and weights in turn; not varied
_DONE = 1e-2  # derived: decrease of the misfit, far below the noise of a parameter, 0.5
_CHANCE = 5.7e-7  # derived: five standard deviations, two-sided
_CLEAR = 3.0  # derived: standard deviations of noise
# chosen: 800 atoms at 100 and 300 K; a wrong object seems to have a larger one
_USUAL = 0.15  # error of the prediction of the right atoms, relative
_COHERENT = 1.0  # derived: of amplitudes of random phase
_KELVIN = k / elementary_charge  # derived: Boltzmann's constant [eV/K]
# chosen: 800 atoms at 100 and 300 K, up to 60 missing; 0.39 to 0.91 with diffuse scattering, at
# most 0.11 without
_INSISTS = 0.2  # of the misfit beyond noise
# chosen: the same crystals; 0.31 to 0.75 with diffuse scattering, at most 0.08 without
_HINT = 0.15  # of it, by what independent atoms would scatter, to compute the modes


def diffuse_columns(problem: Problem, x: Floats) -> list[Floats]:
    """Return S_1 and S_2 of atoms, each on all points of all patches, (points,) [1/eV].

    Called together by all ranks, which get the same bits.

    Parameters
    ----------
    problem : Problem
        With its calibration.
    x : (n, 3) ndarray
        Atoms near a minimum of the energy [Å].

    Raises
    ------
    SimulationError
        If the atoms are far from a minimum.
    """
    data, comm = problem.data, problem.comm
    calibration = problem.calibration or Calibration.nominal(len(data.patches))
    patches = [calibration.patch(p, n) for n, p in enumerate(data.patches)]
    # Of its own: what LAMMPS computed before changes the last bits of what it computes next.
    cluster = Cluster(problem.potential, comm)
    try:
        modes, around = soft_modes(cluster, x, _MODES), force_constants(cluster, x)
    finally:
        cluster.close()
    mine = slice(comm.rank, None, comm.size)
    factor = StructureFactor(patches, _ACCURACY)
    soft = scattered_by_modes(factor, x, modes.stiffness[mine], modes.vectors[mine])
    stiff, softest = [], float(modes.stiffness[-1])
    step, spectrum = np.empty((0, 3)), np.empty(0, dtype=complex)
    cell = problem.potential.atomic_volume
    for n, patch in enumerate(patches):
        if n % comm.size == comm.rank:
            grid = patch.affine if isinstance(patch, CurvedPatch) else patch
            at_rest = squared(StructureFactor([grid], _ACCURACY).forward(x))
            if not (len(step) and np.allclose(step, grid.step, rtol=_ACCURACY, atol=_ACCURACY)):
                step = grid.step
                spectrum = spectrum_of_waves(grid, cell, around.curvature, softest)
            waves = scattered_by_waves(grid, at_rest, spectrum)
            stiff.append(waves if grid is patch else _interpolated(grid, waves, patch))
        else:
            stiff.append(np.zeros(patch.size))
    gain = _gain(data) * np.repeat(calibration.amplitude**2, [p.size for p in patches])
    return [gain * comm.allreduce(soft), gain * comm.allreduce(np.concatenate(stiff))]


@dataclass(frozen=True, eq=False)
class DiffuseModel:
    """Diffuse scattering that was fitted, and what that cost.

    Attributes
    ----------
    displacement : float
        u [Å^2].
    square : float
        C^2 [photons].
    factors : (k,) ndarray
        a_1, ... [eV photons].
    value : float
        Misfit.
    """

    displacement: float
    square: float
    factors: Floats
    value: float


class DiffuseFit:
    """The counts, what an object scatters, and what may be there besides.

    Parameters
    ----------
    problem : Problem
        Without diffuse scattering.
    omega : (m,) complex ndarray
        Structure factor of the object at rest on this rank's points.
    columns : sequence of ndarray
        On all points of all patches, see :func:`diffuse_columns`.
    every : int
        Only every so many-th point is fitted.
    """

    def __init__(
        self,
        problem: Problem,
        omega: NDArray[np.complex128],
        columns: Sequence[Floats],
        every: int = 1,
    ) -> None:
        here, self._comm = problem.shard, problem.comm
        taken = here.global_index % every == 0
        self._counts, self._valid = here.counts[taken], here.valid[taken].astype(float)
        self._known = here.background_at(taken)
        self._extra = extra_photons(here)
        self._square = np.sum(problem.factor.q[taken] ** 2, axis=1)
        more = np.array([c[here.global_index] for c in columns])
        if here.response is not None:
            more = here.response.apply(more)
        rows = [here.detected(omega)[taken], *np.maximum(more[:, taken], 0.0)]
        sums = np.array([self._valid @ r for r in (here.signal[taken], *rows)])
        photons, *each = self._comm.allreduce(sums)
        # In units of the photons, so that all coefficients are of a size.
        self._unit = photons / np.maximum(each, 1e-300)
        self._rows = np.array(rows) * self._unit[:, None]

    def fitted(
        self,
        columns: bool = True,
        start: DiffuseModel | None = None,
        trust: Floats | None = None,
    ) -> DiffuseModel:
        """Return the best u, C and factors, none of them negative; only u and C if so asked.

        Parameters
        ----------
        columns : bool
            Whether there is anything but the object.
        start : DiffuseModel, optional
            From where to start.
        trust : (m,) ndarray, optional
            Weights of this rank's points.
        """
        rows = self._rows if columns else self._rows[:1]
        weight = self._valid if trust is None else self._valid * trust
        at = np.zeros(1 + len(rows))
        at[1] = 1.0
        if start is not None:
            at = self._parameters(start)
        value, expected, slopes = self._at(at, rows, weight)
        for _ in range(_STEPS):
            inverse = weight / (expected + self._extra)
            pull = weight - inverse * (self._counts + self._extra)
            system = self._comm.allreduce((slopes * inverse) @ slopes.T)
            slope = self._comm.allreduce(slopes @ pull)
            free = (at > 0) | (slope < 0)
            step = np.zeros(len(at))
            step[free] = -np.linalg.lstsq(system[np.ix_(free, free)], slope[free], rcond=None)[0]
            for halving in range(_HALVINGS):
                tried = np.maximum(at + step / 2**halving, 0.0)
                new, there, by = self._at(tried, rows, weight)
                if new < value:
                    break
            else:
                break
            gained, at, value, expected, slopes = value - new, tried, new, there, by
            if gained < _DONE:
                break
        factors = at[1:] * self._unit[: len(rows)]
        return DiffuseModel(float(at[0]), float(factors[0]), factors[1:], value)

    def insists(self, plain: DiffuseModel, diffuse: DiffuseModel) -> bool:
        """Tell whether the diffuse part explains a good part of what is beyond noise."""
        least = 0.5 * float(chdtri(len(diffuse.factors), _CHANCE))
        return plain.value - diffuse.value > max(least, _INSISTS * self.beyond_noise(plain))

    def beyond_noise(self, model: DiffuseModel) -> float:
        """Return what of a misfit is beyond three standard deviations of noise, at least 0."""
        _, expected = self.photons(model)
        mean, variance = noise_level(expected, self._extra)
        share = deviance(self._counts, expected, self._extra)
        sums = np.array([self._valid @ (share - mean), self._valid @ variance])
        over, square = self._comm.allreduce(sums)
        return max(0.0, float(over) - _CLEAR * float(np.sqrt(max(square, 0.0))))

    def photons(self, model: DiffuseModel) -> tuple[Floats, Floats]:
        """Return the diffuse photons and all photons expected on this rank's points, (m,)."""
        at = self._parameters(model)
        own = np.exp(-at[0] * self._square) * (at[1:, None] * self._rows[: len(at) - 1])
        return own[1:].sum(axis=0), own.sum(axis=0) + self._known

    def trusted(self, model: DiffuseModel) -> tuple[float, Floats]:
        """Return the relative error of the diffuse part, and the weights that follow, (m,)."""
        diffuse, expected = self.photons(model)
        noise = expected + self._extra
        ruled = self._valid * (2.0 * diffuse > expected - self._known)
        ruled /= (noise + (_USUAL * diffuse) ** 2) ** 2
        off = (self._counts - expected) ** 2 - expected
        over, square = self._comm.allreduce(np.array([ruled @ off, ruled @ diffuse**2]))
        error = float(np.sqrt(np.clip(over / max(square, 1e-300), 0.0, 1.0)))
        return error, noise / (noise + (min(error, _USUAL) * diffuse) ** 2)

    def coherence(self, model: DiffuseModel) -> float:
        """Return the variance of the counts over that if the diffuse part were coherent.

        Near 0 for diffuse scattering, 1 for an amplitude of random phase; 2 and more for wrong
        atoms, of which the fit takes a part for thermal motion.
        """
        diffuse, expected = self.photons(model)
        crystal = np.maximum(expected - self._known - diffuse, 0.0)
        cross = 2.0 * crystal * diffuse
        usual = expected + self._extra + (_USUAL * diffuse) ** 2
        ruled = self._valid * (crystal > diffuse)
        over = (self._counts - expected) ** 2 - usual
        found = 0.0
        for _ in range(_ROUNDS):
            weight = ruled / (usual + found * cross) ** 2
            sums = np.array([weight @ (cross * over), weight @ cross**2])
            covariance, square = self._comm.allreduce(sums)
            found = max(float(covariance) / max(float(square), 1e-300), 0.0)
        return found

    def _parameters(self, model: DiffuseModel) -> Floats:
        factors = np.array([model.square, *model.factors])
        return np.array([model.displacement, *(factors / self._unit[: len(factors)])])

    def _at(self, at: Floats, rows: Floats, weight: Floats) -> tuple[float, Floats, Floats]:
        """Return misfit, photons expected, and their derivatives, (1 + rows, m)."""
        slopes = np.empty((1 + len(rows), rows.shape[1]))
        np.multiply(rows, np.exp(-at[0] * self._square), out=slopes[1:])
        crystal = at[1:] @ slopes[1:]
        slopes[0] = -self._square * crystal
        expected = crystal + self._known
        share = deviance(self._counts, expected, self._extra)
        return self._comm.sum(float(weight @ share)), expected, slopes


def fitted_diffuse(
    problem: Problem, model: Model, known: DiffuseScattering | None = None
) -> DiffuseScattering | None:
    """Return the diffuse scattering of atoms as the counts have it; None if they don't ask for it.

    Called together by all ranks.

    Parameters
    ----------
    problem : Problem
        With its calibration; its own diffuse scattering doesn't count, nor does a background that
        was fitted without any.
    model : Model
        Atoms near a minimum of the energy, and how they move besides.
    known : DiffuseScattering, optional
        Of nearly the same atoms: its columns are used.
    """
    problem = problem.with_diffuse(None)
    calibration = problem.calibration
    if known is None and calibration is not None and calibration.background:
        problem = problem.calibrated(replace(calibration, background=(), terms={}))
    data, comm, x = problem.data, problem.comm, model.positions
    omega = model.structure_factor(problem.factor)
    square = np.concatenate([np.sum(p.q() ** 2, axis=1) for p in data.patches])
    # Cheap columns first: what independent atoms would scatter.
    rough = DiffuseFit(problem, omega, [len(x) * square * _gain(data)], _EVERY)
    plain = rough.fitted(columns=False)
    if plain.value - rough.fitted().value < _HINT * rough.beyond_noise(plain):
        return None
    try:
        columns = diffuse_columns(problem, x) if known is None else known.columns
    except SimulationError:  # atoms that far from a minimum are wrong ones
        return None
    fit = DiffuseFit(problem, omega, [*columns])
    found = fit.fitted()
    if not fit.insists(fit.fitted(columns=False), found) or fit.coherence(found) > _COHERENT:
        return None
    for _ in range(_ROUNDS):
        _, trust = fit.trusted(found)
        found = fit.fitted(start=found, trust=trust)
    error, trust = fit.trusted(found)
    photons, _ = fit.photons(found)
    # Ranks own consecutive points, in their order.
    whole = [np.concatenate(comm.gather(own)) for own in (photons, trust)]
    heat = found.factors / max(found.square, 1e-300)
    of = x if known is None else known.positions
    if known is None:
        expansion = comm.bcast(_expansion(problem.potential, float(heat[0] / _KELVIN)))
    else:
        expansion = known.expansion
    return DiffuseScattering(
        whole[0],
        whole[1],
        found.displacement,
        heat / _KELVIN,
        error,
        np.array(columns),
        of,
        expansion,
    )


def _expansion(potential: Potential, temperature: float) -> float:
    """Return the thermal expansion by the potential, 0 where that can't be told."""
    if temperature <= 0:
        return 0.0
    try:
        return thermal_expansion(potential, temperature)
    except SimulationError:  # wrong atoms are fitted with any temperature
        return 0.0


def _interpolated(grid: BraggPatch, values: Floats, patch: BraggPatch) -> Floats:
    """Return values on a grid at the points of a patch that is nearly the same."""
    index = (patch.q() - grid.origin) @ np.linalg.inv(grid.step)
    cube = values.reshape(grid.shape)
    return np.maximum(map_coordinates(cube, index.T, order=3, mode="nearest"), 0.0)


def _gain(data: Diffraction) -> Floats:
    """Return the gain of all points, (points,), 1 where they are masked."""
    if not data.gain:
        return np.ones(sum(p.size for p in data.patches))
    pairs = zip(data.gain, data.valid, strict=True)
    return np.concatenate([np.where(v, g, 1.0).ravel() for g, v in pairs])
