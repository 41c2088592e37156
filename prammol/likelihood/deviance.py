"""One point's share of the misfit, and what Poisson noise alone gives for it."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

_LN2 = float(np.log(2.0))  # derived: mathematics


def deviance(
    counts: NDArray[np.float64], expected: NDArray[np.float64], extra: float
) -> NDArray[np.float64]:
    """Return each point's share of J, with the weight 1."""
    more = expected - counts
    photons = counts + extra
    # log(1 + t) with all digits where data and model nearly agree: log1p, which takes four times
    # as long as log2 where they don't.
    t = more / photons
    u = 1.0 + t
    log = np.log2(u)
    log *= _LN2
    t -= u - 1.0
    t /= u
    log += t
    log *= photons
    return np.asarray(more - log)


def noise_level(
    expected: NDArray[np.float64], extra: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of one point's share of J under pure Poisson noise.

    Both tend to 1/2 for many photons and to small values for few; they are
    interpolated in a table of exact sums over the Poisson distribution.
    """
    log_lam, mean, variance = _noise_table(extra)
    where = np.log(np.clip(expected, 1e-6, None))
    return np.interp(where, log_lam, mean), np.interp(where, log_lam, variance)


@cache
def _noise_table(
    extra: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    log_lam = np.linspace(np.log(1e-6), np.log(400.0), 400)
    lam = np.exp(log_lam)[:, None]
    counts = np.arange(600.0)[None, :]
    share = deviance(counts, lam, extra)
    weight = np.exp(xlogy(counts, lam) - lam - gammaln(counts + 1))
    mean = np.sum(weight * share, axis=1)
    variance = np.sum(weight * share**2, axis=1) - mean**2
    return log_lam, mean, variance
