"""Twins: which of them patches show, whose peak is whose, and where what isn't seen would be."""

from __future__ import annotations

import numpy as np
import pytest
from twins import CELL, A, twinned

import prammol
from prammol.diffraction.bragg_patch import cubic_patch, paper_patches
from prammol.phasing.grains import mirrored, twin_normals, unseen_twins, visible_twins
from prammol.phasing.known_reflections import phased_patches
from prammol.phasing.own_peaks import of_one_grain, with_own_peaks

UNIT = 2 * np.pi / A
PLANES = [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)]


def measured(x, patches, flux=1e18):
    return prammol.simulate(prammol.Atoms(x, "Al"), flux, 1, patches)


def test_an_fcc_lattice_has_four_planes_of_twins():
    found = twin_normals(CELL)
    ideal = np.array(PLANES) / np.sqrt(3)
    assert len(found) == 4
    assert np.allclose(np.abs(np.array(found) @ ideal.T).max(axis=1), 1)


@pytest.mark.parametrize("plane", PLANES)
def test_the_twin_that_is_there_is_seen_and_no_other(plane):
    data = measured(twinned(plane, radius=14.0), paper_patches(32))
    (twin,) = visible_twins(data, CELL)
    n = np.array(plane) / np.sqrt(3)
    assert twin.parent == 0
    assert abs(twin.normal @ n) > 0.999
    for q in twin.peaks.values():
        # A reflection of the mirrored lattice is one of the first when it is mirrored back.
        back = mirrored(q[None], n)[0] / UNIT
        assert np.allclose(back, np.rint(back), atol=1e-6)
        assert len(set(np.rint(back).astype(int) % 2)) == 1


def test_a_perfect_crystal_has_no_twins():
    assert not visible_twins(measured(twinned(height=30.0), paper_patches(24)), CELL)


def test_a_brighter_peak_of_another_grain_is_not_taken():
    # Four fifths are the twin: its {200} outshine the {111} of the first grain in two patches,
    # and of the third only the first grain's is measured.
    x = twinned((1, 1, 1), height=-4.0)
    first = cubic_patch((-1, 1, 1), 0.15, 12, A)
    patches = [first, *paper_patches(24)[1:]]
    data = measured(x, patches)
    potential = prammol.aluminium()
    assert not of_one_grain(data.peaks(), potential)
    own = with_own_peaks(data, potential).peaks() / UNIT
    assert np.allclose(own, [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], atol=0.15)


def test_patches_that_are_phased_show_one_grain():
    turn = np.eye(3) - 2 / 3 * np.ones((3, 3))
    peaks = [*(turn @ np.array([(2, 0, 0), (0, 2, 0)]).T).T, *np.array(PLANES[1:])]
    patches = [cubic_patch(p, 0.25, 16, A) for p in peaks]
    data = measured(twinned(), patches)
    potential = prammol.aluminium()
    chosen, _ = phased_patches(data, potential)
    assert of_one_grain(data.peaks()[chosen], potential)
    # Two grains' peaks are no reflections of one crystal.
    assert not of_one_grain(data.peaks()[[0, 2, 3]], potential)


def test_a_grain_that_only_a_shared_peak_shows_is_named_with_its_reflections():
    narrow = [cubic_patch(p, 0.2, 16, A) for p in PLANES[1:]]
    data = measured(twinned((-1, 1, 1)), narrow)
    ((normal, peaks),) = unseen_twins(data, CELL)
    n = np.array([-1, 1, 1]) / np.sqrt(3)
    assert abs(normal @ n) > 0.999
    back = mirrored(peaks, n) / UNIT
    assert np.allclose(np.abs(back), 1, atol=1e-6)
    assert np.linalg.matrix_rank(peaks) == 3
    assert not unseen_twins(measured(twinned(height=30.0), narrow), CELL)
