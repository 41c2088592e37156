"""What a reconstruction expects of its counts: direct sums with everything that was fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import norm, poisson
from small_crystal import fcc_ball, simulate

from prammol.core.errors import InputError
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.response import Response
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.fit import Fit, fit_of
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

X = fcc_ball(6.0)
SCALE = 1.9


def measured(**known):
    return replace(simulate(X, points=12, scale=SCALE), **known)


def result(columns=None, **known):
    return Reconstruction(Atoms(X, "Al", columns or {}), SCALE, **known)


def test_the_mean_has_all_that_was_fitted():
    rng = np.random.default_rng(3)
    data = measured()
    gain = [rng.uniform(0.5, 1.5, p.shape) for p in data.patches]
    known, more = ([rng.uniform(0, 2, p.shape) for p in data.patches] for _ in range(2))
    rotation, offset = rng.normal(size=(3, 3)) * 0.002, rng.normal(size=(3, 3)) * 0.01
    amplitude = np.array([1.0, 1.2, 0.8])
    motion = np.where(X[:, 0] > 0, 0.01, 0.03)
    present = np.where(X[:, 1] > 4, 0.4, 1.0)
    found = result(
        {"mean_square_displacement": motion, "occupancy": present},
        calibration=Calibration(amplitude, offset, rotation, tuple(more)),
    )
    fit = fit_of(found, replace(data, gain=gain, background=known))
    for k, patch in enumerate(data.patches):
        q = patch.q() @ Rotation.from_rotvec(rotation[k]).as_matrix().T + offset[k]
        damped = [
            np.exp(-0.5 * np.sum(q**2, axis=1) * u)
            * direct_structure_factor(q, X[motion == u], present[motion == u])
            for u in (0.01, 0.03)
        ]
        wave = (SCALE * amplitude[k]) ** 2 * np.abs(sum(damped)) ** 2
        mean = gain[k] * wave.reshape(patch.shape) + known[k] + more[k]
        np.testing.assert_allclose(fit.expected[k], mean, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(fit.patches[k].q(), q, atol=1e-12)


def test_the_response_is_the_one_that_the_run_was_told_of():
    data = measured()
    blurred = replace(data, response=Response.of(3, 1.0, 0.3))
    told = {"diffraction": {"response": {"box": 1.0, "blur": 0.3}}}
    of_file = fit_of(result(), blurred)
    of_run = fit_of(result(provenance=told), data)
    plain = fit_of(result(), data)
    for a, b, c in zip(of_file.expected, of_run.expected, plain.expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 0.01 * c.max()


def test_the_right_atoms_leave_noise_and_others_dont():
    data = measured()
    fit = fit_of(result(), data)
    assert abs(fit.sigma) < 4
    wrong = Reconstruction(Atoms(np.delete(X, 7, axis=0), "Al"), SCALE)
    assert fit_of(wrong, data).sigma > 10
    valid = [np.ones(p.shape, dtype=bool) for p in data.patches]
    valid[1][3, 4, 5] = False
    masked = fit_of(result(), replace(data, valid=valid))
    assert np.isnan(masked.residual(1)[3, 4, 5])
    assert np.isfinite(masked.residual(0)).all()
    # noise of single points has the standard deviation 1, and so have whole shells
    residuals = np.concatenate([fit.residual(k)[fit.expected[k] > 5] for k in range(3)])
    assert abs(residuals.std() - 1) < 4 / np.sqrt(2 * len(residuals))
    sigmas = np.concatenate([fit.shells(k, 5)["sigma"] for k in range(3)])
    assert np.abs(sigmas).max() < 4


def one_point(counts, expected):
    shape = (1, 1, len(counts))
    counts, expected = (np.array(v, dtype=float).reshape(shape) for v in (counts, expected))
    return Fit((), np.zeros((1, 3)), [counts], [expected], [counts >= 0], 0.01, 0.0)


def test_a_residual_is_about_as_rare_as_its_standard_deviations_say():
    counts, expected = [0, 1, 30, 130, 1050], [2.0, 1e-4, 10.0, 100.0, 1000.0]
    found = one_point(counts, expected).residual(0).ravel()
    tails = [
        norm.ppf(poisson.cdf(c, e) - poisson.pmf(c, e) / 2)
        if c < e
        else norm.isf(poisson.sf(c, e) + poisson.pmf(c, e) / 2)
        for c, e in zip(counts, expected, strict=True)
    ]
    np.testing.assert_allclose(found, tails, atol=0.6)
    np.testing.assert_allclose(found[3:], [3.0, 1.58], atol=0.2)


def test_shells_are_means_around_the_peak():
    fit = fit_of(result(), measured())
    distance = np.linalg.norm(fit.patches[2].q() - fit.peaks[2], axis=1)
    shells = fit.shells(2, 6)
    width = distance.max() / 6
    inside = (distance >= width) & (distance < 2 * width)
    assert shells["q"][1] == pytest.approx(1.5 * width)
    assert shells["counts"][1] == pytest.approx(fit.counts[2].ravel()[inside].mean())
    assert shells["expected"][1] == pytest.approx(fit.expected[2].ravel()[inside].mean())


def test_data_of_something_else_are_refused():
    data = measured()
    with pytest.raises(InputError, match="scattered by Cu"):
        fit_of(result(), replace(data, meta={"element": "Cu"}))
    with pytest.raises(InputError, match="other patches"):
        fit_of(result(calibration=Calibration.nominal(4)), data)
