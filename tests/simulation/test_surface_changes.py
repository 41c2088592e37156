"""Crystals that dissolve or grow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import relaxed_ball

from prammol.core.errors import InputError
from prammol.evaluation.registration import register
from prammol.simulation.surface_changes import change_surface
from prammol.structure.atoms import Atoms

BALL = Atoms(relaxed_ball(10.0), "Al")


@pytest.mark.parametrize("number", [-7, 7])
def test_so_many_atoms_of_the_surface_change(number):
    changed = change_surface(BALL, number, seed=3)
    assert len(changed) == len(BALL) + number
    found = register(changed.positions, BALL.positions)
    same = found.partner >= 0
    assert same.sum() == min(len(changed), len(BALL))
    x = changed.positions if number > 0 else BALL.positions
    other = ~same if number > 0 else ~np.isin(np.arange(len(x)), found.partner)
    neighbours = cKDTree(x).query_ball_point(x[other], 3.5, return_length=True) - 1
    assert neighbours.max() < 12
    assert changed.info["energy"] / len(changed) < -2.5


def test_the_same_seed_is_the_same_crystal():
    again = [change_surface(BALL, -3, seed=1).positions for _ in range(2)]
    assert np.array_equal(*again)
    assert not np.array_equal(again[0], change_surface(BALL, -3, seed=2).positions)


def test_another_element_or_too_many_are_refused():
    with pytest.raises(InputError, match="atoms of Cu, expected one element, Al"):
        change_surface(Atoms(BALL.positions, "Cu"), -1)
    with pytest.raises(InputError, match="atoms can't change, expected at most half"):
        change_surface(BALL, -len(BALL))
