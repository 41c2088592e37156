"""Layers of a crystal along its own planes: complete, named and without holes that aren't there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball

from prammol.core.errors import InputError
from prammol.structure.dislocation import add_screw
from prammol.structure.lattice_planes import LatticePlanes, parse_planes

A = 4.05
ASKEW = Rotation.from_rotvec([0.25, -0.4, 0.3]).as_matrix()


def bcc_ball(radius, a=2.87):
    n = int(radius / a) + 2
    cells = np.indices((2 * n + 1,) * 3).reshape(3, -1).T - n
    x = a * (cells[:, None] + np.array([[0, 0, 0], [0.5, 0.5, 0.5]])).reshape(-1, 3) + [0.3, 0.1, 0]
    return x[np.linalg.norm(x, axis=1) < radius]


@pytest.mark.parametrize(
    ("x", "edge", "plane", "part"),
    [
        (fcc_ball(12.0), A, (0, 0, 1), 0.5),
        (fcc_ball(12.0), A, (1, -1, 1), 1.0),
        (fcc_ball(12.0), A, (1, 1, 0), 0.5),
        (bcc_ball(9.0), 2.87, (1, 1, 0), 1.0),
        (bcc_ball(9.0), 2.87, (1, 1, 1), 0.5),
    ],
)
def test_layers_are_the_planes_of_a_crystal_mounted_askew(x, edge, plane, part):
    planes = LatticePlanes.of(x @ ASKEW.T)
    spacing = part * edge / np.linalg.norm(plane)
    assert planes.spacing(plane) == pytest.approx(spacing)
    height = x @ np.array(plane) / np.linalg.norm(plane)  # in the crystal's own frame
    own = np.rint((height - height[0]) / spacing)
    number = planes.layers(plane)
    np.testing.assert_array_equal(number - number[0], own)
    axes, right, up = planes.axes(plane)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    for direction, row in ((right, axes[0]), (up, axes[1]), (plane, axes[2])):
        unit = np.array(direction) / np.linalg.norm(direction)
        np.testing.assert_allclose(row, ASKEW @ unit, atol=1e-6)


def test_a_layer_has_a_hole_where_an_atom_is_missing_and_nowhere_else():
    x = fcc_ball(13.0)
    hole = x[np.linalg.norm(x - [2, 3, 1], axis=1).argmin()]
    left = x[np.linalg.norm(x - hole, axis=1) > 0.1]
    rng = np.random.default_rng(2)
    y = (left + rng.normal(size=left.shape) * 0.05) @ ASKEW.T
    planes = LatticePlanes.of(y)
    complete = np.abs(x[:, 2] - hole[2]) < 0.1
    layer = planes.layer((0, 0, 1), hole @ ASKEW.T)
    held = layer.holds(y)
    assert held.sum() == complete.sum() - 1
    flat = y[held] @ planes.axes((0, 0, 1))[0][:2].T
    assert cKDTree(flat).query(flat, k=2)[0][:, 1].min() > 0.8 * A / np.sqrt(2)
    # a slab as thick as a layer cuts a crystal mounted askew: what was drawn before
    slab = np.abs(y[:, 2] - (hole @ ASKEW.T)[2]) < A / 4
    assert (slab != held).sum() > 20


def test_layers_follow_a_crystal_that_is_bent():
    x = fcc_ball(14.0)
    bent = x + np.outer(0.004 * x[:, 0] ** 2, [0, 0, 1])  # by half a layer at the rim
    number = LatticePlanes.of(bent).layers((0, 0, 1))
    np.testing.assert_array_equal(number - number[0], np.rint((x[:, 2] - x[0, 2]) / (A / 2)))


def test_every_column_around_a_screw_dislocation_is_shown_once():
    x = fcc_ball(14.0)
    line = np.array([1, 1, 0]) / np.sqrt(2)
    # displaced along the columns: in projection each stays where it is
    y = add_screw(x, [0.5, 0.5, 0.3], line * A / np.sqrt(2))
    planes = LatticePlanes.of(y @ ASKEW.T)
    across = planes.axes((1, 1, 0))[0]
    middle = y[np.linalg.norm(y - [-5.0, 5.0, -4.0], axis=1).argmin()] @ ASKEW.T
    layer = planes.layer((1, 1, 0), middle)
    shown = (y @ ASKEW.T @ across[:2].T)[layer.holds(y @ ASKEW.T)]
    assert cKDTree(shown).query(shown, k=2)[0][:, 1].min() > 0.9 * A / np.sqrt(2)
    height = x @ line / (A / np.sqrt(8))
    own = height[np.linalg.norm(y @ ASKEW.T - middle, axis=1).argmin()]
    alike = np.rint(height - own) % 2 == 0
    inside = np.linalg.norm(x - np.outer(x @ line, line), axis=1) < 9.0
    columns = (x @ ASKEW.T @ across[:2].T)[alike & inside]
    # none is left out either, also behind the dislocation
    assert cKDTree(shown).query(columns)[0].max() < 0.2


def test_nothing_is_said_of_atoms_without_a_lattice():
    assert LatticePlanes.of(np.random.default_rng(1).uniform(-10, 10, (200, 3))) is None
    assert LatticePlanes.of(np.zeros((1, 3))) is None


def test_planes_are_read_as_they_are_written():
    assert parse_planes(["001", "1-10", "2,-2,4"]) == [(0, 0, 1), (1, -1, 0), (1, -1, 2)]
    for wrong in ([], ["11"], ["000"], ["1a1"], ["1,1,10"], ["001"] * 4):
        with pytest.raises(InputError, match="expected"):
            parse_planes(wrong)
