"""Bragg patches against their definition written out."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import Rank

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import (
    BraggPatch,
    cubic_patch,
    paper_patches,
    require_independent,
    shard,
)

SHEARED = np.array([[0.03, 0.002, -0.001], [0.007, 0.028, 0.003], [-0.004, 0.005, 0.031]])


def test_points_are_origin_plus_index_times_step_in_c_order():
    origin = np.array([1.0, -2.0, 0.5])
    patch = BraggPatch(origin, SHEARED, (2, 3, 4))
    expected = [
        origin + i * SHEARED[0] + j * SHEARED[1] + k * SHEARED[2]
        for i in range(2)
        for j in range(3)
        for k in range(4)
    ]
    np.testing.assert_allclose(patch.q(), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 3), (1, 2, 3)])
def test_middle_is_the_point_at_half_the_shape(shape):
    patch = BraggPatch([0.1, 0.2, 0.3], SHEARED, shape)
    number = np.ravel_multi_index(tuple(n // 2 for n in shape), shape)
    np.testing.assert_allclose(patch.middle, patch.q()[number], atol=1e-15)


def test_planes_are_the_rows_of_the_whole():
    patch = BraggPatch([0.1, 0.2, 0.3], SHEARED, (5, 4, 3))
    np.testing.assert_allclose(patch.planes(2, 4).q(), patch.q()[2 * 12 : 4 * 12], atol=1e-15)


def test_voxel_is_dual_to_the_step():
    shape = (4, 5, 6)
    voxel = BraggPatch([0, 0, 0], SHEARED, shape).voxel()
    # One voxel along an axis changes the phase of one step along it by 2 pi / n.
    np.testing.assert_allclose(
        SHEARED @ voxel.T, 2 * np.pi * np.diag(1 / np.array(shape)), atol=1e-14
    )


def test_paper_patches_cover_04_to_16_around_their_peaks():
    patches = paper_patches()
    assert [p.shape for p in patches] == [(50, 50, 50)] * 3
    for patch, peak in zip(patches, [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], strict=True):
        hkl = patch.q() * 4.05 / (2 * np.pi)
        np.testing.assert_allclose(hkl.mean(axis=0), peak, atol=1e-12)
        np.testing.assert_allclose(np.abs(hkl).min(axis=0), 0.4, atol=1e-12)
        np.testing.assert_allclose(np.abs(hkl).max(axis=0), 1.6, atol=1e-12)


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("planes", [(5, 4, 3), (2, 1, 1)])
def test_slabs_of_all_ranks_are_the_whole_once(size, planes):
    patches = [BraggPatch([i, 0, 0], SHEARED, (n, 2, 2)) for i, n in enumerate(planes)]
    seen = []
    for rank in range(size):
        mine = [
            (s.patch_index, i)
            for s in shard(patches, Rank(rank, size))
            for i in range(s.start, s.stop)
        ]
        assert len(mine) in {sum(planes) // size, sum(planes) // size + 1}
        seen += mine
    assert seen == [(k, i) for k, n in enumerate(planes) for i in range(n)]


def test_three_independent_peaks_pass():
    require_independent([p.middle for p in paper_patches()], "here")


@pytest.mark.parametrize(
    ("peaks", "missing"),
    [
        ([(1, 0, 0), (0, 1, 0)], "(0.00, 0.00, 1.00)"),
        ([(1, 1, 1), (2, 2, 2)], " and "),
        ([(1, 0, 0), (0, 1, 0), (1, 1, 0), (1, -1, 0)], "(0.00, 0.00, 1.00)"),
    ],
)
def test_dependent_peaks_are_refused_with_what_is_undetermined(peaks, missing):
    with pytest.raises(DataError, match="three independent peaks are needed") as error:
        require_independent(peaks, "scan.h5")
    assert "scan.h5" in str(error.value)
    assert missing in str(error.value)


@pytest.mark.parametrize(
    ("origin", "step", "shape"),
    [
        ([0, 0], np.eye(3), (2, 2, 2)),
        ([0, 0, 0], np.eye(2), (2, 2, 2)),
        ([0, 0, 0], np.eye(3), (2, 2)),
        ([0, 0, 0], np.eye(3), (2, 0, 2)),
        ([0, 0, np.nan], np.eye(3), (2, 2, 2)),
        ([0, 0, 0], np.diag([1, 1, 0]), (2, 2, 2)),
    ],
)
def test_wrong_patches_are_refused(origin, step, shape):
    with pytest.raises(InputError, match="Bragg patch"):
        BraggPatch(origin, step, shape)


def test_a_patch_of_one_point_along_an_edge_is_refused():
    with pytest.raises(InputError, match="at least 2 points"):
        cubic_patch((1, 1, 1), 0.6, 1, 4.05)


def test_some_points_and_one_component_are_those_of_all():
    step = np.array([[0.05, 0.01, 0.0], [0.0, 0.06, 0.02], [0.01, 0.0, 0.04]])
    patch = BraggPatch([1.0, -2.0, 3.0], step, (3, 4, 5))
    i, j, k = np.indices(patch.shape).reshape(3, -1)
    expected = patch.origin + np.outer(i, step[0]) + np.outer(j, step[1]) + np.outer(k, step[2])
    np.testing.assert_allclose(patch.q_of(7, 33), expected[7:33], atol=1e-14)
    for axis in range(3):
        np.testing.assert_allclose(patch.component(axis), expected[:, axis], atol=1e-14)
