"""A background that nobody declared, beside a crystal of some hundred atoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from effects import atoms, ideal, measured, patches
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm
from scipy.optimize import minimize
from small_crystal import Rank, make_problem

from prammol.diffraction.calibration import Calibration
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import squared
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.refinement.background_fit import (
    BackgroundFit,
    Component,
    dark_background,
    fitted_background,
)
from prammol.reconstruction.refinement.calibration_fit import CalibratedPose, align_calibrated
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS
from prammol.reconstruction.subsampling import _thinned_shard


def with_background(levels, seed=1, **known):
    """Counts with a background for each patch that the data don't declare."""
    return measured([v + b for v, b in zip(ideal(), levels, strict=True)], seed, **known)


def hump():
    """Ten photons over half of a patch on a little."""
    out = []
    for p in patches():
        place = np.indices(p.shape).T / p.shape[0] - [0.3, 0.6, 0.5]
        out.append(0.1 + 10.0 * np.exp(-0.5 * np.sum(place**2, axis=-1).T / 0.25**2))
    return out


def without(number):
    return np.delete(atoms(), np.arange(0, 6 * number, 6), axis=0)


def fit_of(problem, components=()):
    return BackgroundFit(problem, squared(problem.factor.forward(atoms())), components)


@pytest.mark.parametrize("missing", [0, 1, 5, 40])
def test_ideal_counts_want_none_however_wrong_the_object(missing):
    problem = make_problem(with_background([0.0] * 3), x=atoms())
    assert fitted_background(problem, without(missing)) is None
    assert dark_background(problem) is None


@pytest.mark.parametrize(("levels", "kind"), [((0, 3, 0), "flat"), ((1, 1, 1), "flat")])
def test_constants_are_found_within_their_noise(levels, kind):
    problem = make_problem(with_background(levels), x=atoms())
    found = fitted_background(problem, atoms())
    assert list(found.terms) == [kind]
    assert_allclose(found.terms[kind], levels, atol=0.12)
    for array, patch in zip(found.background, patches(), strict=True):
        assert array.shape == patch.shape
        assert np.ptp(array) == 0
    there = problem.calibrated(found)
    misfit = PoissonMisfit(there.shard, there.factor)
    omega = there.factor.forward(atoms())
    assert abs(misfit.excess(omega, misfit.scale(omega))[0]) < 4


def test_a_hump_is_smooth():
    problem = make_problem(with_background(hump()), x=atoms())
    found = fitted_background(problem, atoms())
    assert list(found.terms) == ["smooth"]
    assert min(b.min() for b in found.background) >= 0
    errors = [found.background[k] - b for k, b in enumerate(hump())]
    assert np.sqrt(np.mean(np.square(errors))) < 1.0


def test_what_is_known_but_for_a_factor_has_it_in_common_beside_a_declared_background():
    rng = np.random.default_rng(3)
    shape = [10.0 * rng.random(p.shape) for p in patches()]
    declared = [np.full(p.shape, 2.0) for p in patches()]
    levels = [2.0 + 0.7 * s for s in shape]
    problem = make_problem(with_background(levels, background=declared), x=atoms())
    found = fitted_background(problem, atoms(), [Component("diffuse", tuple(shape))])
    assert list(found.terms) == ["diffuse"]
    assert_allclose(found.terms["diffuse"], [0.7 * s.mean() for s in shape], rtol=0.05)
    factors = [np.median(b / s) for b, s in zip(found.background, shape, strict=True)]
    assert_allclose(factors, factors[0], rtol=1e-12)
    there = problem.calibrated(found)
    expected = np.concatenate([(2.0 + b).ravel() for b in found.background])
    assert_allclose(there.shard.background, expected)
    back = there.calibrated(None)
    assert_array_equal(back.shard.background, 2.0)


