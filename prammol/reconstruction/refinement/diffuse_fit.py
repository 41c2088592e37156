"""Thermal diffuse scattering of the object, from the potential, fitted to the counts.

Expected are

    lambda = exp(-q^2 u) (C^2 abs(Omega)^2 + a_1 S_1 + a_2 S_2) + b

with the one-phonon scattering S_1 of the softest modes and S_2 of all stiffer waves
(:mod:`prammol.diffraction.diffuse_scattering`). By the potential both factors are C^2 k_B T; they
are fitted apart, as dynamics isn't harmonic, and so is the mean square displacement u. Each rank
computes some of the modes and patches, all get the same sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from prammol.core.errors import InputError
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.diffuse_scattering import scattered_by_modes, scattered_by_waves
from prammol.diffraction.structure_factor import StructureFactor, squared
from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.quasi_likelihood import extra_photons
from prammol.potentials.lammps import Cluster
from prammol.potentials.vibrations import force_constants, soft_modes
from prammol.reconstruction.problem import Problem

Floats = NDArray[np.float64]

_MODES = 100  # chosen: 800 atoms at 100 K; 40 explain as much
_ACCURACY = 1e-4  # derived: far below what the model lacks, 10 %
_STEPS = 30  # chosen: Fisher scoring is done after five to fifteen; not varied
_HALVINGS = 8  # chosen: not varied
_DONE = 1e-2  # derived: decrease of the misfit, far below the noise of a parameter, 0.5
_CHANCE = 5.7e-7  # derived: five standard deviations, two-sided
_CLEAR = 3.0  # derived: standard deviations of noise
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
    InputError
        If a patch is curved.
    SimulationError
        If the atoms are far from a minimum.
    """
    data, comm = problem.data, problem.comm
    if any(isinstance(p, CurvedPatch) for p in data.patches):
        msg = f"{data.source}: diffuse scattering needs patches on even grids, these are curved"
        raise InputError(msg)
    patches = list(data.patches)
    if problem.calibration is not None:
        patches = [problem.calibration.patch(p, k) for k, p in enumerate(patches)]
    # Of its own: what LAMMPS computed before changes the last bits of what it computes next.
    cluster = Cluster(problem.potential, comm)
    try:
        modes, around = soft_modes(cluster, x, _MODES), force_constants(cluster, x)
    finally:
        cluster.close()
    mine = slice(comm.rank, None, comm.size)
    factor = StructureFactor(patches, _ACCURACY)
    soft = scattered_by_modes(factor, x, modes.stiffness[mine], modes.vectors[mine])
    stiff = []
    cell = problem.potential.atomic_volume
    for k, patch in enumerate(patches):
        if k % comm.size == comm.rank:
            at_rest = squared(StructureFactor([patch], _ACCURACY).forward(x))
            softest = float(modes.stiffness[-1])
            stiff.append(scattered_by_waves(patch, at_rest, cell, around.curvature, softest))
        else:
            stiff.append(np.zeros(patch.size))
    gain = _gain(data)
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
    omega : (m,) complex ndarray
        Structure factor of the object at rest on this rank's points.
    columns : sequence of ndarray
        On all points of all patches, see :func:`diffuse_columns`.
    """

    def __init__(
        self, problem: Problem, omega: NDArray[np.complex128], columns: Sequence[Floats]
    ) -> None:
        here, self._comm = problem.shard, problem.comm
        self._counts, self._valid = here.counts, here.valid.astype(float)
        self._known = here.background_at(slice(None))
        self._extra = extra_photons(here)
        self._square = np.sum(problem.factor.q**2, axis=1)
        rows = [squared(omega), *(c[here.global_index] for c in columns)]
        sums = np.array([self._valid @ r for r in (here.signal, *rows)])
        photons, *each = self._comm.allreduce(sums)
        # In units of the photons, so that all coefficients are of a size.
        self._unit = photons / np.maximum(each, 1e-300)
        self._rows = np.array(rows) * self._unit[:, None]

    def fitted(self, columns: bool = True) -> DiffuseModel:
        """Return the best u, C and factors, none of them negative; only u and C if so asked."""
        rows = self._rows if columns else self._rows[:1]
        at = np.zeros(1 + len(rows))
        at[1] = 1.0
        value, expected, slopes = self._at(at, rows)
        for _ in range(_STEPS):
            inverse = self._valid / (expected + self._extra)
            pull = self._valid - inverse * (self._counts + self._extra)
            system = self._comm.allreduce((slopes * inverse) @ slopes.T)
            slope = self._comm.allreduce(slopes @ pull)
            free = (at > 0) | (slope < 0)
            step = np.zeros(len(at))
            step[free] = -np.linalg.lstsq(system[np.ix_(free, free)], slope[free], rcond=None)[0]
            for halving in range(_HALVINGS):
                tried = np.maximum(at + step / 2**halving, 0.0)
                new, there, by = self._at(tried, rows)
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
        rows = self._rows[: 1 + len(model.factors)]
        at = np.array([model.square, *model.factors]) / self._unit[: len(rows)]
        _, expected, _ = self._at(np.array([model.displacement, *at]), rows)
        mean, variance = noise_level(expected, self._extra)
        share = deviance(self._counts, expected, self._extra)
        sums = np.array([self._valid @ (share - mean), self._valid @ variance])
        over, square = self._comm.allreduce(sums)
        return max(0.0, float(over) - _CLEAR * float(np.sqrt(max(square, 0.0))))

    def _at(self, at: Floats, rows: Floats) -> tuple[float, Floats, Floats]:
        """Return misfit, photons expected, and their derivatives, (1 + rows, m)."""
        slopes = np.empty((1 + len(rows), rows.shape[1]))
        np.multiply(rows, np.exp(-at[0] * self._square), out=slopes[1:])
        crystal = at[1:] @ slopes[1:]
        slopes[0] = -self._square * crystal
        expected = crystal + self._known
        share = deviance(self._counts, expected, self._extra)
        return self._comm.sum(float(self._valid @ share)), expected, slopes


def with_diffuse_scattering(problem: Problem, x: Floats) -> Diffraction | None:
    """Return the data with the diffuse scattering of atoms declared; None if the counts don't ask.

    Called together by all ranks. A second reconstruction from these data doesn't take the
    photons of vibrations for atoms. The factor exp(-q^2 u) is part of their gain.

    Parameters
    ----------
    problem : Problem
        As :func:`prammol.reconstruction.loop.make_problem` makes it.
    x : (n, 3) ndarray
        Atoms near a minimum of the energy [Å].
    """
    data = problem.data
    omega = problem.factor.forward(x)
    square = np.concatenate([np.sum(p.q() ** 2, axis=1) for p in data.patches])
    gain = _gain(data)
    # Cheap columns first: what independent atoms would scatter.
    rough = DiffuseFit(problem, omega, [len(x) * square * gain])
    before, after = rough.fitted(columns=False), rough.fitted()
    if before.value - after.value < _HINT * rough.beyond_noise(before):
        return None
    columns = diffuse_columns(problem, x)
    fit = DiffuseFit(problem, omega, columns)
    found = fit.fitted()
    if not fit.insists(before, found):
        return None
    damping = np.exp(-found.displacement * square)
    known = np.concatenate([b.ravel() for b in data.background]) if data.background else 0.0
    photons = known + damping * (found.factors @ np.array(columns))

    def cut(values: Floats) -> list[Floats]:
        parts = np.split(values, np.cumsum([p.size for p in data.patches])[:-1])
        return [v.reshape(p.shape) for v, p in zip(parts, data.patches, strict=True)]

    return replace(data, background=cut(photons), gain=cut(damping * gain))


def _gain(data: Diffraction) -> Floats:
    """Return the gain of all points, (points,), 1 where they are masked."""
    if not data.gain:
        return np.ones(sum(p.size for p in data.patches))
    pairs = zip(data.gain, data.valid, strict=True)
    return np.concatenate([np.where(v, g, 1.0).ravel() for g, v in pairs])
