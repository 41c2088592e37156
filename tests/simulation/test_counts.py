"""Simulated counts against direct sums and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import relaxed_ball

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.photon_flux import scale_from_flux
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.structure.atoms import Atoms


def power(q, x, weights=None):
    return np.abs(direct_structure_factor(q, x, weights)) ** 2


def test_counts_are_drawn_with_the_background(rng):
    """Mean and variance of many draws; the seed decides; it is declared in the data."""
    x = rng.uniform(-4, 4, (5, 3))
    patches = paper_patches(6)
    arrays = [rng.uniform(2, 9, p.shape) for p in patches]
    draws = [simulate(Atoms(x, "Al"), 1e16, s, patches, background=arrays) for s in range(400)]
    scale = draws[0].meta["scale"]
    drawn = np.array([np.concatenate([c.ravel() for c in d.counts]) for d in draws])
    mean = np.concatenate([b.ravel() for b in arrays])
    mean = mean + scale**2 * power(np.concatenate([p.q() for p in patches]), x)
    sigma = (drawn.mean(axis=0) - mean) / np.sqrt(mean / 400)
    assert abs(sigma.mean()) < 0.2
    assert sigma.std() == pytest.approx(1, abs=0.15)
    for declared, b in zip(draws[0].background, arrays, strict=True):
        assert np.array_equal(declared, b)
    plain = simulate(Atoms(x, "Al"), 1e18, 1, patches)
    assert not plain.background
    zero = simulate(Atoms(x, "Al"), 1e18, 1, patches, background=0.0)
    assert np.array_equal(plain.counts[0], zero.counts[0])


PATCHES = paper_patches(10)


@pytest.fixture(scope="module")
def ball():
    return Atoms(relaxed_ball(), "Al")


def flat(data):
    return np.concatenate([c.ravel() for c in data.counts])


def expected_counts(x, flux, patches=PATCHES):
    q = np.concatenate([p.q() for p in patches])
    scale = scale_from_flux(flux, patches, "Al")
    return scale**2 * np.abs(direct_structure_factor(q, x)) ** 2


def test_counts_are_poisson_around_the_direct_sum(ball):
    lam = expected_counts(ball.positions, 1e18)
    options = {"patches": PATCHES, "form_factor": "constant"}
    trials = np.array([flat(simulate(ball, 1e18, s, **options)) for s in range(200)])
    bright = lam > 0.5
    assert bright.sum() > 200
    # the mean of 200 trials has the variance lam / 200, the variance (2 lam^2 + lam) / 200
    z = (trials.mean(axis=0) - lam)[bright] / np.sqrt(lam[bright] / 200)
    assert abs(z.mean()) < 4 / np.sqrt(bright.sum())
    assert z.std() == pytest.approx(1, abs=0.15)
    assert np.abs(z).max() < 6
    v = (trials.var(axis=0, ddof=1) - lam)[bright]
    v /= np.sqrt((2 * lam**2 + lam)[bright] / 200)
    assert abs(v.mean()) < 5 / np.sqrt(bright.sum())


def test_bright_counts_have_the_right_size_and_place(ball):
    # so many photons that the noise is small: every patch and axis in its place
    data = simulate(ball, 1e24, 1, form_factor="constant")
    for p, c in zip(paper_patches(), data.counts, strict=True):
        rows = np.random.default_rng(0).integers(0, p.size, 100)
        lam = data.meta["scale"] ** 2 * np.abs(direct_structure_factor(p.q()[rows], ball.positions))
        lam *= np.abs(direct_structure_factor(p.q()[rows], ball.positions))
        np.testing.assert_allclose(c.ravel()[rows], lam, atol=0, rtol=0.02 + 6 / lam.min() ** 0.5)


def test_the_crystal_of_the_paper_at_1e18():
    crystal = make_crystal("vacancy", relax=False)
    data = simulate(crystal, 1e18, 1)
    assert [c.shape for c in data.counts] == [(50, 50, 50)] * 3
    assert data.meta["scale"] == pytest.approx(0.19, abs=0.002)
    # all waves in phase give (C n)^2; the grid misses the top by half a step on each axis
    top = (data.meta["scale"] * 4679) ** 2
    assert top == pytest.approx(8e5, rel=0.03)
    assert 0.8 * top < data.meta["peak_counts"] < top


def test_meta_tells_what_was_done(ball):
    data = simulate(ball, 2e18, 5, PATCHES, wavelength=1.0)
    meta = data.meta
    assert meta["flux"] == 2e18
    assert meta["scale"] == scale_from_flux(2e18, PATCHES, "Al", 1.0)
    assert (meta["element"], meta["wavelength"], meta["seed"]) == ("Al", 1.0, 5)
    assert meta["total_counts"] == sum(c.sum() for c in data.counts) == data.total_counts
    assert meta["peak_counts"] == max(c.max() for c in data.counts)
    assert "temperature" not in meta
    assert (flat(data) % 1 == 0).all()


def test_the_seed_decides_the_counts(ball):
    one, same, other = (flat(simulate(ball, 1e18, s, PATCHES)) for s in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_flux_that_leaves_no_photon_is_an_error(ball):
    with pytest.raises(DataError, match="not one photon"):
        simulate(ball, 1e3, 1, PATCHES)


def test_wrong_input_is_refused(ball):
    for flux in (0, -1e18, np.nan):
        with pytest.raises(InputError, match="flux"):
            simulate(ball, flux, 1, PATCHES)
    with pytest.raises(InputError, match="too many"):
        simulate(ball, 1e36, 1, PATCHES)
    with pytest.raises(InputError, match="no atoms"):
        simulate(Atoms(np.zeros((0, 3)), "Al"), 1e18, 1, PATCHES)
    with pytest.raises(InputError, match="seed"):
        simulate(ball, 1e18, -1, PATCHES)
    for temperature in (0.0, -5.0, np.nan):
        with pytest.raises(InputError, match="temperature"):
            simulate(ball, 1e18, 1, PATCHES, temperature=temperature)
    with pytest.raises(InputError, match="the potential is for Al"):
        simulate(Atoms(ball.positions, "Cu"), 1e18, 1, PATCHES, temperature=300)
    with pytest.raises(InputError, match="steps >= every"):
        simulate(ball, 1e18, 1, PATCHES, temperature=300, steps=10, every=20)
