"""The level below which the darkest points of a patch don't go: a flat background.

The intensity of a finite crystal has zeros everywhere, and its distribution falls from 0 on: points
are the rarer the brighter they are. With a flat background b it falls from b on. Any falling
distribution is a mixture of uniform ones from b to b + t (Grenander 1956), so that

    P(I <= k) = sum_t w_t / t int_b^(b+t) Q(k + 1, s) ds,

Q the regularised incomplete gamma function, the Poisson distribution's. The weights w_t and b are
those of the largest likelihood; neither object nor phases are needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammainc, gammaincc

Floats = NDArray[np.float64]

# derived: the darker half of the points, of which the brighter ones tell nothing about the edge
_PART = 0.5
_CELLS = 50  # chosen: cells of the histogram; not varied
_WIDTHS = 24  # chosen: uniform distributions, steps of a factor 1.5; not varied
_NARROWEST = 0.02  # derived: of the noise of a point, nothing is seen of less
_WIDEST = 100.0  # derived: of the median, beyond it a density is flat
_ROUNDS = 150  # chosen: likelihoods within 1 of the largest; not varied
# chosen: 300 to 4679 atoms, 1e16 to 1e20; ideal ones gain at most 48, 1 photon at 1e17 1100
_INSISTS = 100.0  # gain in log-likelihood of a patch
_FIRST = 0.25  # derived: photons; less is hardly seen at the fluxes at which it would matter
_NEXT = 4.0  # derived: of the true level, far below the edge it is
_CLOSE = 0.02  # derived: of the level or its noise, the model's fit does the rest


def dark_level(counts: Floats, known: float = 0.0) -> float:
    """Return the flat background of a patch beyond a known one, 0 unless the counts insist.

    Parameters
    ----------
    counts : (m,) ndarray
        Photons of its valid points.
    known : float
        Photons per point that are declared.

    Returns
    -------
    float
        Photons per point.
    """
    if len(counts) == 0:
        return 0.0
    values = np.sort(np.rint(counts))
    top = float(values[int(_PART * (len(values) - 1))])
    if top <= 0:
        return 0.0  # half of the points without a photon
    edges = np.concatenate([np.arange(min(top, 20.0)), np.linspace(0.0, top, _CELLS)])
    edges = np.unique(np.rint(edges))
    below = np.searchsorted(values, edges, side="right")
    cells = np.diff(np.concatenate([[0], below, [len(values)]])).astype(float)
    widths = np.geomspace(_NARROWEST * (1.0 + np.sqrt(known)), _WIDEST * (top + 1.0), _WIDTHS)

    def log_likelihood(level: float) -> float:
        chance = _chances(edges, level, widths)
        weight = np.full(len(widths), 1.0 / len(widths))
        for _ in range(_ROUNDS):
            weight *= chance.T @ (cells / (chance @ weight)) / len(values)
        return float(cells @ np.log(chance @ weight))

    flat = log_likelihood(known)
    ladder = known + _FIRST * _NEXT ** np.arange(np.log(max(top, 1.0) / _FIRST) / np.log(_NEXT) + 1)
    gains = [log_likelihood(level) - flat for level in ladder]
    best = int(np.argmax(gains))
    around = (ladder[best - 1] if best else known, ladder[min(best + 1, len(ladder) - 1)])
    tolerance = _CLOSE * (1.0 + np.sqrt(ladder[best]))
    found = minimize_scalar(
        lambda level: -log_likelihood(level),
        bounds=around,
        method="bounded",
        options={"xatol": tolerance},
    )
    return float(found.x) - known if -found.fun - flat > _INSISTS else 0.0


def _chances(edges: Floats, level: float, widths: Floats) -> Floats:
    """Return the chance of each cell under each uniform distribution from a level on."""
    k = edges[:, None] + 1.0

    def integral(at: Floats) -> Floats:
        return np.asarray(at * gammaincc(k, at) + k * gammainc(k + 1.0, at))

    low = np.array([level])
    below = (integral(level + widths) - integral(low)) / widths
    rows = np.zeros((1, len(widths)))
    return np.diff(np.vstack([rows, below, rows + 1.0]), axis=0).clip(1e-300)
