"""A background that nobody declared, fitted beside what the object scatters.

Expected are

    lambda = C^2 abs(Omega)^2 + b + sum_m a_m d_m + sum_j c_kj B_j,

with the declared background b, components d_m that are known but for a factor common to all
patches, and on each patch k products B_j of three B-splines along the axes of its grid: one
constant, or smooth functions. No coefficient is negative. The misfit is convex in them; Fisher
scoring on those that aren't at 0 finds its minimum. Their number grows only while held-out blocks
of points agree, and while what is added explains most of the misfit beyond noise: wrong atoms
scatter into dark points, too, but spoil the bright ones as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.special import chdtri

from prammol.diffraction.bragg_patch import shard
from prammol.diffraction.calibration import Calibration
from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.extra_photons import extra_photons
from prammol.likelihood.holdout_blocks import hold_out_blocks
from prammol.likelihood.point_blocks import blocks
from prammol.phasing.dark_level import dark_level
from prammol.reconstruction.problem import Problem

Floats = NDArray[np.float64]
Weights = Floats | NDArray[np.bool_]

_DEGREE = 2  # chosen: smooth, few functions; not varied
_SMOOTH = (4, 6)  # chosen: functions along each axis, up to humps of a quarter; 3 and 5 for speed
_HELD_OUT = 0.25  # chosen: part of the blocks; not varied
_CHANCE = 5.7e-7  # derived: five standard deviations, two-sided
_CLEAR = 3.0  # derived: standard deviations of noise
# chosen: 300 and 4679 atoms, 1e17 to 1e20; 0.67 of atoms 0.5 Å off, 0.76 and 0.95 of backgrounds
# with 60 atoms missing
_MOST = 0.8  # of the misfit beyond noise
# chosen: 4679 atoms, 1e17 to 1e20; of the misfit of ideal counts and wrong atoms up to 0.05
_WORTHWHILE = 0.1  # of the misfit beyond noise by constants, to try more
# chosen: speed; what isn't seen then, is 0.3 standard deviations of the misfit of 375 000 points
_EVERY = 8  # point is enough to see whether constants explain anything
_STEPS = 20  # chosen: Fisher scoring is done after three to ten; not varied
_HALVINGS = 6  # chosen: not varied
_DONE = 1e-2  # derived: promised decrease of the misfit, far below the noise of a parameter, 0.5
_RIDGE = 1e-9  # derived: rounding, relative


@dataclass(frozen=True, eq=False)
class Component:
    """Counts that are known but for a factor, the same for all patches.

    Attributes
    ----------
    name : str
    photons : tuple of ndarray
        Photons at each point, at least 0, one array with the patch's shape per patch.
    """

    name: str
    photons: tuple[Floats, ...]


def dark_background(problem: Problem) -> Calibration | None:
    """Return the flat backgrounds that the darkest points insist on; None if they don't.

    Without a model. Where a background that varies is declared there is nothing to compare with.
    Neither is there where the detector blurs: it fills the zeros of the intensity.
    """
    data, levels = problem.measured, []
    if data.response is not None:
        return None
    for k, (counts, valid) in enumerate(zip(data.counts, data.valid, strict=True)):
        known = data.background[k][valid] if data.background else np.zeros(1)
        varies = np.ptp(known) > 0 if known.size else True
        levels.append(0.0 if varies else dark_level(counts[valid], float(known[0])))
    if not any(levels):
        return None
    arrays = tuple(np.full(p.shape, b) for p, b in zip(data.patches, levels, strict=True))
    nominal = problem.calibration or Calibration.nominal(len(data.patches))
    return replace(nominal, background=arrays, terms={"flat": np.array(levels)})


def fitted_background(
    problem: Problem, x: Floats, components: Sequence[Component] = ()
) -> Calibration | None:
    """Return the calibration with the background that the counts want beside an object.

    Called together by all ranks. The one of the problem, the same object, if that has none and
    none is wanted.

    Parameters
    ----------
    problem : Problem
        On all points of the patches, with its calibration.
    x : (n, 3) ndarray
        Atoms [Å].
    components : sequence of Component
        What else may be there.
    """
    power = problem.shard.detected(problem.factor.forward(x))
    had, size = problem.calibration, float(np.ptp(x, axis=0).max())
    if not components and not BackgroundFit(problem, power, every=_EVERY).promising():
        return _without_model(problem)
    fit = BackgroundFit(problem, power, components)
    best = fit.chosen(size)
    if best.functions < 0:
        return _without_model(problem)
    background = fit.arrays(best)
    nominal = had or Calibration.nominal(len(problem.data.patches))
    return replace(nominal, background=background, terms=fit.terms(best, background))


def _without_model(problem: Problem) -> Calibration | None:
    """Return the calibration with what the darkest points insist on, if it has any background."""
    had = problem.calibration
    if had is None or not had.background:
        return had
    dark = dark_background(problem)
    if dark is not None:
        return dark
    plain = replace(had, background=(), terms={})
    return None if plain.is_nominal else plain


@dataclass(frozen=True, eq=False)
class Fitted:
    """Coefficients of a background, and what they cost.

    Attributes
    ----------
    functions : int
        B-splines along each axis; 0 for components alone, -1 for no background at all.
    coefficients : (1 + components + patches functions^3,) ndarray
        C^2 over that of the start, factors of the components, coefficients of each patch [photons].
    value : float
        Misfit.
    expected : (m,) ndarray
        Photons on this rank's points.
    """

    functions: int
    coefficients: Floats
    value: float
    expected: Floats


class BackgroundFit:
    """The counts, what an object scatters, and what may be there besides.

    Parameters
    ----------
    problem : Problem
        On all points of the patches.
    power : (m,) ndarray
        What the detector sees of abs(Omega)^2 on this rank's points, times their gain.
    components : sequence of Component
    every : int
        Only every so many-th point; without smooth functions then.
    """

    def __init__(
        self,
        problem: Problem,
        power: Floats,
        components: Sequence[Component] = (),
        every: int = 1,
    ) -> None:
        self.problem, self.components = problem, components
        here, self.comm = problem.shard, problem.comm
        self._slabs = shard(problem.data.patches, problem.comm)
        ends = np.cumsum([0, *(p.size for p in here.patches)])
        self._parts = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        taken = slice(None) if every == 1 else here.global_index % every == 0
        self._index = here.patch_index[taken]
        self._counts, self._noise = here.counts[taken], here.valid[taken]
        self._valid = self._noise if here.trust is None else self._noise * here.trust[taken]
        declared = problem.measured.background
        known = np.where(here.valid, self._local(declared), 0.0) if declared else None
        self._known = np.zeros(1) if known is None else known[taken]
        self._extra = extra_photons(replace(here, background=known))
        square = power[taken] * self._valid
        signal = float(self._valid @ np.maximum(self._counts - self._known, 0.0))
        photons, whole = self.comm.allreduce(np.array([signal, square.sum()]))
        # In units of the photons, so that all coefficients are of a size.
        rows = [square * (photons / max(whole, 1e-300))]
        rows += [self._local(c.photons)[taken] * self._valid for c in components]
        self._common = rows[0][None] if len(rows) == 1 else np.array(rows)

    def _local(self, arrays: Sequence[Floats]) -> Floats:
        """Return this rank's points of whole patches, (m,)."""
        parts = [np.asarray(arrays[s.patch_index])[s.start : s.stop].ravel() for s in self._slabs]
        return np.concatenate([np.empty(0), *parts])

    def promising(self) -> bool:
        """Tell whether constants explain enough to look closer."""
        plain = self.fitted(-1)
        flat = self.fitted(1, start=plain)
        gain = plain.value - flat.value
        least = _least(len(flat.coefficients) - 1)
        return gain > least and gain > _WORTHWHILE * self.beyond_noise(plain)

    def chosen(self, size: float) -> Fitted:
        """Return the background that the counts insist on for an object of a size [Å], or none."""
        best = self.fitted(-1)
        kinds = [0, 1] if self.components else [1]
        for functions in (*kinds, *_SMOOTH):
            more = self.fitted(functions, start=best)
            over = self.beyond_noise(best)
            gain = best.value - more.value
            least = _least(len(more.coefficients) - len(best.coefficients))
            if gain > max(least, _MOST * over) and self._confirmed(best, more, size):
                best = more
            elif functions >= 1 and gain < max(least, _WORTHWHILE * over):
                break
        return best

    def fitted(
        self, functions: int, weight: Floats | None = None, start: Fitted | None = None
    ) -> Fitted:
        """Return the best coefficients for so many B-splines along each axis.

        Parameters
        ----------
        functions : int
            See :class:`Fitted`.
        weight : (m,) ndarray, optional
            Weights of this rank's points besides the mask, 0 or 1.
        start : Fitted, optional
            From where to start; from its C if it has other functions.
        """
        u = self._valid if weight is None else self._valid * weight
        common = len(self._common) if functions >= 0 else 1
        size = common + len(self.problem.data.patches) * max(functions, 0) ** 3
        at = np.zeros(size)
        at[0] = start.coefficients[0] if start else 1.0
        if start and start.functions == functions:
            at = start.coefficients
        value, expected = self._value(at, functions, u)
        for _ in range(_STEPS):
            system, slope = self._system(expected, functions, u, size)
            free = (at > 0) | (slope < 0)
            part = system[np.ix_(free, free)]
            ridge = _RIDGE * np.trace(part) / len(part) * np.eye(len(part))
            step = np.zeros(size)
            step[free] = -np.linalg.solve(part + ridge, slope[free])
            for halving in range(_HALVINGS):
                tried = np.maximum(at + step / 2**halving, 0.0)
                new, there = self._value(tried, functions, u)
                if new < value:
                    break
            else:
                break
            gained, at, value, expected = value - new, tried, new, there
            if gained < _DONE:
                break
        return Fitted(functions, at, value, expected)

    def beyond_noise(self, fitted: Fitted) -> float:
        """Return what of a misfit is beyond three standard deviations of noise, at least 0."""
        sums = np.zeros(2)
        for part in blocks(len(self._counts)):
            mean, variance = noise_level(fitted.expected[part], self._extra)
            share = deviance(self._counts[part], fitted.expected[part], self._extra)
            valid, noise = self._valid[part], self._noise[part]
            sums += [valid @ share - noise @ mean, noise @ variance]
        over, square = self.comm.allreduce(sums)
        return max(0.0, float(over) - _CLEAR * float(np.sqrt(max(square, 0.0))))

    def arrays(self, fitted: Fitted) -> tuple[Floats, ...]:
        """Return the background of whole patches."""
        out = []
        common = len(self._common)
        for k, patch in enumerate(self.problem.data.patches):
            total = self._sum(fitted.coefficients, fitted.functions, k, slice(None))
            for a, c in zip(fitted.coefficients[1:common], self.components, strict=True):
                total = total + a * c.photons[k]
            out.append(np.ascontiguousarray(np.broadcast_to(total, patch.shape)))
        return tuple(out)

    def terms(self, fitted: Fitted, arrays: Sequence[Floats]) -> dict[str, Floats]:
        """Return the photons of each term in a mean point of each patch, (patches,)."""
        out: dict[str, Floats] = {}
        rest = np.array([a.mean() for a in arrays])
        common = len(self._common)
        for a, c in zip(fitted.coefficients[1:common], self.components, strict=True):
            out[c.name] = np.array([a * p.mean() for p in c.photons])
            rest = rest - out[c.name]
        if fitted.functions > 0:
            out["flat" if fitted.functions == 1 else "smooth"] = np.maximum(rest, 0.0)
        return out

    def _confirmed(self, less: Fitted, more: Fitted, size: float) -> bool:
        """Tell whether held-out blocks of points prefer the second, too."""
        own = self.problem
        held = hold_out_blocks(own.data, own.shard, size, _HELD_OUT, own.rng("background", 0))
        ends = [
            self.fitted(f.functions, held.fitted, f).expected + self._extra for f in (less, more)
        ]
        shares = [deviance(self._counts, e - self._extra, self._extra) for e in ends]
        u = self._valid * held.rest
        ratio = np.log(ends[1] / ends[0])
        sums = np.array([u @ (shares[0] - shares[1]), u @ (ends[1] * ratio**2)])
        gain, variance = self.comm.allreduce(sums)
        return bool(gain > _CLEAR * np.sqrt(max(variance, 0.0)))

    def _splines(self, functions: int, points: int) -> Floats:
        """Return B-splines along an axis, (points, functions)."""
        inner = np.linspace(0.0, 1.0, functions - _DEGREE + 1)
        knots = np.concatenate([np.zeros(_DEGREE), inner, np.ones(_DEGREE)])
        at = np.linspace(0.0, 1.0, points)
        return np.asarray(BSpline.design_matrix(at, knots, _DEGREE).toarray())

    def _axes(self, functions: int, k: int, planes: slice) -> list[Floats]:
        axes = [self._splines(functions, n) for n in self.problem.data.patches[k].shape]
        return [axes[0][planes], *axes[1:]]

    def _sum(self, at: Floats, functions: int, k: int, planes: slice) -> Floats:
        """Return the sum of the B-splines on some planes of a patch; one value where it is flat."""
        if functions < 1:
            return np.zeros((1, 1, 1))
        cube = at[self._place(functions, k)].reshape((functions,) * 3)
        if functions == 1:
            return cube
        for axis in self._axes(functions, k, planes):
            cube = np.tensordot(cube, axis, axes=(0, 1))
        return np.asarray(cube)

    def _place(self, functions: int, k: int) -> slice:
        """Return where the coefficients of a patch are."""
        first = len(self._common) + k * functions**3
        return slice(first, first + functions**3)

    def _value(self, at: Floats, functions: int, u: Weights) -> tuple[float, Floats]:
        common = len(self._common) if functions >= 0 else 1
        expected = self._known + at[:common] @ self._common[:common]
        if functions == 1:
            expected += at[len(self._common) :][self._index]
        elif functions > 1:
            for s, part in zip(self._slabs, self._parts, strict=True):
                planes = slice(s.start, s.stop)
                expected[part] += self._sum(at, functions, s.patch_index, planes).ravel()
        value = 0.0
        for part in blocks(len(expected)):
            value += float(u[part] @ deviance(self._counts[part], expected[part], self._extra))
        return self.comm.sum(value), expected

    def _system(
        self, expected: Floats, functions: int, u: Weights, size: int
    ) -> tuple[Floats, Floats]:
        """Return Fisher matrix, (size, size), and slope, (size,), of the misfit."""
        system, slope = np.zeros((size, size)), np.zeros(size)
        common = len(self._common) if functions >= 0 else 1
        inverse: Floats = u / (expected + self._extra)
        pull = u - inverse * (self._counts + self._extra)
        rows = self._common[:common]
        slope[:common] = rows @ pull
        system[:common, :common] = (rows * inverse) @ rows.T
        if functions == 1:
            place = slice(common, size)
            of = [np.bincount(self._index, v, size - common) for v in (pull, *(rows * inverse))]
            slope[place], system[:common, place] = of[0], of[1:]
            system[place, :common] = system[:common, place].T
            system[place, place] = np.diag(np.bincount(self._index, inverse, size - common))
        elif functions > 1:
            for s, part in zip(self._slabs, self._parts, strict=True):
                k = s.patch_index
                axes = self._axes(functions, k, slice(s.start, s.stop))
                shape = tuple(len(a) for a in axes)
                place = self._place(functions, k)
                slope[place] += _contracted(pull[part].reshape(shape), axes)
                for m, row in enumerate(rows):
                    cross = _contracted((row[part] * inverse[part]).reshape(shape), axes)
                    system[m, place] += cross
                    system[place, m] += cross
                pairs = [np.einsum("ia,ib->iab", a, a).reshape(len(a), -1) for a in axes]
                block = _contracted(inverse[part].reshape(shape), pairs).reshape((functions,) * 6)
                number = functions**3
                system[place, place] += block.transpose(0, 2, 4, 1, 3, 5).reshape(number, number)
        return self.comm.allreduce(system), self.comm.allreduce(slope)


def _contracted(values: Floats, axes: Sequence[Floats]) -> Floats:
    """Return sums of values times products of functions along the three axes, one row."""
    for axis in reversed(axes):
        # The last axis becomes the first; after three they are in order again.
        values = np.tensordot(axis, values, axes=(0, values.ndim - 1))
    return np.asarray(values).ravel()


def _least(parameters: int) -> float:
    """Return what as many parameters gain by chance at most."""
    return 0.5 * float(chdtri(parameters, _CHANCE))
