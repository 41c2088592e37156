"""Scales and geometry of the patches, fitted together with orientation and even strain.

An offset d_k of the scattering vectors of a patch, a rotation t_k of them and its scale change
abs(Omega)^2 by

    2 sum_a d_a m_a,  2 sum_a (t x q)_a m_a,  2 abs(Omega)^2 dln(C_k),  m_a = Im(conj(Omega) M_a),

with the moments M_a of :mod:`prammol.reconstruction.refinement.rotation_strain`: no transform more
than for a rotation of the crystal. Offsets and rotations have Gaussian priors. A strained crystal
imitates offsets; the content of a patch turns with the crystal but not with an offset, so that
wide patches tell them apart. Where the geometry is uncertain the even strain is therefore always
fitted, with a prior as wide as a potential's lattice may be off: a threshold would let offsets
take it, and leave the atoms outside of their error bars. Thermal expansion is known where the
temperature is, and isn't left to that competition. Where it is known strain is taken only if
the counts insist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm
from scipy.special import chdtri

from prammol.diffraction.calibration import (
    Calibration,
    as_vector,
    of_vector,
    prior_precision,
)
from prammol.diffraction.structure_factor import squared
from prammol.likelihood.linear_maps import map_derivatives, moments_of
from prammol.likelihood.point_blocks import Derivatives, at_points
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.background_fit import Component, fitted_background
from prammol.reconstruction.refinement.blur_fit import fitted_blur
from prammol.reconstruction.refinement.rotation_strain import (
    LINEAR_MAPS,
    ROTATIONS,
    align_strained,
    even_map,
    is_plausible,
    least_gain_of_strain,
    strain_of,
)

_STEPS = 8  # chosen: Gauss-Newton is done after two to four; not varied
_HALVINGS = 4  # chosen: as for a rotation alone; not varied
# derived: far below the noise of a parameter, 0.5
_DONE = 1e-3  # promised decrease of the misfit
# derived: five standard deviations, two-sided
_CHANCE = 5.7e-7
_WORTHWHILE = 0.05  # chosen: of the misfit beyond noise, as for strain; not varied
# chosen: thermal expansion of aluminium to 300 K is 0.4 %, potentials are off by 0.3 %; not varied
_STRAIN = 0.005  # standard deviation of the even strain, which may compete with offsets
_TURNS = 3  # chosen: background and pose hardly compete, two are enough; not varied
_SETTLED = 0.5  # derived: noise of a parameter


@dataclass(frozen=True)
class Aligned:
    """An object laid on the counts, and the calibration of the patches that goes with it.

    Attributes
    ----------
    problem : Problem
        With that calibration.
    positions : (n, 3) ndarray
        Atoms [Å].
    calibration : Calibration or None
        None where the counts don't contradict that of the file.
    value : float
        Misfit.
    """

    problem: Problem
    positions: NDArray[np.float64]
    calibration: Calibration | None
    value: float


def align_calibrated(
    problem: Problem,
    x: NDArray[np.float64],
    data: NDArray[np.float64],
    components: Sequence[Component] = (),
) -> Aligned:
    """Turn, and where the counts insist strain, an object; fit the calibration of the patches.

    Parameters
    ----------
    problem : Problem
        With the calibration to start from.
    x : (n, 3) ndarray
        Positions at a minimum of the energy [Å].
    data : (n, 3) ndarray
        Where the data had put the same atoms before [Å].
    components : sequence of Component
        What may be there besides the object and a background.
    """
    laid = _laid(problem, x, data)
    for _ in range(_TURNS):
        seen = laid.problem.calibrated(fitted_blur(laid.problem, laid.positions))
        calibration = fitted_background(seen, laid.positions, components)
        if calibration is laid.problem.calibration:
            break
        before = laid.value
        laid = _laid(laid.problem.calibrated(calibration), x, data)
        if abs(before - laid.value) < _SETTLED:
            break
    return laid


def _laid(problem: Problem, x: NDArray[np.float64], data: NDArray[np.float64]) -> Aligned:
    """Return the object laid on the counts; the background is the problem's."""
    if problem.data.geometry.known:
        y, value = align_strained(PoissonMisfit(problem.shard, problem.factor), x, data)
        pose = CalibratedPose(problem, y)
        if not pose.scales_differ():
            kept = had = problem.calibration
            if had is not None and not had.has_nominal_patches:
                kept = had.with_patches_of(Calibration.nominal(pose.patches))
            if kept is not None and kept.is_nominal:
                kept = None
            if had is not None and not had.has_nominal_patches:
                problem = problem.calibrated(kept)
                y, value = align_strained(PoissonMisfit(problem.shard, problem.factor), x, data)
            return Aligned(problem, y, kept, value)
    else:
        centre = x.mean(axis=0)
        x = centre + (1.0 + problem.expansion) * (x - centre)
        pose = CalibratedPose(problem, x)
    turned = fitted(pose, ROTATIONS)
    if problem.expansion and turned.problem.calibration is not None:
        turned = min(turned, _without_offsets(turned), key=lambda p: p.objective)
    strained = turned
    even = even_map(x, data)
    if even is not None:
        over = turned.beyond_noise
        known = problem.data.geometry.known
        least = least_gain_of_strain(over) if known else _WORTHWHILE * over
        start = turned
        if is_plausible(even):
            arm = x - x.mean(axis=0)
            moved = x.mean(axis=0) + arm @ even
            other = CalibratedPose(turned.problem, moved, strain=even.T)
            start = min(turned, other, key=lambda p: p.objective)
        strained = fitted(start, LINEAR_MAPS)
        if strained.objective > turned.objective - least:
            strained = turned
    return Aligned(strained.problem, strained.x, strained.problem.calibration, strained.value)


