"""The difference map must show what was done to the crystal."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import ball_and_misfit

from prammol.likelihood.difference_map import difference_map
from prammol.structure.surface import on_surface


def test_the_map_is_the_derivative_by_the_weight_of_an_atom():
    x, misfit = ball_and_misfit()
    less = x[5:]
    g = difference_map(misfit, less)
    h = 1e-5
    for site in (x[0], x[2] + 0.3, x[40] + 1.0):
        both = np.vstack([less, site])
        weight = np.ones(len(both))
        values = []
        for w in (h, -h):
            weight[-1] = w
            values.append(misfit(both, weight).value)
        slope = (values[0] - values[1]) / (2 * h)
        assert g(site[None])[0] * g.height == pytest.approx(slope, rel=1e-4, abs=1e-3 * g.height)


def test_the_gradient_of_the_map_is_that_of_finite_differences():
    x, misfit = ball_and_misfit()
    g = difference_map(misfit, x[3:])
    p = x[:3] + 0.2
    h = 1e-5
    for a in range(3):
        d = np.eye(3)[a] * h
        assert g.gradient(p)[:, a] == pytest.approx(
            (g(p + d) - g(p - d)) / (2 * h), rel=1e-4, abs=1e-6
        )


def test_missing_atoms_are_minima_and_wrong_ones_stand_out():
    x, misfit = ball_and_misfit()
    surface = np.flatnonzero(on_surface(x, 1.22 * 2.864))
    gone = surface[[1, 20]]
    wrong = x[surface[40]] + 2.6 * x[surface[40]] / np.linalg.norm(x[surface[40]])
    y = np.vstack([np.delete(x, gone, axis=0), wrong])
    g = difference_map(misfit, y)
    sites, depth = g.minima(
        y, y[on_surface(y, 1.22 * 2.864)], -0.5, 2.864, np.random.default_rng(0), 8000
    )
    assert (np.diff(depth) >= 0).all()
    for k in gone:
        assert np.linalg.norm(sites[:4] - x[k], axis=1).min() < 0.3
    assert np.argmax(g(y)) == len(y) - 1


def test_minima_are_where_the_gradient_is_zero():
    x, misfit = ball_and_misfit()
    y = np.delete(x, np.flatnonzero(on_surface(x, 1.22 * 2.864))[[1, 20]], axis=0)
    g = difference_map(misfit, y)
    rng = np.random.default_rng(0)
    sites, _ = g.minima(y, y[on_surface(y, 1.22 * 2.864)], -0.5, 2.864, rng, 8000)
    beside = g.gradient(sites + [0.1, 0.0, 0.0])
    assert len(sites) > 1
    assert np.linalg.norm(g.gradient(sites), axis=1).max() < 0.1 * np.abs(beside).max()
