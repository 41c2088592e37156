"""Effects of an experiment as changes of the expected counts, and what each would explain.

An effect that the model lacks changes the expected counts by a few columns,

    lambda' = lambda + sum_k a_k d_k,

such as d = lambda_signal on one patch for its scale. With C free, and for the geometry of patches
also the even maps of the object, which imitate it, the a_k that lower the misfit most are found by
Gauss-Newton steps. The first promises 0.5 g' H^-1 g, the score test's decrement; the others make
it right where the effect is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rank_filter

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.debye_waller import thermal_structure_factor
from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.extra_photons import extra_photons
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem, first_points

Floats = NDArray[np.float64]

_STEPS = 12  # chosen: time; the fits of the tests end after 3 to 8
_HALVINGS = 5  # chosen: not varied
_DONE = 1e-4  # derived: of the misfit beyond noise, far below the per cent that is printed
_OUTSTANDING = 8.0  # derived: standard deviations, more than noise gives in any number of points
_ALONE = 4.0  # chosen: times the second largest deviation beside it; not varied
_DARKEST = 1e-3  # derived: of lambda, which no effect makes negative


@dataclass(frozen=True)
class Columns:
    """Changes of the expected counts on a part of this rank's points.

    Attributes
    ----------
    part : slice
        Of this rank's points.
    place : list of int
        Numbers of the parameters.
    values : (k, p) ndarray
        Derivatives of lambda by them [photons].
    """

    part: slice
    place: list[int]
    values: Floats


class Unexplained:
    """What a model doesn't explain, and what changes of the expected counts would.

    Parameters
    ----------
    problem : Problem
        With the calibration of the model.
    model : Model

    Attributes
    ----------
    over : float
        By how much the misfit exceeds its mean under noise.
    sigma : float
        Standard deviation of the misfit under noise.
    parts : list of (int, slice)
        Patches, and where their points are on this rank.
    signal : (m,) ndarray
        Photons expected of the crystal.
    expected : (m,) ndarray
        The same with the background.
    """

    def __init__(self, problem: Problem, model: Model) -> None:
        self.problem, self.model = problem, model
        shard, self.comm = problem.shard, problem.comm
        self._omega = model.structure_factor(problem.factor)
        misfit = PoissonMisfit(shard, problem.factor)
        self.scale = misfit.scale(self._omega)
        self.signal = self.scale**2 * shard.detected(self._omega)
        self.expected = self.signal + shard.background_at(slice(None))
        self._extra = extra_photons(shard)
        self.valid = shard.weight
        self._noise = 1.0 if shard.trust is None else 1.0 / shard.trust
        self.over, variance = self._excess(self.expected, self.valid)
        self.sigma = float(np.sqrt(max(variance, 1e-300)))
        first = first_points(shard.patches)
        self.parts = [
            (int(shard.patch_index[k]), slice(int(k), int(k) + p.size))
            for k, p in zip(first, shard.patches, strict=True)
        ]

    def moments(self) -> Floats:
        """Return 2 C^2 Im(conj(Omega) M_a), d lambda by an offset of the points, (3, m) [Å]."""
        x, model = self.model.positions, self.model
        present = model.occupancies if len(model.occupancies) else np.ones(len(x))
        arms = (x - x.mean(axis=0)).T
        factor = self.problem.factor
        parts = [
            thermal_structure_factor(factor, x, model.displacements, present * arm) for arm in arms
        ]
        whole = self.problem.shard.whole(self._omega).conj()
        out = 2.0 * self.scale**2 * np.array([(whole * p).imag for p in parts])
        response = self.problem.shard.response
        return out if response is None else response.apply(out)

    def second_differences(self) -> list[Floats]:
        """Return those of the signal along the axes of its grids, 3 of (m,) [photons]."""
        base, shard = self.problem.factor, self.problem.shard
        out = []
        for axis in range(3):
            total = -2.0 * self.signal
            for sign in (-1.0, 1.0):
                moved = [p.moved(np.eye(3), sign * p.affine.step[axis]) for p in base.patches]
                factor = base.on(moved, base.amplitude)
                total += self.scale**2 * shard.detected(self.model.structure_factor(factor))
            out.append(total)
        return out

    def everywhere(self, values: Sequence[Floats], first: int = 0) -> list[Columns]:
        """Return columns on all points, (m,) each, as the parameters from a number on."""
        place = list(range(first, first + len(values)))
        return [Columns(part, place, np.array([v[part] for v in values])) for _, part in self.parts]

    def of_patches(
        self, values: Sequence[Floats], patches: Sequence[int], first: int = 0
    ) -> list[Columns]:
        """Return columns of some patches, each with parameters of its own from a number on."""
        k = len(values)
        return [
            Columns(
                part,
                list(range(first + k * patches.index(n), first + k * (patches.index(n) + 1))),
                np.array([v[part] for v in values]),
            )
            for n, part in self.parts
            if n in patches
        ]

    def gain(self, columns: Sequence[Columns], number: int) -> float:
        """Return by how much the best combination of columns lowers the misfit.

        Parameters
        ----------
        columns : sequence of Columns
        number : int
            How many parameters there are.
        """
        best, value = np.zeros(number), self._value(columns, np.zeros(number))
        start = value
        for _ in range(_STEPS):
            before = value
            for step in self._steps(columns, best):
                for halving in range(_HALVINGS):
                    tried = best + step / 2**halving
                    new = self._value(columns, tried)
                    if new < value:
                        best, value = tried, new
                        break
            if before - value < _DONE * max(abs(self.over), 1.0):
                break
        return start - value

    def without(self, points: NDArray[np.bool_]) -> float:
        """Return by how much the misfit beyond noise falls if some points, (m,), are masked."""
        weight = np.where(points, 0.0, self.valid)
        counts = self.problem.shard.counts
        square = 1.0  # of the scale, relative
        for _ in range(_STEPS):
            expected = self.expected + (square - 1.0) * self.signal + self._extra
            ratio = (counts + self._extra) / expected
            sums = self.comm.allreduce(
                np.array(
                    [
                        (weight * self.signal) @ (1.0 - ratio),
                        (weight * self.signal**2) @ (ratio / expected),
                    ]
                )
            )
            step = float(sums[0] / max(sums[1], 1e-300))
            square = max(square - step, 0.1 * square)
            if abs(step) < _DONE * square:
                break
        left, _ = self._excess(self.expected + (square - 1.0) * self.signal, weight)
        return self.over - left

    def _excess(self, expected: Floats, weight: Floats) -> tuple[float, float]:
        mean, variance = noise_level(expected, self._extra)
        share = deviance(self.problem.shard.counts, expected, self._extra)
        own = weight * self._noise
        sums = self.comm.allreduce(np.array([weight @ share - own @ mean, own @ variance]))
        return float(sums[0]), float(sums[1])

    def _changed(self, columns: Sequence[Columns], by: Floats) -> Floats:
        out = self.expected.copy()
        for c in columns:
            out[c.part] += by[c.place] @ c.values
        return np.maximum(out, _DARKEST * self.expected)

    def _value(self, columns: Sequence[Columns], by: Floats) -> float:
        share = deviance(self.problem.shard.counts, self._changed(columns, by), self._extra)
        return self.comm.sum(float(self.valid @ share))

    def _steps(self, columns: Sequence[Columns], by: Floats) -> list[Floats]:
        """Return the Gauss-Newton step, and one for points that are far brighter than expected."""
        number, counts = len(by), self.problem.shard.counts
        expected = self._changed(columns, by) + self._extra
        right = np.zeros(number)
        systems = [np.zeros((number, number)) for _ in range(2)]
        together: dict[int, list[Columns]] = {}
        for c in columns:
            together.setdefault(c.part.start, []).append(c)
        for same in together.values():
            part = same[0].part
            values = np.concatenate([c.values for c in same])
            place = [k for c in same for k in c.place]
            u, lam = self.valid[part], expected[part]
            right[place] += values @ (u * (1.0 - (counts[part] + self._extra) / lam))
            for system, noise in zip(systems, (lam, np.maximum(lam, counts[part])), strict=True):
                system[np.ix_(place, place)] += (values * (u / noise)) @ values.T
        right = self.comm.allreduce(right)
        return [
            -np.linalg.lstsq(self.comm.allreduce(system), right, rcond=None)[0]
            for system in systems
        ]


def outstanding_points(deviation: Floats, patches: Sequence[BraggPatch]) -> list[NDArray[np.bool_]]:
    """Tell which points deviate while those beside them don't.

    Parameters
    ----------
    deviation : (m,) ndarray
        Of all points of all patches, without sign [standard deviations].
    patches : sequence of BraggPatch

    Returns
    -------
    list of bool ndarray
        One array with the patch's shape per patch.
    """
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, ::2] = cross[1, ::2, 1] = cross[::2, 1, 1] = True
    points, first = [], 0
    for patch in patches:
        own = deviation[first : first + patch.size].reshape(patch.shape)
        found = np.zeros(patch.shape, dtype=bool)
        while True:  # one hides another beside it
            beside = rank_filter(own, -2, footprint=cross, mode="constant")
            more = (own > _OUTSTANDING) & (own > _ALONE * beside)
            if not more.any():
                break
            found |= more
            own[more] = 0.0
        points.append(found)
        first += patch.size
    return points
