"""Reflections that weren't measured: where they are, and crystals that are found with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball

import prammol
from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import PAPER_LATTICE_CONSTANT, cubic_patch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.phasing.known_reflections import oriented, phased_patches

UNIT = 2 * np.pi / PAPER_LATTICE_CONSTANT


def measured(peaks, turn=None, points=8, larger=1.0):
    """Data of a perfect ball of fcc, turned and expanded, around some of its peaks."""
    turn = Rotation.identity() if turn is None else turn
    x = turn.apply(fcc_ball(9.0)) * larger
    patches, counts = [], []
    for peak in peaks:
        shape = cubic_patch([0, 0, 0], 0.3, points, PAPER_LATTICE_CONSTANT)
        patch = replace(shape, origin=shape.origin + turn.apply(UNIT * np.array(peak)) / larger)
        patches.append(patch)
        omega = direct_structure_factor(patch.q(), x)
        counts.append(np.rint(10 * np.abs(omega) ** 2).reshape(patch.shape))
    return Diffraction(patches, counts, meta={"element": "Al"}, source="d.h5")


@pytest.mark.parametrize("larger", [1.0, 1.06])
@pytest.mark.parametrize("pair", [((-1, 1, 1), (1, -1, 1)), ((2, 0, 0), (0, 2, 0))])
def test_two_peaks_of_a_turned_and_expanded_crystal_give_a_third(pair, larger):
    """It is a reflection of the crystal's own lattice, and completes it as far as peaks can."""
    turn = Rotation.from_rotvec([0.3, -0.8, 0.5])
    data = oriented(measured(pair, turn, larger=larger), prammol.aluminium())
    assert data.unmeasured.shape == (1, 3)
    hkl = turn.inv().apply(data.unmeasured[0]) / UNIT * larger
    assert hkl == pytest.approx(np.rint(hkl), abs=0.03)
    assert len({round(abs(h)) % 2 for h in hkl}) == 1  # of fcc: all even or all odd
    assert oriented(data, prammol.aluminium()) is data


def test_peaks_that_fit_two_orientations_are_refused():
    """The plane of (3 1 1) and (1 3 -1) is no mirror of fcc: the crystal may be its image."""
    data = measured([(3, 1, 1), (1, 3, -1)])
    with pytest.raises(DataError, match=r"allow \d orientations .* --known-peak"):
        oriented(data, prammol.aluminium())


def test_peaks_of_another_crystal_are_refused():
    data = measured([(-1, 1, 1), (1, -1, 1)])
    with pytest.raises(DataError, match=r"^d.h5: .* are no reflections of fcc Al"):
        oriented(data, replace(prammol.aluminium(), lattice_constant=5.5))


def test_one_peak_needs_the_user():
    data = measured([(-1, 1, 1)])
    assert oriented(data, prammol.aluminium()) is data
    with pytest.raises(DataError, match=r"only 1 of its 1 Bragg peaks .*--known-peak"):
        data.require_three_dimensions()
    known = UNIT * np.array([(1, -1, 1), (1, 1, -1)])
    replace(data, unmeasured=known).require_three_dimensions()


@pytest.mark.parametrize("wrong", [[[0.0, 0.0, 0.0]], [[np.nan, 1.0, 1.0]]])
def test_a_known_peak_is_a_vector(wrong):
    with pytest.raises(InputError, match="known peak"):
        replace(measured([(-1, 1, 1)]), unmeasured=np.array(wrong))


def test_missing_patches_are_replaced_in_turn():
    """By as few known reflections as needed, and none where three peaks were measured."""
    two = measured([(-1, 1, 1), (1, -1, 1)])
    # The first lies in the plane of the two.
    known = UNIT * np.array([(0, 0, 2), (1, 1, -1), (1, 1, 1)])
    chosen, more = phased_patches(replace(two, unmeasured=known), prammol.aluminium())
    assert chosen == [0, 1]
    np.testing.assert_array_equal(more, known[1:2])
    three = replace(measured([(-1, 1, 1), (1, -1, 1), (1, 1, -1)]), unmeasured=known)
    chosen, more = phased_patches(three, prammol.aluminium())
    assert sorted(chosen) == [0, 1, 2]
    assert more.shape == (0, 3)


@pytest.mark.parametrize("peaks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_crystal_is_found_from_fewer_peaks_than_dimensions(peaks):
    """Exactly, at a flux where three peaks have far more photons than they need."""
    truth = prammol.make_crystal("bulk", atoms=250, seed=6)
    full = prammol.simulate(truth, 1e20, 1, prammol.paper_patches(28))
    data = full.of_patches(range(peaks))
    if peaks == 1:
        data = replace(data, unmeasured=full.peaks()[peaks:])
    support = prammol.support_from_truth(truth)
    result = prammol.reconstruct(data, support, seed=1, settings={"error_bars": False})
    found = prammol.evaluate(result.atoms, truth, with_resolution=False)
    assert result.converged
    assert found.n_missing == found.n_extra == 0
    assert found.mae_pm < 1.0
