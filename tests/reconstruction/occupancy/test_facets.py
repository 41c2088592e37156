"""A facet moved to the opposite side."""

from __future__ import annotations

import numpy as np
import pytest
from cut_crystals import FCC
from scipy.spatial import cKDTree

from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.facets import moved_facets
from prammol.structure.vacant_sites import vacant_sites


def sheet() -> np.ndarray:
    cells = np.indices((8,) * 3).reshape(3, -1).T - 4
    x = (cells[:, None] + FCC).reshape(-1, 3) * 4.05
    return x[(np.abs(x[:, 0] - 0.3) < 5) & (np.abs(x[:, 1]) < 11) & (np.abs(x[:, 2]) < 9)]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_facet_on_the_wrong_side_comes_back(axis):
    x, metal = sheet(), aluminium()
    step = np.zeros(3)
    thick = np.ptp(x[:, axis]) + 4.05 / 2
    step[axis] = thick
    step[(axis + 1) % 3] = 0.0 if round(thick / 4.05, 6).is_integer() else 4.05 / 2
    wrong = x.copy()
    wrong[x[:, axis] < x[:, axis].min() + 0.5] += step
    vacant = vacant_sites(wrong, metal.bond_reach, metal.neighbour_distance)
    found = list(moved_facets(wrong, vacant, metal.bond_reach, metal.neighbour_distance))
    assert all(len(y) == len(x) for y in found)

    def left(y: np.ndarray) -> int:
        return int((cKDTree(y).query(x)[0] > 0.1).sum())

    assert left(wrong) > 10
    assert min(map(left, found)) <= 0.25 * left(wrong)


def test_without_vacant_sites_there_is_nothing_to_move_to():
    assert list(moved_facets(sheet(), np.empty((0, 3)), 3.5, 2.86)) == []
