"""Where grains that were phased apart lie in the shape that they fill together.

Counts don't change when a grain is shifted or inverted, and it fills a part of the support only.
All grains together fill the whole shape S, which a reflection that they share shows, or else the
support: of the shifts and hands

    min over t, u of sum (S(x - t) - a(x) - b(x - u))^2

for the first two, and for each further one with what the others leave of S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prammol.phasing.lattice_shift import weights_of_amplitude

Floats = NDArray[np.float64]
Amplitude = Callable[[Floats], Floats]

_POINTS = 32  # chosen: points along an edge of the grid, 2 to 3 Å of 1200 atoms; not varied
_SIGNS = (1.0, -1.0)  # derived: both hands
_TRIED = 100  # chosen: best places of the first grain in the shape alone; not varied


@dataclass(frozen=True, eq=False)
class Place:
    """How a grain is to be shifted, [Å], after it is inverted if `sign` is -1."""

    sign: float
    shift: Floats

    def __call__(self, amplitude: Amplitude) -> Amplitude:
        """Return an amplitude in its place; both are functions of positions, (n, 3) [Å]."""
        return lambda x: amplitude(self.sign * (x - self.shift))


def places(shape: Amplitude, grains: Sequence[Amplitude], extent: float) -> list[Place]:
    """Return where each grain is against the first, two or more.

    Parameters
    ----------
    shape : callable
        The whole as a function of positions, (n, 3) [Å], 1 inside, or larger than it.
    grains : sequence of callable
        The parts.
    extent : float
        Largest extent of the whole, the origin near its middle [Å].
    """
    step = 2.0 * extent / _POINTS
    axis = (np.arange(_POINTS) - _POINTS // 2) * step
    x = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = (_POINTS,) * 3

    def sampled(amplitude: Amplitude, sign: float) -> Floats:
        return weights_of_amplitude(amplitude(sign * x)).reshape(grid)

    first = sampled(grains[0], 1.0)
    a = np.fft.rfftn(first)
    forms = [{s: np.fft.rfftn(sampled(g, s)) for s in _SIGNS} for g in grains[1:]]
    volume = float(first.sum()) + sum(float(form[1.0].flat[0].real) for form in forms)
    wholes = {s: np.fft.rfftn(_deepest(sampled(shape, s), volume)) for s in _SIGNS}
    best, found, left = -np.inf, [Place(1.0, np.zeros(3))], a
    for hand, sign in product(_SIGNS, repeat=2):
        whole, b = wholes[hand], forms[0][sign]
        alone, second, both = (_correlated(*pair) for pair in ((a, whole), (whole, b), (a, b)))
        for flat in np.argsort(-alone, axis=None)[:_TRIED]:
            t = np.unravel_index(int(flat), grid)
            # S(x - t) b(x - u) depends on u - t.
            value = alone[t] + np.roll(second, t, axis=(0, 1, 2)) - both
            top = int(value.argmax())
            if value.flat[top] > best:
                best, u = float(value.flat[top]), np.unravel_index(top, grid)
                found[1:] = [_place(sign, u, step)]
                left = whole * _turn(t) - a - b * _turn(u)
    for form in forms[1:]:
        tried = {s: _correlated(left, form[s]) for s in _SIGNS}
        sign = max(tried, key=lambda s: float(tried[s].max()))
        t = np.unravel_index(int(tried[sign].argmax()), grid)
        found.append(_place(sign, t, step))
        left = left - form[sign] * _turn(t)
    return found


def _correlated(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> Floats:
    """Return sum over x of a(x + t) b(x), both given by their transforms."""
    return np.asarray(np.fft.irfftn(a * b.conj(), (_POINTS,) * 3, axes=(0, 1, 2)))


def _turn(t: Sequence[Any]) -> NDArray[np.complex128]:
    """Return the factor of a transform that shifts by some points."""
    k = [np.fft.fftfreq(_POINTS), np.fft.fftfreq(_POINTS), np.fft.rfftfreq(_POINTS)]
    waves = [np.exp(-2j * np.pi * f * n) for f, n in zip(k, t, strict=True)]
    return np.asarray(waves[0][:, None, None] * waves[1][:, None] * waves[2])


def _place(sign: float, t: Sequence[Any], step: float) -> Place:
    return Place(sign, ((np.array(t) + _POINTS // 2) % _POINTS - _POINTS // 2) * step)


def _deepest(whole: Floats, volume: float) -> Floats:
    """Return the innermost part of a shape that is larger than what fills it, as a support is."""
    if whole.sum() <= volume:
        return whole
    depth = ndimage.distance_transform_edt(whole > 0.5)
    return np.where(depth >= np.sort(depth, axis=None)[-round(volume)], whole, 0.0)
