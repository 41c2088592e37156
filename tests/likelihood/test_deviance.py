"""Half the Poisson deviance and the noise of it, against extended precision and draws."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.extra_photons import EXTRA


def plain_share(counts, lam, extra=EXTRA):
    """Half the Poisson deviance, a few photons added to both."""
    return lam - counts + (counts + extra) * np.log((counts + extra) / (lam + extra))


def test_the_deviance_of_a_point_keeps_its_digits():
    """Against extended precision, where data and model nearly agree and where they are far off."""
    counts = np.repeat([0.0, 1.0, 1e3, 1e8, 1e14], 6)
    off = np.tile([1e-7, 1e-3, 0.1, -0.3, 1.0, 1e3], 5)
    lam = np.where(counts > 0, counts * (1 + off), np.abs(off))
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("no extended precision here")
    photons, more = counts.astype(np.longdouble) + EXTRA, (lam - counts).astype(np.longdouble)
    exact = more - photons * np.log1p(more / photons)
    rounding = np.finfo(float).eps * np.abs(lam - counts)
    assert (np.abs(deviance(counts, lam, EXTRA) - exact) < 4 * rounding).all()


@pytest.mark.parametrize("extra", [EXTRA, 1e-4])
def test_the_noise_level_is_what_poisson_counts_give(extra):
    rng = np.random.default_rng(0)
    for lam in (0.01, 0.3, 2.0, 15.0, 300.0, 1e6):
        counts = rng.poisson(lam, 400_000)
        share = plain_share(counts, lam, extra)
        mean, variance = noise_level(np.array([lam]), extra)
        assert mean[0] == pytest.approx(share.mean(), abs=5 * share.std() / np.sqrt(len(share)))
        assert variance[0] == pytest.approx(share.var(), rel=0.05)
