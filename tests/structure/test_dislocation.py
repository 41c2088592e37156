"""Burgers circuits around dislocations made by hand, and around the samples."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.errors import InputError
from prammol.simulation.samples import make_crystal
from prammol.structure.dislocation import (
    add_screw,
    burgers_vector,
    line_between_rows,
    perpendicular,
)

A = 4.05

HALF_110 = A / 2 * np.array([1.0, 1.0, 0.0])

EDGE = A / 2 * np.array([-1.0, 1.0, 0.0])

# beside the rows of atoms of fcc_ball, which lie at -(0.9, 0.4, 0.2) + a/2 (i, j, k)
POINT = np.array([-0.5, 0.4, 0.45])


def volterra(x, burgers, point, turn=1.0):
    """u = b theta / (2 pi) around [110], theta counted right-handed."""
    t = np.array([1, 1, 0]) / 2**0.5
    up = np.array([0, 0, 1.0])
    side = np.cross(up, t)
    assert np.dot(np.cross(side, up), t) == pytest.approx(1)
    d = x - point
    theta = turn * np.arctan2(d @ up, d @ side)
    return x + theta[:, None] * burgers / (2 * np.pi)


@pytest.fixture(scope="module")
def ball():
    return fcc_ball(19.0)


@pytest.mark.parametrize("burgers", [HALF_110, -HALF_110, EDGE, -EDGE, np.zeros(3)])
def test_burgers_vector_of_a_displacement_field(ball, burgers):
    # screws along the line and edges across it, both signs
    found = burgers_vector(volterra(ball, burgers, POINT), A)
    np.testing.assert_allclose(found, burgers, atol=1e-6)


def test_the_sign_turns_with_the_sense_of_the_field_and_of_the_line(ball):
    left = volterra(ball, HALF_110, POINT, turn=-1.0)
    np.testing.assert_allclose(burgers_vector(left, A), -HALF_110, atol=1e-6)
    np.testing.assert_allclose(burgers_vector(left, A, line=(-1, -1, 0)), HALF_110, atol=1e-6)


@pytest.mark.parametrize("radius", [6.0, 9.0, 12.0])
def test_circuits_of_any_size_agree(ball, radius):
    x = volterra(ball, HALF_110, POINT)
    np.testing.assert_allclose(burgers_vector(x, A, radius=radius), HALF_110, atol=1e-6)


def test_a_circuit_beside_the_line_closes():
    x = volterra(fcc_ball(24.0), HALF_110, POINT)
    beside = POINT + np.array([0, 0, 13.0])
    assert burgers_vector(x, A, point=beside, radius=5.0).tolist() == [0, 0, 0]


def test_two_opposite_lines_cancel(ball):
    x = volterra(ball, HALF_110, POINT)
    x = volterra(x, -HALF_110, POINT + np.array([0, 0, 4.05]))
    assert burgers_vector(x, A, radius=10.0).tolist() == [0, 0, 0]


def test_noise_doesn_t_matter(ball, rng):
    x = volterra(ball, HALF_110, POINT) + 0.08 * rng.normal(size=ball.shape)
    np.testing.assert_allclose(burgers_vector(x, A), HALF_110, atol=1e-6)


def test_body_centred_cubic(rng):
    cells = np.indices((14, 14, 14)).reshape(3, -1).T - 7
    x = 3.16 * (cells[:, None] + np.array([[0, 0, 0], [0.5, 0.5, 0.5]])).reshape(-1, 3)
    x = x[np.linalg.norm(x, axis=1) < 19]
    b = 3.16 / 2 * np.ones(3)
    y = add_screw(x, line_between_rows(x, (1, 1, 1)), b)
    np.testing.assert_allclose(burgers_vector(y, 3.16, "bcc"), b, atol=1e-6)
    assert burgers_vector(x, 3.16, "bcc").tolist() == [0, 0, 0]


def test_add_screw_is_the_closed_form(ball):
    np.testing.assert_allclose(
        np.abs((add_screw(ball, POINT, HALF_110) - ball) @ HALF_110).max(),
        HALF_110 @ HALF_110 / 2,
        rtol=0.05,
    )
    u = add_screw(ball, POINT, HALF_110) - volterra(ball, HALF_110, POINT)
    # the two count theta from different directions: they differ by a constant or a whole b
    u = u - u[0]
    whole = np.rint(u @ HALF_110 / (HALF_110 @ HALF_110))
    np.testing.assert_allclose(u, whole[:, None] * HALF_110, atol=1e-9)


def test_the_line_goes_through_the_middle_between_the_rows(ball):
    point = line_between_rows(ball, (1, 1, 0))
    e1, e2, t = perpendicular((1, 1, 0))
    assert np.linalg.det([e1, e2, t]) == pytest.approx(1)
    d = ball - point
    assert np.hypot(d @ e1, d @ e2).min() > 1.0
    middle = point - ball.mean(axis=0)
    assert np.hypot(middle @ e1, middle @ e2) < 2.5


def test_no_circuit_is_an_error(ball):
    with pytest.raises(InputError, match="no circuit"):
        burgers_vector(ball, A, radius=18.0)
    with pytest.raises(InputError, match="no circuit"):
        burgers_vector(ball[:5], A)
    with pytest.raises(InputError, match="rows"):
        line_between_rows(ball[:1], (1, 1, 0))


def test_the_dislocation_survives_relaxation():
    dislocated = make_crystal("dislocation", atoms=800, seed=7)
    found = burgers_vector(dislocated.positions, A)
    np.testing.assert_allclose(found, HALF_110, atol=1e-6)
    np.testing.assert_allclose(dislocated.info["burgers_vector"], HALF_110, atol=1e-9)
    whole = make_crystal("bulk-large", atoms=800, seed=7)
    assert burgers_vector(whole.positions, A).tolist() == [0, 0, 0]
    assert whole.info["energy"] < dislocated.info["energy"]
