"""Where grains that were phased apart lie in the shape that they fill together.

Counts don't change when a grain is shifted or inverted, and it fills a part of the support only.
All grains together fill the whole shape S, which a reflection that they share shows, or else the
support: of the shifts and hands

    min over t, u of sum (S(x) - a(x - t) - b(x - u))^2

for the first two, and for each further one with what the others leave of S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Amplitude = Callable[[Floats], Floats]

_POINTS = 32  # chosen: points along an edge of the grid, 2 to 3 Å of 1200 atoms; not varied
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
    """Return where each grain is, two or more.

    Parameters
    ----------
    shape : callable
        The whole as a function of positions, (n, 3) [Å], 1 inside.
    grains : sequence of callable
        The parts.
    extent : float
        Largest extent of the whole, the origin near its middle [Å].
    """
    step = 2.0 * extent / _POINTS
    axis = (np.arange(_POINTS) - _POINTS // 2) * step
    x = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = (_POINTS,) * 3

    def wave(amplitude: Amplitude, sign: float = 1.0) -> NDArray[np.complex128]:
        return np.fft.rfftn(np.clip(amplitude(sign * x), 0.0, 1.0).reshape(grid))

    def correlated(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> Floats:
        """Return sum over x of a(x + t) b(x)."""
        return np.fft.irfftn(a * b.conj(), grid)

    def turn(t: tuple[int, ...]) -> NDArray[np.complex128]:
        k = [np.fft.fftfreq(_POINTS), np.fft.fftfreq(_POINTS), np.fft.rfftfreq(_POINTS)]
        waves = [np.exp(-2j * np.pi * f * n) for f, n in zip(k, t, strict=True)]
        return np.asarray(waves[0][:, None, None] * waves[1][:, None] * waves[2])

    def place(sign: float, t: Sequence[int]) -> Place:
        centred = (np.array(t) + _POINTS // 2) % _POINTS - _POINTS // 2
        return Place(sign, centred * step)

    rest = wave(shape)
    forms = [{sign: wave(grain, sign) for sign in (1.0, -1.0)} for grain in grains]
    best, found = -np.inf, [Place(1.0, np.zeros(3))] * 2
    left = rest
    for one, other in product((1.0, -1.0), repeat=2):
        a, b = forms[0][one], forms[1][other]
        alone, second, both = correlated(rest, a), correlated(rest, b), correlated(a, b)
        for flat in np.argsort(-alone, axis=None)[:_TRIED]:
            t = np.unravel_index(int(flat), grid)
            # a(x - t) b(x - u): both at u - t.
            value = alone[t] + second - np.roll(both, t, axis=(0, 1, 2))
            top = int(value.argmax())
            if value.flat[top] > best:
                best, u = float(value.flat[top]), np.unravel_index(top, grid)
                found = [place(one, t), place(other, u)]
                left = rest - a * turn(t) - b * turn(u)
    for form in forms[2:]:
        tried = {sign: correlated(left, form[sign]) for sign in form}
        sign = max(tried, key=lambda s: float(tried[s].max()))
        t = np.unravel_index(int(tried[sign].argmax()), grid)
        found.append(place(sign, t))
        left = left - form[sign] * turn(t)
    return found
