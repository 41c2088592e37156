"""A blur that nobody declared, fitted at the true atoms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.response import Extent, Response
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import responding
from prammol.reconstruction.refinement.background_fit import dark_background
from prammol.reconstruction.refinement.blur_fit import fitted_blur
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms

BOX = (2.0, 0.0, 1.0)


def problem_of(true_blur, declared, uncertainty=1.0, seed=1):
    x = relaxed_ball(5.5)
    response = Response.of(3, BOX, true_blur)
    crystal = Atoms(x, "Al")
    data = simulate(
        crystal, 3e18, seed, paper_patches(14), form_factor="constant", response=response
    )
    data = replace(data, response=Response.of(3, BOX, declared, uncertainty))
    problem = make_problem(data, x=x)
    shard = responding(problem.shard, data, Extent(x, 2.0))
    return x, replace(problem, shard=shard, factor=StructureFactor(shard.patches, 1e-9))


@pytest.mark.parametrize("declared", [0.0, 0.3])
def test_what_is_missing_is_found_within_its_error(declared):
    true = np.array([0.6, 0.5, 0.4])
    x, problem = problem_of(true, declared)
    found = fitted_blur(problem, x)
    problem = problem.calibrated(found)
    off = np.hypot(found.blur, declared) - true
    errors = found.blur_error * found.blur / np.hypot(found.blur, declared)
    assert (errors < 0.05).all()
    assert (np.abs(off) < 4.0 * errors).all()
    assert np.abs(problem.declared.response.blur - true).max() == pytest.approx(np.abs(off).max())
    misfit = PoissonMisfit(problem.shard, problem.factor)
    omega = problem.factor.forward(x)
    assert misfit.excess(omega, misfit.scale(omega))[0] < 4.0
    again = fitted_blur(problem, x)
    assert (np.abs(again.blur - found.blur) < errors).all()


def test_zeros_that_a_detector_fills_are_no_background():
    _, problem = problem_of(0.7, 0.7)
    assert dark_background(problem) is None
    ideal = replace(problem, data=replace(problem.data, response=None))
    assert max(dark_background(ideal).terms["flat"]) > 1.0


def test_no_width_is_negative():
    x, problem = problem_of(0.2, 0.4)
    found = fitted_blur(problem, x)
    assert found is None or not found.blur.any()


def test_a_tight_prior_holds_the_declared_width():
    x, problem = problem_of(0.5, 0.0, uncertainty=1e-4)
    found = fitted_blur(problem, x)
    assert found is None or found.blur.max() < 2e-2
    x, problem = problem_of(0.5, 0.0, uncertainty=0.0)
    assert problem.data.response.uncertainty == 0
    had = Calibration.nominal(3)
    assert fitted_blur(problem.calibrated(had), x) is had
