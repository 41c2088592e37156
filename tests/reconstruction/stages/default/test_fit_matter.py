"""Light atoms at random on a crystal: found as matter, and the crystal's own atoms right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import make_problem, relaxed_ball, simulate
from states import altered, judged_state

from prammol.diffraction.matter import Matter
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.diagnosis import diagnose, found_besides
from prammol.reconstruction.refinement.matter_fit import Projection
from prammol.reconstruction.stages.default.fit_matter import FitMatter
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign

LIGHT, SCALE, POINTS = 0.47, 1.9, 16
LOOKING = FitMatter(enabled=True)


def light_atoms(x: np.ndarray, number: int) -> np.ndarray:
    """Places 1.8 to 3 Å from a crystal and 1.9 Å from each other."""
    rng = np.random.default_rng(4)
    spots = rng.uniform(x.min(axis=0) - 3, x.max(axis=0) + 3, (4000, 3))
    gap = cKDTree(x).query(spots)[0]
    kept: list[np.ndarray] = []
    for s in spots[(gap > 1.8) & (gap < 3.0)]:
        if len(kept) < number and all(np.linalg.norm(s - k) > 1.9 for k in kept):
            kept.append(s)
    return np.array(kept)


@pytest.fixture(scope="module")
def oxidised():
    x = relaxed_ball(7.0)
    light = light_atoms(x, 12)
    weights = np.r_[np.ones(len(x)), np.full(len(light), LIGHT)]
    data = simulate(np.vstack([x, light]), POINTS, SCALE, occupancies=weights)
    problem = make_problem(data, x=x, cluster=True)
    yield problem
    problem.cluster.close()


@pytest.fixture(scope="module")
def bare():
    x = relaxed_ball(7.0)
    problem = make_problem(simulate(x, POINTS, SCALE), x=x, cluster=True)
    yield problem
    problem.cluster.close()


@pytest.mark.slow
def test_matter_explains_what_the_right_atoms_leave(oxidised):
    x = relaxed_ball(7.0)
    state = altered(judged_state(oxidised, x, SCALE), slow=True)
    assert state.verdict.excess > 100
    found = LOOKING(oxidised, state)
    assert found.verdict.explained
    assert len(found.positions) == len(x)
    assert found_besides(oxidised, found.model)[0].effect == "matter"
    # What matter and atoms scatter together is what was simulated.
    light = light_atoms(x, 12)
    matter = found.model.calibration.matter
    q, weights = oxidised.factor.q, np.full(len(light), LIGHT)
    true = direct_structure_factor(q, x) + direct_structure_factor(q, light, weights)
    y = direct_structure_factor(q, found.positions)
    y = y + direct_structure_factor(q, matter.positions, matter.weights)
    # The root of a count has the variance 1/4.
    off = found.model.scale * np.abs(y) - SCALE * np.abs(true)
    assert np.mean(off**2) < 0.25


@pytest.mark.slow
def test_wrong_atoms_beside_matter_are_put_right(oxidised):
    looking = replace(LOOKING, most=0.1)  # the missing atom is most of what is wrong
    x = relaxed_ball(7.0)
    away = int(np.linalg.norm(x, axis=1).argmax())
    y, _, _ = oxidised.cluster.relax(np.delete(x, away, axis=0), force_tolerance=1e-3)
    state = judged_state(oxidised, y, SCALE)
    for _ in range(4):
        state = altered(replace(state, status=replace(state.status, selected=False)), slow=True)
        state = looking(oxidised.calibrated(state.model.calibration), state)
        state = RelaxAndAlign()(oxidised.calibrated(state.model.calibration), state)
        if state.verdict.explained:
            break
    gap, _ = cKDTree(state.positions).query(x)
    assert len(state.positions) == len(x)
    assert gap.max() < 0.5


@pytest.mark.slow
def test_matter_that_was_not_fitted_is_named(oxidised):
    model = judged_state(oxidised, relaxed_ball(7.0), SCALE).model
    named = {cause.effect: cause for cause in diagnose(oxidised, model)}
    assert named["matter"].explains > 0.5


def test_nothing_is_done_while_the_atoms_improve_or_explain_the_counts(oxidised, bare):
    x = relaxed_ball(7.0)
    state = judged_state(oxidised, x, SCALE)
    assert LOOKING(oxidised, state) is state
    asked = altered(state, slow=True)
    assert FitMatter()(oxidised, asked) is asked
    right = altered(judged_state(bare, x, SCALE), slow=True)
    assert LOOKING(bare, right) is right


def test_freedom_is_the_rank_of_what_the_weights_change(bare):
    x = relaxed_ball(7.0)
    places = np.array([[10.0, 0, 0], [0, 10.0, 0], [0, 0, 10.0], [0, 0, -10.0]])
    weights = np.array([0.3, 0.4, 0.5, 0.0])
    rng = np.random.default_rng(3)
    matter = Matter(places, weights)
    seen = [Projection(bare, x, matter).freedom(rng) for _ in range(40)]
    assert np.mean(seen) == pytest.approx(3.0, abs=4 * np.sqrt(2 * 3 / 40))
