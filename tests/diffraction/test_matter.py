"""Matter beside the crystal: what the detector sees of both, and the derivatives of that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.diffraction.calibration import Calibration
from prammol.diffraction.matter import Matter
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import Problem

POINTS, SCALE = 8, 1.9


@pytest.fixture(scope="module")
def matter() -> Matter:
    rng = np.random.default_rng(1)
    direction = rng.normal(size=(30, 3))
    places = 11.0 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return Matter(places, rng.uniform(0.2, 0.6, 30))


@pytest.fixture(scope="module")
def problem(matter) -> Problem:
    x = relaxed_ball(8.5)
    data = simulate(x, POINTS, SCALE)
    return make_problem(data, x=x).calibrated(replace(Calibration.nominal(3), matter=matter))


def everything(problem: Problem, matter: Matter, x: np.ndarray) -> np.ndarray:
    """Omega of atoms and matter by direct summation."""
    places = np.concatenate([x, matter.positions])
    weights = np.concatenate([np.ones(len(x)), matter.weights])
    return direct_structure_factor(problem.factor.q, places, weights)


def test_the_detector_sees_crystal_and_matter_interfere(problem, matter):
    x = relaxed_ball(8.5)
    seen = problem.shard.detected(problem.factor.forward(x))
    assert seen == pytest.approx(np.abs(everything(problem, matter, x)) ** 2, rel=1e-5, abs=1e-4)
    without = problem.calibrated(Calibration.nominal(3))
    assert without.shard.beside is None


def test_slopes_of_the_misfit_are_those_of_all_matter(problem, matter):
    x, misfit = relaxed_ball(8.5), PoissonMisfit(problem.shard, problem.factor)
    found = misfit(x, np.ones(len(x)), positions=True, occupancies=True)
    rng = np.random.default_rng(2)
    shift, more = rng.normal(size=x.shape), rng.normal(size=len(x))
    h = 1e-5
    moved = [misfit(x + s * h * shift).value for s in (-1, 1)]
    weighted = [misfit(x, 1.0 + s * h * more).value for s in (-1, 1)]
    assert np.sum(found.d_positions * shift) == pytest.approx(np.diff(moved)[0] / (2 * h), rel=1e-4)
    assert found.d_weights @ more == pytest.approx(np.diff(weighted)[0] / (2 * h), rel=1e-4)


def test_the_information_on_atoms_is_that_beside_the_matter(problem, matter):
    x = relaxed_ball(8.5)
    block = Fisher(problem.shard, problem.factor, x, SCALE).blocks()[5]
    h, rows = 1e-4, []
    for axis in range(3):
        ends = []
        for sign in (-1, 1):
            y = x.copy()
            y[5, axis] += sign * h
            ends.append(SCALE**2 * np.abs(everything(problem, matter, y)) ** 2)
        rows.append((ends[1] - ends[0]) / (2 * h))
    mean = SCALE**2 * np.abs(everything(problem, matter, x)) ** 2
    expected = (np.array(rows) / (mean + 0.01)) @ np.array(rows).T
    assert block == pytest.approx(expected, rel=0.02, abs=0.02 * np.trace(expected))