@pytest.mark.parametrize("functions", [0, 1, 4])
def test_coefficients_are_those_of_another_minimiser(functions):
    rng = np.random.default_rng(3)
    component = Component("diffuse", tuple(rng.random(p.shape) for p in patches()))
    fit = fit_of(make_problem(with_background(hump()), x=atoms()), [component])
    found = fit.fitted(functions)
    assert (found.coefficients >= 0).all()
    u = fit._valid

    def misfit(at):
        value, expected = fit._value(at, functions, u)
        return value, fit._system(expected, functions, u, len(at))[1]

    # The slope is that of differences, at a point of no importance.
    at = found.coefficients * rng.uniform(0.8, 1.2, len(found.coefficients)) + 0.3
    _, slope = misfit(at)
    for j in rng.choice(len(at), min(len(at), 12), replace=False):
        step = 1e-4 * np.eye(len(at))[j]
        ends = [misfit(at + sign * step)[0] for sign in (1, -1)]
        assert slope[j] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3, abs=1e-2)
    other = minimize(
        misfit, found.coefficients, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(at),
        options={"maxiter": 300},
    )  # fmt: skip
    assert found.value < other.fun + 0.1


def test_the_fit_is_the_same_on_ranks_of_planes():
    """Sums of two ranks' systems are those of one, and so are values."""
    data = with_background(hump())
    whole = fit_of(make_problem(data, x=atoms()))
    at = np.random.default_rng(0).random(1 + 3 * 64)
    value, expected = whole._value(at, 4, whole._valid)
    system, slope = whole._system(expected, 4, whole._valid, len(at))
    parts = []
    for rank in range(2):
        problem = make_problem(data, comm=Rank(rank, 2), x=atoms())
        part = fit_of(problem)
        # Each rank alone doesn't know the sums over all.
        part._common = whole._common[:, local_shard(data, Rank(rank, 2)).global_index]
        v, e = part._value(at, 4, part._valid)
        parts.append((v, *part._system(e, 4, part._valid, len(at))))
    assert sum(p[0] for p in parts) == pytest.approx(value)
    assert_allclose(sum(p[1] for p in parts), system, rtol=1e-9, atol=1e-9)
    assert_allclose(sum(p[2] for p in parts), slope, rtol=1e-9, atol=1e-6)


def test_the_pose_is_fitted_beside_it():
    """Geometry, scales and background at once; and the background goes if nothing is there."""
    turned = atoms() @ expm(2e-3 * ROTATIONS[0]).T
    problem = make_problem(with_background((0, 3, 1)), x=atoms())
    laid = align_calibrated(problem, turned, turned)
    assert_allclose(laid.calibration.terms["flat"], (0, 3, 1), atol=0.15)
    assert laid.problem.calibration is laid.calibration
    assert laid.calibration.has_nominal_patches
    assert not laid.calibration.is_nominal
    pose = CalibratedPose(laid.problem, laid.positions)
    moved = pose.moved(np.zeros(21 + len(ROTATIONS)), ROTATIONS)
    assert moved.problem.calibration.background is laid.calibration.background
    none = make_problem(with_background([0.0] * 3), x=atoms())
    plain = align_calibrated(none, turned, turned)
    again = align_calibrated(none.calibrated(laid.calibration), turned, turned)
    assert plain.calibration is again.calibration is None
    assert_allclose(again.positions, plain.positions, atol=1e-4)


def test_it_is_everywhere_where_a_background_is_declared():
    """Phase retrieval, a coarser grid and the shard of a rank; masked points have none."""
    valid = [np.ones(p.shape, dtype=bool) for p in patches()]
    valid[0][3, 4, 5] = False
    problem = make_problem(replace(with_background((20, 20, 20)), valid=valid), x=atoms())
    dark = dark_background(problem)
    assert_allclose(dark.terms["flat"], 20, atol=5)
    there = problem.calibrated(dark)
    level = dark.terms["flat"]
    assert_array_equal(there.declared.background[1], level[1])
    assert_array_equal(there.declared.signal(1), np.maximum(problem.data.counts[1] - level[1], 0))
    assert there.shard.background[np.ravel_multi_index((3, 4, 5), (26,) * 3)] == 0
    part = _thinned_shard(there, [(2, 2, 2)] * 3, (0, 0, 0))
    expected = np.where(part.valid, level[part.patch_index], 0.0)
    assert_array_equal(part.background, expected)
    assert problem.declared is problem.data
    assert not Calibration.nominal(3).background
