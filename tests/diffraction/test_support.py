"""Supports: which points they contain, on cubic and on sheared grids."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.errors import InputError
from prammol.diffraction.support import Support, support_from_truth
from prammol.structure.atoms import Atoms

SHEARED = np.array([[2.0, 0.3, 0.0], [0.0, 3.0, -0.5], [0.4, 0.0, 2.5]])


def test_coarse_graining_keeps_the_voxels_that_hold_an_atom():
    x = np.array([[0.1, 0.1, 0.1], [4.9, 4.9, 4.9], [-0.1, 0.2, 0.3], [12.0, -7.0, 1.0]])
    support = support_from_truth(Atoms(x, "Al"), 5.0)
    voxels = {(0, 0, 0), (-1, 0, 0), (2, -2, 0)}
    assert support.inside.sum() == len(voxels)
    found = {tuple(np.rint(c / 5.0 - 0.5).astype(int).tolist()) for c in support.centres()}
    assert found == voxels
    assert support.volume == pytest.approx(3 * 125)
    assert support.contains(x).all()
    # all of a voxel is inside, a hair beyond its faces isn't
    assert support.contains(np.array([[10.01, -9.99, 0.01], [14.99, -5.01, 4.99]])).all()
    beyond = [[9.99, -7, 1], [15.01, -7, 1], [12, -4.99, 1], [12, -10.01, 1], [12, -7, 5.01]]
    assert not support.contains(np.array(beyond)).any()
    assert not support.contains(np.array([[500.0, 0, 0], [-500.0, 0, 0]])).any()


@pytest.mark.parametrize("resolution", [3.0, 5.0, 8.0])
def test_every_atom_is_inside_and_every_voxel_has_one(resolution):
    x = fcc_ball(14.0) + 0.123
    support = support_from_truth(Atoms(x, "Al"), resolution)
    assert support.contains(x).all()
    boxes = {tuple(v) for v in np.floor(x / resolution).astype(int).tolist()}
    assert support.inside.sum() == len(boxes)
    # larger than the crystal by less than a shell of one voxel
    ball = 4 / 3 * np.pi * np.array([12.0, 14.0 + 3**0.5 * resolution]) ** 3
    assert ball[0] < support.volume < ball[1]


def test_voxels_may_be_sheared(rng):
    inside = rng.random((4, 5, 6)) < 0.4
    support = Support([1.0, -2.0, 3.0], SHEARED, inside)
    assert support.volume == pytest.approx(inside.sum() * np.linalg.det(SHEARED))
    index = np.argwhere(np.ones_like(inside))
    # any point of a voxel, in the coordinates of its edges
    x = (index + rng.uniform(-0.49, 0.49, index.shape)) @ SHEARED + [1.0, -2.0, 3.0]
    assert np.array_equal(support.contains(x), inside.ravel())
    assert support.contains(support.centres()).all()
    np.testing.assert_allclose(
        support.centres(), [i @ SHEARED + [1.0, -2.0, 3.0] for i in np.argwhere(inside)]
    )


@pytest.mark.parametrize(
    ("origin", "voxel", "inside", "match"),
    [
        ([0, 0], np.eye(3), np.ones((2, 2, 2)), "origin"),
        ([0, 0, 0], np.eye(2), np.ones((2, 2, 2)), "voxel"),
        ([0, 0, 0], np.eye(3), np.ones((2, 2)), "3-D"),
        ([0, 0, 0], np.eye(3), np.zeros((2, 2, 2)), "empty"),
    ],
)
def test_wrong_supports_are_refused(origin, voxel, inside, match):
    with pytest.raises(InputError, match=match):
        Support(origin, voxel, inside)


@pytest.mark.parametrize("resolution", [0.0, -1.0, np.nan])
def test_a_wrong_resolution_is_refused(resolution):
    with pytest.raises(InputError, match="resolution"):
        support_from_truth(Atoms(fcc_ball(5.0), "Al"), resolution)
