"""Flaws of a detector that the counts show without a model: zingers, hot pixels, saturation.

A crystal's intensity, sampled at two points or more per fringe, has others of comparable size near
every point: its largest value among the points within two steps is at most 5 times the sixth
largest beside it, also at the peak. A point that is far brighter than that, and beyond noise, isn't
the crystal's. A limit of the counter is a largest count that several points share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rank_filter, uniform_filter

if TYPE_CHECKING:
    from prammol.diffraction.dataset import Diffraction

Floats = NDArray[np.float64]
Points = NDArray[np.bool_]

_REACH = 2  # derived: points, a fringe at two points per fringe
_BESIDE = 6  # chosen: balls, cubes, octahedra of 252 to 4692 atoms; ratios of 3 to 5 from 4 to 6
# chosen: the same crystals, 2 to 4 points per fringe; at most 4.8
_BRIGHTER = 8.0  # times the sixth largest
# derived: a fringe's top is at most 2.5 times the second brightest next to it, half a fringe away
_STEEPER = 4.0  # of a peak
_SIGMAS = 8.0  # derived: standard deviations, more than noise gives in any number of points
_FEWEST = 26  # derived: points within two steps of a corner
_SAME_VALUE = 4  # chosen: points with the largest count that make a limit; display
_BRIGHT = 100.0  # derived: photons; fewer share their largest count by chance


@dataclass(frozen=True)
class Saturation:
    """Points of a patch that share its largest count.

    Attributes
    ----------
    points : bool ndarray
        With the patch's shape.
    value : float
        That count [photons]; NaN where there is no limit.
    """

    points: Points
    value: float


def zingers(data: Diffraction) -> list[Points]:
    """Return which valid points outshine those around them as no crystal does.

    Zingers and hot pixels that are brighter than the fringes beside them; no model is needed.

    Parameters
    ----------
    data : Diffraction

    Returns
    -------
    list of bool ndarray
        One array with the patch's shape per patch.
    """
    return [_outshining(c, v) for c, v in zip(data.counts, data.valid, strict=True)]


def saturated(data: Diffraction) -> list[Saturation]:
    """Return which valid points have reached the limit of the detector, one entry per patch.

    Parameters
    ----------
    data : Diffraction
    """
    tops = [float(c[v].max(initial=0.0)) for c, v in zip(data.counts, data.valid, strict=True)]
    points = [v & (c >= top) for c, v, top in zip(data.counts, data.valid, tops, strict=True)]
    limits = {
        top
        for p, top in zip(points, tops, strict=True)
        if top >= _BRIGHT and p.sum() >= _SAME_VALUE
    }
    return [
        Saturation(p, top) if top in limits else Saturation(np.zeros_like(p), float("nan"))
        for p, top in zip(points, tops, strict=True)
    ]


def masked_flaws(data: Diffraction) -> Diffraction:
    """Return data with zingers, hot pixels and saturated points masked.

    Parameters
    ----------
    data : Diffraction
    """
    single, full = zingers(data), saturated(data)
    if not any(z.any() or s.points.any() for z, s in zip(single, full, strict=True)):
        return data
    valid = [v & ~z & ~s.points for v, z, s in zip(data.valid, single, full, strict=True)]
    return replace(data, valid=valid)


def flaws_text(data: Diffraction) -> str:
    """Return a clause that names the flaws with patches, numbers and counts, "" for none."""
    limits = saturated(data)
    single = [z & ~s.points for z, s in zip(zingers(data), limits, strict=True)]
    outshining = [
        f"{_number_of(z)} of patch {k} (up to {c[z].max():.10g} counts)"
        for k, (z, c) in enumerate(zip(single, data.counts, strict=True), start=1)
        if z.any()
    ]
    full = [
        f"{_number_of(s.points)} of patch {k} ({s.value:.10g} counts)"
        for k, s in enumerate(limits, start=1)
        if s.points.any()
    ]
    said = [f"far brighter than all around: {', '.join(outshining)}"] if outshining else []
    said += [f"at one largest count: {', '.join(full)}"] if full else []
    return "; ".join(said)


def _number_of(points: Points) -> str:
    number = int(points.sum())
    return f"{number} point{'' if number == 1 else 's'}"


def brightest(counts: Floats, valid: Points, signal: Floats) -> tuple[int, Floats]:
    """Return the number of the brightest point of a patch that those around it support.

    Parameters
    ----------
    counts, valid : ndarray
        Of the patch.
    signal : ndarray
        Counts less background, 0 where not valid.

    Returns
    -------
    number : int
        In C order; of the brightest of all if none is supported.
    signal : ndarray
        With 0 at the brighter ones that are not.
    """
    first, left = int(signal.argmax()), signal
    seen = np.where(valid, counts, 0.0)
    while True:
        top = int(left.argmax())
        if left.flat[top] <= 0:
            return first, signal
        at = np.unravel_index(top, signal.shape)
        near = tuple(slice(max(t - _REACH, 0), t + _REACH + 1) for t in at)
        if valid[near].sum() - 1 < _FEWEST:
            return top, left
        # The largest of all is the point itself.
        beside = np.sort(seen[near], axis=None)[-_BESIDE - 1]
        if seen.flat[top] <= min(_most(beside), _most(_second_next(seen, at), _STEEPER)):
            return top, left
        if left is signal:
            left = signal.copy()
        left.flat[top] = seen.flat[top] = 0.0


def _second_next(seen: Floats, at: tuple[np.intp, ...]) -> float:
    """Return the second largest of the six values next to a point, 0 outside."""
    i, j, k = map(int, at)
    lines = ((seen[:, j, k], i), (seen[i, :, k], j), (seen[i, j], k))
    next_to = [line[n] if 0 <= n < len(line) else 0.0 for line, t in lines for n in (t - 1, t + 1)]
    return float(np.sort(next_to)[-2])


def _most(beside: float | Floats, brighter: float = _BRIGHTER) -> Floats:
    """Return what a point has at most beside so many counts."""
    mean = brighter * (beside + 1.0)
    return np.asarray(mean + _SIGMAS * np.sqrt(mean))


def _outshining(counts: Floats, valid: Points) -> Points:
    """Tell which points of a patch outshine those around them; the brightest hide others."""
    width = 2 * _REACH + 1
    footprint = np.ones((width,) * 3, dtype=bool)
    footprint[_REACH, _REACH, _REACH] = False
    seen, found = np.where(valid, counts, 0.0), np.zeros(counts.shape, dtype=bool)
    there = uniform_filter(valid.astype(float), width, mode="constant") * width**3
    judged = valid & (np.rint(there) - 1 >= _FEWEST)
    while True:
        beside = rank_filter(seen, -_BESIDE, footprint=footprint, mode="constant")
        more = judged & (seen > _most(beside))
        if not more.any():
            return found
        found |= more
        seen[more] = 0.0
