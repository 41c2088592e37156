"""Changes of the expected counts, and what they explain."""

from __future__ import annotations

import effects
import numpy as np
import pytest
from small_crystal import make_problem

from prammol.diffraction.structure_factor import StructureFactor
from prammol.reconstruction.effects import Unexplained
from prammol.reconstruction.model import Model


@pytest.fixture(scope="module")
def rest():
    x = effects.atoms()
    problem = make_problem(effects.measured(effects.ideal()), x=x)
    return Unexplained(problem, Model(x, effects.SCALE))


def test_moments_are_the_derivative_by_an_offset(rest):
    step = np.array([0.0, 1e-5, 0.0])
    x = effects.atoms() - effects.atoms().mean(axis=0)
    up, down = (
        np.abs(
            StructureFactor([p.moved(np.eye(3), s * step) for p in effects.patches()], 1e-12)
            .forward(x)
        ) ** 2
        for s in (1, -1)
    )  # fmt: skip
    slope = rest.scale**2 * (up - down) / 2e-5
    assert np.allclose(rest.moments()[1], slope, atol=1e-5 * np.abs(slope).max())


def test_second_differences_reach_to_the_edge(rest):
    grid = rest.signal[: effects.POINTS**3].reshape((effects.POINTS,) * 3)
    for axis, found in enumerate(rest.second_differences()):
        mine = found[: effects.POINTS**3].reshape(grid.shape)
        inner = np.take(mine, range(1, effects.POINTS - 1), axis=axis)
        assert np.allclose(inner, np.diff(grid, 2, axis=axis), atol=1e-5 * grid.max())


def test_no_columns_but_the_scale_gain_next_to_nothing(rest):
    assert 0 <= rest.gain(rest.everywhere([rest.signal]), 1) < 0.1
    assert abs(rest.over) < 5 * rest.sigma


def test_masked_points_take_their_misfit_with_them(rest):
    none = np.zeros(len(rest.signal), dtype=bool)
    assert rest.without(none) == pytest.approx(0.0, abs=0.1)


def test_columns_of_patches_have_parameters_of_their_own(rest):
    columns = rest.of_patches([rest.signal, rest.signal], [2, 0], first=1)
    assert {tuple(c.place) for c in columns} == {(1, 2), (3, 4)}
    by_start = {c.part.start: c.place for c in columns}
    assert by_start[0] == [3, 4]
