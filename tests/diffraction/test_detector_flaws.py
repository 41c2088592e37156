"""Zingers and saturation: what was put in is found, and nothing in ideal counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from small_crystal import fcc_ball

from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.detector_flaws import (
    flaws_text,
    masked_flaws,
    saturated,
    zingers,
)
from prammol.diffraction.structure_factor import StructureFactor


def cube(cells):
    """An fcc cube along the axes of the grid: between its fringes it is dark in planes."""
    corners = np.array(np.meshgrid(*[np.arange(cells)] * 3)).reshape(3, -1).T
    basis = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
    return 4.05 * (corners[:, None] + basis).reshape(-1, 3)


def sampled(x, per_fringe, rng):
    """The paper's patches with so many points per fringe, their grids shifted at random."""
    step = 2 * np.pi / (per_fringe * np.ptp(x, axis=0).max())
    n = int(1.2 * 2 * np.pi / 4.05 / step) + 1
    return [
        BraggPatch(p.middle - step * (n / 2 - rng.random(3)), np.eye(3) * step, (n,) * 3)
        for p in paper_patches(5)
    ]


def counted(x, patches, scale, rng):
    intensity = np.abs(StructureFactor(patches, 1e-12).forward(x)) ** 2
    flat = rng.poisson(scale**2 * intensity).astype(float)
    parts = np.split(flat, np.cumsum([p.size for p in patches])[:-1])
    return Diffraction(patches, [c.reshape(p.shape) for c, p in zip(parts, patches, strict=True)])


def centres_of_mass(data):
    """The peaks of ideal data: around the brightest point, whatever is around it."""
    out = []
    for patch, counts in zip(data.patches, data.counts, strict=True):
        top = np.array(np.unravel_index(counts.argmax(), counts.shape))
        index = np.indices(counts.shape).reshape(3, -1).T
        index = index[np.abs(index - top).max(axis=1) <= 2]
        weight = counts[tuple(index.T)]
        out.append(weight @ patch.at(index) / weight.sum())
    return np.array(out)


@pytest.mark.parametrize("x", [fcc_ball(10.0), cube(7)], ids=len)
@pytest.mark.parametrize("per_fringe", [2.0, 2.5])
def test_ideal_counts_have_no_flaws_and_the_same_peaks(x, per_fringe):
    rng = np.random.default_rng(1)
    for scale in (0.02, 0.1, 0.5, 3.0, 20.0):
        data = counted(x, sampled(x, per_fringe, rng), scale, rng)
        assert not any(z.any() for z in zingers(data))
        assert not any(s.points.any() for s in saturated(data))
        assert masked_flaws(data) is data
        assert flaws_text(data) == ""
        if all(c.any() for c in data.counts):
            assert_array_equal(data.peaks(), centres_of_mass(data))


@pytest.fixture
def ideal():
    return counted(fcc_ball(8.5), paper_patches(24), 1.0, np.random.default_rng(2))


@pytest.fixture
def spoilt(ideal):
    """Counts with 1 % zingers, and which points these are."""
    rng = np.random.default_rng(3)
    hit = [rng.random(c.shape) < 0.01 for c in ideal.counts]
    more = [np.rint(rng.uniform(10, 1e6, c.shape)) for c in ideal.counts]
    counts = [c + h * m for c, h, m in zip(ideal.counts, hit, more, strict=True)]
    return replace(ideal, counts=counts), hit


def test_zingers_are_found_and_nothing_else_is(spoilt):
    data, hit = spoilt
    found = zingers(data)
    assert all((h | ~z).all() for z, h in zip(found, hit, strict=True))
    assert sum(z.sum() for z in found) > 0.95 * sum(h.sum() for h in hit)
    assert_array_equal(masked_flaws(data).valid, [~z for z in found])


def test_zingers_brighter_than_the_peak_dont_move_it(ideal, spoilt):
    # Those within its two points that are no brighter may, by less than a point.
    step = ideal.patches[0].step[0, 0]
    far = np.linalg.norm(spoilt[0].peaks() - ideal.peaks(), axis=1)
    assert far.max() < step
    brightest = [c.argmax() for c in spoilt[0].counts]
    assert brightest != [c.argmax() for c in ideal.counts]


def test_a_point_in_a_hole_of_the_mask_is_not_judged(ideal):
    counts = [c.copy() for c in ideal.counts]
    valid = [np.ones(c.shape, dtype=bool) for c in counts]
    counts[0][5, 5, 5] = 1e7
    data = replace(ideal, counts=counts, valid=valid)
    assert np.argwhere(zingers(data)[0]).tolist() == [[5, 5, 5]]
    valid[0][3:8, 3:8, 3:8] = False
    valid[0][5, 5, 4:7] = True
    assert not zingers(data)[0].any()


def test_saturated_points_are_those_at_the_limit(ideal):
    limit = 0.5 * min(c.max() for c in ideal.counts)
    counts = [np.minimum(c, np.floor(limit)) for c in ideal.counts]
    counts[2] = ideal.counts[2] * 0.1 // 1  # behind an absorber
    data = replace(ideal, counts=counts)
    first, second, third = saturated(data)
    for part, whole in zip((first, second), ideal.counts, strict=False):
        assert part.value == np.floor(limit)
        assert_array_equal(part.points, whole >= np.floor(limit))
    assert not third.points.any()
    assert np.isnan(third.value)
    text = flaws_text(data)
    assert f"{first.points.sum()} points of patch 1 ({np.floor(limit):.0f} counts)" in text
    assert "patch 3" not in text
    assert not masked_flaws(data).valid[0][first.points].any()