def _without_offsets(pose: CalibratedPose) -> CalibratedPose:
    """Return a pose fitted from nominal patches.

    Offsets imitate an expansion that wasn't known; the way back leads over a hill.
    """
    calibration = pose.problem.calibration
    assert calibration is not None
    nominal = calibration.with_patches_of(Calibration.nominal(pose.patches))
    return fitted(CalibratedPose(pose.problem.calibrated(nominal), pose.x), ROTATIONS)


class CalibratedPose:
    """An object and a calibration: what they cost, and how that changes.

    Parameters
    ----------
    problem : Problem
        With the calibration.
    x : (n, 3) ndarray
        Positions [Å].
    misfit : PoissonMisfit, optional
        Another one on the same points, such as one whose weights allow for a wrong model.
    strain : (3, 3) ndarray, optional
        Linear map that has led to `x` from positions at the minimum of the energy; the identity
        if not given.

    Attributes
    ----------
    value : float
        Misfit.
    objective : float
        Misfit less the logarithm of the priors of the calibration and, where the geometry is
        uncertain, of the strain.
    """

    def __init__(
        self,
        problem: Problem,
        x: NDArray[np.float64],
        misfit: PoissonMisfit | None = None,
        strain: NDArray[np.float64] | None = None,
    ) -> None:
        self.problem, self.x = problem, x
        self._map = np.eye(3) if strain is None else strain
        self._misfit = misfit or PoissonMisfit(problem.shard, problem.factor)
        self._omega = problem.factor.forward(x)
        self._whole = problem.shard.whole(self._omega)
        self.value, self.scale = self._misfit.value(self._omega)
        self.patches = len(problem.data.patches)
        nominal = Calibration.nominal(self.patches)
        self.parameters = as_vector(problem.calibration or nominal)
        self._precision = prior_precision(problem.data.geometry, self.patches)
        held = np.isfinite(self._precision)
        penalty = self._precision[held] @ self.parameters[held] ** 2
        self._of_strain = 0.0 if problem.data.geometry.known else 1.0 / _STRAIN**2
        penalty += self._of_strain * np.sum(self._strain**2)
        self.objective = self.value + 0.5 * float(penalty)

    @cached_property
    def _strain(self) -> NDArray[np.float64]:
        """What the map does besides turning, (3, 3)."""
        return strain_of(self._map)

    @property
    def beyond_noise(self) -> float:
        """Part of the misfit that noise doesn't explain."""
        return self._misfit.beyond_noise(self._omega, self.scale)

    @cached_property
    def _moments(self) -> NDArray[np.float32]:
        return moments_of(self.x, self._whole, self.problem.factor)

    def free(self) -> NDArray[np.intp]:
        """Return which parameters of the calibration may change.

        All that have an uncertainty; scales only where one common scale is contradicted.
        """
        may = np.isfinite(self._precision)
        may[: self.patches] = self.scales_differ()
        may[0] = False  # C itself
        return np.flatnonzero(may)

    @cached_property
    def _system_of_scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.system(None)

    def scales_differ(self) -> bool:
        """Tell whether the counts contradict one common scale beyond noise.

        And beyond what a wrong object does: its patches differ in scale, too, but that explains
        hardly anything of its misfit.
        """
        if self.patches < 2:
            return False
        if (self.parameters[: self.patches] != 0).any():
            # From where they are: would going back to one scale cost as much?
            plain = of_vector(
                np.concatenate([np.zeros(self.patches), self.parameters[self.patches :]])
            )
            other = CalibratedPose(self.problem.calibrated(self._with_patches_of(plain)), self.x)
            return other.value - self.value > self._least_of_scales
        system, slope = self._system_of_scales
        keep = [*range(1, self.patches), len(slope) - 1]
        step = np.linalg.lstsq(system[np.ix_(keep, keep)], -slope[keep], rcond=None)[0]
        alone = slope[-1] ** 2 / max(system[-1, -1], 1e-300)  # what C alone would gain
        return -0.5 * float(step @ slope[keep]) - 0.5 * alone > self._least_of_scales

    @cached_property
    def _least_of_scales(self) -> float:
        least = 0.5 * float(chdtri(self.patches - 1, _CHANCE))
        return max(least, _WORTHWHILE * self.beyond_noise)

    def system(
        self, generators: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Hessian and slope of J by calibration, maps of the object, and C, in this order.

        Parameters
        ----------
        generators : (g, 3, 3) ndarray or None
            Maps x -> x + sum_a c_a g_a (x - centre). None: there is nothing but scales of patches,
            which need no transform.
        """
        n, g = self.patches, 0 if generators is None else len(generators)
        size = 7 * n + g + 1
        system, right = np.zeros((size, size)), np.zeros(size)
        index = self.problem.shard.patch_index
        response = self.problem.shard.response
        power = self.problem.shard.detected(self._omega)
        own: Derivatives = self._of_scale
        if generators is not None:
            own = partial(self._derivatives, generators)
        if response is not None:
            own = at_points(response.apply(own(slice(None))))
        for k in range(n):
            first, stop = np.searchsorted(index, [k, k + 1])
            if first == stop:
                continue
            part = slice(int(first), int(stop))
            a, b = self._misfit.normal_equations(power, self.scale, own, part)
            geometry = [n + 3 * k + np.arange(3), 4 * n + 3 * k + np.arange(3)]
            place = np.concatenate(
                [[k], *(geometry if generators is not None else ()), 7 * n + np.arange(g + 1)]
            )
            system[np.ix_(place, place)] += a
            right[place] += b
        comm = self.problem.comm
        return comm.allreduce(system), comm.allreduce(right)

    def _derivatives(self, generators: NDArray[np.float64], part: slice) -> NDArray[np.float64]:
        """Return those of abs(Omega)^2 by scale, offset and rotation of a patch, and by maps."""
        m, here = self._moments[:, part], self.problem.factor.q_of(part)
        turns = np.cross(here.T, m, axis=0)  # (t x q).m = t.(q x m)
        maps = map_derivatives(here, m, generators)
        return np.vstack([self._of_scale(part), 2.0 * m, 2.0 * turns, maps])

    def _of_scale(self, part: slice) -> NDArray[np.float64]:
        """Return the derivative of abs(Omega)^2 by the scale of a patch, (1, p)."""
        return np.asarray(2.0 * squared(self._whole[part])[None])

    def step(self, generators: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Return the Gauss-Newton step of calibration and maps, and the decrease it promises."""
        system, slope = self.system(generators)
        self._add_priors(system, generators)
        own = np.arange(7 * self.patches)
        slope[own] += np.where(np.isfinite(self._precision), self._precision, 0.0) * self.parameters
        maps = slice(len(own), len(own) + len(generators))
        slope[maps] += self._of_strain * np.einsum("aij,ij->a", generators, self._strain)
        keep = np.concatenate([self.free(), np.arange(7 * self.patches, len(slope))])
        change = np.zeros(len(slope))
        change[keep] = np.linalg.lstsq(system[np.ix_(keep, keep)], -slope[keep], rcond=None)[0]
        return change[:-1], -0.5 * float(change @ slope)

    def moved(self, change: NDArray[np.float64], generators: NDArray[np.float64]) -> CalibratedPose:
        """Return the pose after a step."""
        own = 7 * self.patches
        calibration = self._with_patches_of(of_vector(self.parameters + change[:own]))
        turn = expm(np.tensordot(change[own:], generators, axes=1))
        centre = self.x.mean(axis=0)
        y = centre + (self.x - centre) @ turn.T
        return CalibratedPose(
            self.problem.calibrated(calibration), y, strain=np.asarray(turn @ self._map)
        )

    def _with_patches_of(self, calibration: Calibration) -> Calibration:
        """Return a calibration with the background and blur of this one."""
        had = self.problem.calibration
        return calibration if had is None else had.with_patches_of(calibration)

    def _add_priors(self, system: NDArray[np.float64], generators: NDArray[np.float64]) -> None:
        """Add what the priors of calibration and strain are to a Hessian."""
        own = np.arange(7 * self.patches)
        system[own, own] += np.where(np.isfinite(self._precision), self._precision, 0.0)
        even = 0.5 * (generators + generators.transpose(0, 2, 1)).reshape(len(generators), 9)
        maps = slice(len(own), len(own) + len(generators))
        system[maps, maps] += self._of_strain * even @ even.T

    def covariance(self, generators: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance of free calibration parameters and maps, C unknown."""
        system, _ = self.system(generators)
        self._add_priors(system, generators)
        keep = np.concatenate([self.free(), np.arange(7 * self.patches, len(system))])
        return np.asarray(np.linalg.pinv(system[np.ix_(keep, keep)], hermitian=True)[:-1, :-1])


def fitted(pose: CalibratedPose, generators: NDArray[np.float64]) -> CalibratedPose:
    """Fit the free calibration and maps of the object by Gauss-Newton, with priors.

    Parameters
    ----------
    pose : CalibratedPose
        Where to start.
    generators : (g, 3, 3) ndarray
        See :meth:`CalibratedPose.system`.
    """
    for _ in range(_STEPS):
        change, gain = pose.step(generators)
        if gain < _DONE:
            break
        for halving in range(_HALVINGS):
            moved = pose.moved(change / 2**halving, generators)
            if moved.objective < pose.objective:
                break
        else:
            break
        pose = moved
    return pose
