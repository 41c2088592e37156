"""Points of a patch that are brighter than a crystal's can be beside those around them.

A crystal's intensity, sampled at two points or more per fringe, has others of comparable size near
every point: it is at most 5 times the sixth largest within two steps, also at the peak.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rank_filter, uniform_filter

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


def outshining(counts: Floats, valid: Points) -> Points:
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
