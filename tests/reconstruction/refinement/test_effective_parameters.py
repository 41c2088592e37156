"""How many parameters were fitted: against dense matrices, and against misfits of fits."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.refinement.curvature import hessian_times
from prammol.reconstruction.refinement.effective_parameters import effective_parameters
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.thermal_model import ThermalModel
from prammol.reconstruction.stages.default import restrained_refinement
from prammol.reconstruction.stages.default.restrained_refinement import RestrainedRefinement
from prammol.reconstruction.state import State
from prammol.reconstruction.verdict import Verdict, judge

SCALE, SMALL = 1.9, 5.5  # Å, some forty atoms


@pytest.fixture(scope="module")
def small():
    x = relaxed_ball(SMALL)
    problem = make_problem(simulate(x, points=12), x=x, cluster=True)
    yield problem, x
    problem.cluster.close()


@pytest.mark.parametrize("stiffness", [1e1, 1e3, 1e5])
def test_it_is_the_trace_of_dense_matrices(small, stiffness):
    problem, x = small
    fisher = Fisher(problem.shard, problem.factor, x, SCALE)
    unit = np.eye(x.size).reshape(-1, *x.shape)
    known = np.array([fisher.times(e).ravel() for e in unit])
    energy = np.array([hessian_times(problem.cluster, x, e).ravel() for e in unit])
    expected = np.trace(np.linalg.solve(known + stiffness * energy, known))
    found = effective_parameters(problem, Model(x, SCALE, stiffness=stiffness))
    # One vector of signs is off by the root of twice the number or so.
    assert found == pytest.approx(expected, abs=3 * np.sqrt(2 * expected))
    assert effective_parameters(problem, Model(x, SCALE)) == 0.0


def test_a_right_object_that_was_fitted_is_as_far_from_noise_as_before(small):
    """Over ten sets of counts: what the fit gains is given back, to a part of the noise."""
    _, x = small
    before, after, plain = [], [], []
    for seed in range(10):
        problem = make_problem(simulate(x, points=12, seed=seed), x=x, cluster=True)
        misfit = PoissonMisfit(problem.shard, problem.factor)
        k = 1e3
        y = restrained_fit(misfit, problem.cluster, x, k, 40)
        held = Model(y, SCALE, stiffness=k)
        omega = problem.factor.forward(y)
        fitted = effective_parameters(problem, held)
        before.append(judge(problem, held, problem.factor.forward(x), 5.0)[1].excess)
        plain.append(judge(problem, held, omega, 5.0)[1].excess)
        after.append(judge(problem, held, omega, 5.0, fitted)[1].excess)
        problem.cluster.close()
    gained = np.mean(before) - np.mean(plain)
    assert gained > 0.5
    assert np.mean(after) == pytest.approx(np.mean(before), abs=0.35 * gained)


def test_atoms_may_not_melt(small, monkeypatch):
    """Even if held-out points confirm it: counts of another object pull atoms anywhere."""
    _, x = small
    monkeypatch.setattr(ThermalModel, "prefers", lambda *_, **__: True)
    wrong = x + np.random.default_rng(3).normal(scale=0.6, size=x.shape)
    other = make_problem(simulate(wrong, points=12), x=x, cluster=True)
    stage = RestrainedRefinement(debye_waller=False, exchanges=0)
    energies = []
    for most in (0.1, np.inf):
        monkeypatch.setattr(restrained_refinement, "_MOLTEN", most)
        state = stage(other, State(Model(x, SCALE), Verdict()))
        energies.append(other.cluster.energy_forces(state.positions)[0])
    rest, _ = other.cluster.energy_forces(x)
    other.cluster.close()
    assert energies[0] - rest < 0.15 * abs(rest)
    assert energies[1] - rest > 0.3 * abs(rest)
