"""The Poisson likelihood against scipy, its gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from prammol.core.errors import DataError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.poisson import (
    amplitude_scale,
    poisson_log_likelihood,
    poisson_scale,
    residual_weights,
)

SERIAL = Communicator()

SHEARED = BraggPatch(
    [-0.5, 1.5, 1.4],
    [[0.03, 0.002, -0.001], [0.012, 0.028, 0.003], [-0.004, 0.015, 0.031]],
    (9, 6, 7),
)

SCALE = 1.7


@pytest.fixture
def case(rng):
    """Counts of one set of atoms, and another set that doesn't explain them."""
    factor = StructureFactor([cubic_patch((-1, 1, 1), 0.6, 8, 4.05), SHEARED], 1e-13)
    truth = rng.uniform(-8, 12, (15, 3))
    counts = rng.poisson(SCALE**2 * np.abs(factor.forward(truth)) ** 2).astype(float)
    x = truth + rng.normal(scale=0.1, size=truth.shape)
    w = rng.uniform(0.5, 1.2, len(x))
    return factor, counts, x, w


def negative_log_likelihood(factor, counts, x, w):
    """Sum of lambda - I ln lambda, by a direct sum over the atoms."""
    omega = np.exp(-1j * (factor.q @ x.T)) @ w
    lam = SCALE**2 * (omega.real**2 + omega.imag**2)
    return np.sum(lam - counts * np.log(lam))


def test_the_log_likelihood_is_that_of_scipy_up_to_the_factorials(case):
    factor, counts, x, w = case
    omega = factor.forward(x, w)
    lam = SCALE**2 * np.abs(omega) ** 2
    constant = scipy.special.gammaln(counts + 1).sum()
    expected = scipy.stats.poisson.logpmf(counts, lam).sum() + constant
    assert_allclose(poisson_log_likelihood(counts, omega, SCALE, SERIAL), expected, rtol=1e-10)


def test_the_gradient_by_positions_is_that_of_finite_differences(case):
    factor, counts, x, w = case
    field = residual_weights(counts, factor.forward(x, w), SCALE)
    gradient = -2 * w[:, None] * factor.adjoint_moments(field, x).imag
    step = 1e-5
    for j in (0, 4, 11):
        for axis in range(3):
            change = np.zeros_like(x)
            change[j, axis] = step
            difference = negative_log_likelihood(factor, counts, x + change, w)
            difference -= negative_log_likelihood(factor, counts, x - change, w)
            assert_allclose(gradient[j, axis], difference / (2 * step), rtol=1e-4, atol=1e-2)


def test_the_gradient_by_weights_is_that_of_finite_differences(case):
    factor, counts, x, w = case
    field = residual_weights(counts, factor.forward(x, w), SCALE)
    gradient = 2 * factor.adjoint(field, x).real
    step = 1e-5
    for j in range(len(x)):
        change = np.zeros_like(w)
        change[j] = step
        difference = negative_log_likelihood(factor, counts, x, w + change)
        difference -= negative_log_likelihood(factor, counts, x, w - change)
        assert_allclose(gradient[j], difference / (2 * step), rtol=1e-4, atol=1e-2)


def test_the_gradient_vanishes_where_the_counts_are_explained(case):
    factor, _, x, w = case
    omega = factor.forward(x, w)
    field = residual_weights(SCALE**2 * np.abs(omega) ** 2, omega, SCALE)
    assert_allclose(field, 0, atol=1e-9 * np.abs(omega).max())


def test_the_poisson_scale_is_where_the_likelihood_is_largest(case):
    factor, counts, x, w = case
    omega = factor.forward(x, w)
    best = poisson_scale(counts, omega, SERIAL)
    at = [poisson_log_likelihood(counts, omega, best * f, SERIAL) for f in (0.999, 1, 1.001)]
    assert at[1] > at[0]
    assert at[1] > at[2]


def test_the_amplitude_scale_is_where_the_amplitudes_fit_best(case):
    factor, counts, x, w = case
    omega = factor.forward(x, w)
    best = amplitude_scale(counts, omega, SERIAL)
    design = np.abs(omega)[:, None]
    expected = np.linalg.lstsq(design, np.sqrt(counts), rcond=None)[0][0]
    assert_allclose(best, expected, rtol=1e-10)


def test_both_scales_are_c_and_not_its_square_or_inverse(case):
    factor, _, x, w = case
    omega = factor.forward(x, w)
    counts = SCALE**2 * np.abs(omega) ** 2
    assert_allclose(amplitude_scale(counts, omega, SERIAL), SCALE, rtol=1e-12)
    assert_allclose(poisson_scale(counts, omega, SERIAL), SCALE, rtol=1e-12)


def test_a_point_with_no_amplitude_stays_finite():
    omega, counts = np.array([0j, 1 + 1j]), np.array([3.0, 2.0])
    assert np.isfinite(poisson_log_likelihood(counts, omega, 1.0, SERIAL))
    assert np.isfinite(residual_weights(counts, omega, 1.0)).all()


class Half(Communicator):
    """One of two ranks whose partner's sums are known beforehand."""

    def __init__(self, partner):
        self.partner = partner

    def allreduce(self, values):
        return values + self.partner

    def sum(self, value):
        return value + self.partner


def test_sums_run_over_all_ranks(case):
    factor, counts, x, w = case
    omega = factor.forward(x, w)
    mine, other = slice(0, 300), slice(300, None)
    size = np.abs(omega[other])
    least_squares = Half(np.array([np.sqrt(counts[other]) @ size, size @ size]))
    assert_allclose(
        amplitude_scale(counts[mine], omega[mine], least_squares),
        amplitude_scale(counts, omega, SERIAL),
    )
    poisson = Half(np.array([counts[other].sum(), size @ size]))
    assert_allclose(
        poisson_scale(counts[mine], omega[mine], poisson), poisson_scale(counts, omega, SERIAL)
    )
    rest = Half(poisson_log_likelihood(counts[other], omega[other], SCALE, SERIAL))
    assert_allclose(
        poisson_log_likelihood(counts[mine], omega[mine], SCALE, rest),
        poisson_log_likelihood(counts, omega, SCALE, SERIAL),
    )


def test_the_likelihood_is_finite_where_the_structure_factor_is_0():
    counts, omega = np.array([5.0, 0.0, 3.0]), np.array([0j, 0j, 2 + 0j])
    value = poisson_log_likelihood(counts, omega, 1.0, SERIAL)
    assert np.isfinite(value)
    # A photon where none can be is all but impossible: far worse than one where it may be.
    assert value < poisson_log_likelihood(np.array([0.0, 0, 3]), omega, 1.0, SERIAL) - 100
    assert np.isfinite(residual_weights(counts, omega, 1.0)).all()


@pytest.mark.parametrize("scale", [amplitude_scale, poisson_scale])
def test_no_scale_fits_atoms_that_scatter_nothing(scale):
    with pytest.raises(DataError, match="the atoms scatter nothing"):
        scale(np.ones(3), np.zeros(3, dtype=complex), SERIAL)
