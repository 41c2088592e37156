"""Measured diffraction: what is refused, where its peaks are, the share of a rank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_crystal import Rank, fcc_ball, simulate

from prammol.core.errors import DataError, InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.response import Response

SHAPES = [(5, 4, 3), (3, 2, 6), (4, 3, 2)]


@pytest.fixture
def data(rng):
    """Three patches of different shapes, one point in five masked, NaN under the mask."""
    patches = [BraggPatch(rng.normal(size=3), rng.normal(size=(3, 3)), shape) for shape in SHAPES]
    counts = [rng.poisson(20, shape).astype(float) for shape in SHAPES]
    valid = [rng.random(shape) > 0.2 for shape in SHAPES]
    for c, v in zip(counts, valid, strict=True):
        c[~v] = np.nan
    return Diffraction(patches, counts, valid)


@pytest.mark.parametrize("size", range(1, 8))
def test_shares_of_all_ranks_joined_are_the_whole(data, size):
    shares = [local_shard(data, Rank(r, size)) for r in range(size)]

    def joined(name):
        return np.concatenate([getattr(s, name) for s in shares])

    total = sum(p.size for p in data.patches)
    assert {s.total_points for s in shares} == {total}
    assert_array_equal(joined("global_index"), np.arange(total))
    valid = np.concatenate([v.ravel() for v in data.valid])
    counts = np.concatenate([c.ravel() for c in data.counts])
    assert_array_equal(joined("valid"), valid)
    assert_array_equal(joined("counts"), np.where(valid, counts, 0))
    assert_array_equal(joined("patch_index"), np.repeat([0, 1, 2], [p.size for p in data.patches]))
    q = np.concatenate([p.q() for s in shares for p in s.patches])
    assert_allclose(q, np.concatenate([p.q() for p in data.patches]), atol=1e-14)
    for s in shares:
        assert s.size == sum(p.size for p in s.patches)


def test_masked_points_have_no_weight(data):
    total = sum(np.nansum(c) for c in data.counts)
    assert data.total_counts == total
    share = local_shard(data, Communicator())
    assert np.isfinite(share.counts).all()
    assert not share.counts[~share.valid].any()


def test_masked_counts_may_be_anything(data):
    other = [np.where(v, c, -7.0) for c, v in zip(data.counts, data.valid, strict=True)]
    again = Diffraction(data.patches, other, data.valid)
    assert_array_equal(
        local_shard(again, Communicator()).counts, local_shard(data, Communicator()).counts
    )
    assert_array_equal(again.peaks(), data.peaks())


def test_peaks_are_at_the_centre_of_the_brightest_spot():
    patches = paper_patches(points=21)
    where = [p.middle + np.array([0.011, -0.02, 0.007]) for p in patches]
    counts = [
        1e5 * np.exp(-(np.linalg.norm(p.q() - w, axis=1) ** 2) / 0.07**2).reshape(p.shape)
        for p, w in zip(patches, where, strict=True)
    ]
    step = patches[0].step[0, 0]
    assert_allclose(Diffraction(patches, counts).peaks(), where, atol=0.3 * step)


def test_a_hot_pixel_under_the_mask_is_no_peak():
    patches = paper_patches(points=9)
    counts = [np.zeros(p.shape) for p in patches]
    valid = [np.ones(p.shape, bool) for p in patches]
    for c, v in zip(counts, valid, strict=True):
        c[3, 4, 5], c[8, 8, 8] = 10.0, 1e9
        v[8, 8, 8] = False
    expected = [p.origin + np.array([3, 4, 5]) @ p.step for p in patches]
    assert_allclose(Diffraction(patches, counts, valid).peaks(), expected, atol=1e-12)


def test_three_independent_peaks_are_required():
    patches = paper_patches(points=5)
    counts = [np.zeros((5, 5, 5)) for _ in patches]
    for c in counts:
        c[2, 2, 2] = 1
    Diffraction(patches, counts).require_three_dimensions()
    two = Diffraction(patches[:2], counts[:2], source="two.h5")
    with pytest.raises(DataError, match=r"two\.h5: only 2 of its 2 Bragg peaks"):
        two.require_three_dimensions()


def test_wrong_counts_are_refused_with_the_patch_named():
    patches = paper_patches(points=4)
    good = [np.ones((4, 4, 4)) for _ in patches]

    def second(value):
        return [good[0], value, good[2]]

    negative, nan = np.ones((4, 4, 4)), np.ones((4, 4, 4))
    negative[1, 2, 3], nan[1, 2, 3] = -1, np.nan
    for counts, text in (
        (second(np.ones((4, 4, 3))), r"counts of patch 2 have shape \(4, 4, 3\)"),
        (second(negative), "counts of patch 2 contain negative"),
        (second(nan), "counts of patch 2 contain NaN"),
        (good[:2], "3 patches, 2 arrays of counts"),
    ):
        with pytest.raises(InputError, match=text):
            Diffraction(patches, counts)
    with pytest.raises(InputError, match="0 patches"):
        Diffraction([], [])


def test_no_photon_at_all_is_refused():
    patches = paper_patches(points=4)
    with pytest.raises(DataError, match="not one photon"):
        Diffraction(patches, [np.zeros(p.shape) for p in patches])


@pytest.fixture
def ball_counts():
    return simulate(fcc_ball(6.0), points=8)


def changed(ball_counts, patch, change):
    """The same with other counts in one patch."""
    counts = [change(c) if k == patch else c for k, c in enumerate(ball_counts.counts)]
    return Diffraction(ball_counts.patches, counts, meta=ball_counts.meta, source="d.h5")


def test_a_patch_without_a_photon_is_named(ball_counts):
    dark = changed(ball_counts, 1, np.zeros_like)
    with pytest.raises(DataError, match=r"d\.h5: patch 2 has no photon .* leave the patch out"):
        dark.require_three_dimensions()


def test_a_patch_that_is_masked_or_all_background_is_named(ball_counts):
    valid = [np.full(p.shape, k != 2) for k, p in enumerate(ball_counts.patches)]
    with pytest.raises(DataError, match="patch 3 has no valid point, its mask hides all"):
        Diffraction(ball_counts.patches, ball_counts.counts, valid).require_three_dimensions()
    high = [np.full(p.shape, 1e9 if k == 0 else 0.0) for k, p in enumerate(ball_counts.patches)]
    with pytest.raises(DataError, match="patch 1 has no photon beyond its background"):
        Diffraction(
            ball_counts.patches, ball_counts.counts, background=high
        ).require_three_dimensions()


@pytest.mark.parametrize("value", [1.1e18, 1e300])
def test_counts_beyond_all_measure_are_refused(ball_counts, value):
    with pytest.raises(InputError, match=r"counts of patch 1 go up to .* at most 1e\+18"):
        changed(ball_counts, 0, lambda c: np.where(c == c.max(), value, c))
    with pytest.raises(InputError, match="background of patch 1"):
        Diffraction(
            ball_counts.patches, ball_counts.counts, background=[np.full((8, 8, 8), value)] * 3
        )


def test_normalised_counts_are_refused(ball_counts):
    top = max(c.max() for c in ball_counts.counts)
    low = Diffraction(ball_counts.patches, [c / top for c in ball_counts.counts])
    with pytest.raises(DataError, match=r"brightest point has 1 counts .* normalised"):
        low.require_three_dimensions()


def test_masks_that_hide_all_or_most_are_named(data):
    none = [np.zeros(c.shape, bool) for c in data.counts]
    with pytest.raises(DataError, match="has no valid point, the masks hide all"):
        Diffraction(data.patches, data.counts, none)
    assert data.mostly_masked() == []
    whole = [np.nan_to_num(c, nan=1.0) for c in data.counts]
    inverted = Diffraction(data.patches, whole, [~v for v in data.valid])
    assert inverted.mostly_masked() == [
        (k, pytest.approx(v.mean())) for k, v in enumerate(data.valid)
    ]


def test_some_patches_keep_all_that_is_known_of_them(data):
    """The second and the first, not the third, in this order; else nothing changes."""
    numbers = range(len(data.patches))
    known = {
        "background": [np.full(p.shape, 1.0 + k) for k, p in enumerate(data.patches)],
        "gain": [np.full(p.shape, 2.0 + k) for k, p in enumerate(data.patches)],
        "response": Response.of(len(numbers), np.outer(1.0 + np.arange(len(numbers)), np.ones(3))),
    }
    whole = replace(data, **known)
    some = whole.of_patches([1, 0])
    for k, source in enumerate((1, 0)):
        assert some.patches[k] is whole.patches[source]
        for name in ("counts", "valid", "background", "gain"):
            assert_array_equal(getattr(some, name)[k], getattr(whole, name)[source])
    assert some.response.box[:, 0].tolist() == [2.0, 1.0]
    assert some.response.blur.shape == (2, 3)
    assert (some.meta, some.geometry, some.source) == (whole.meta, whole.geometry, whole.source)
    assert not data.of_patches([0]).background
