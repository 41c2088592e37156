"""Pixels and blur against sums on many points within each."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball
from sub_points import seen

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.deconvolution import deconvolved
from prammol.diffraction.response import Convolution, Extent, Response, detected, widened
from prammol.diffraction.structure_factor import direct_structure_factor

WIDTHS = [(1.0, 0.0), (3.0, 0.0), (0.0, 0.3), (0.0, 0.7), (0.0, 1.0), ((1, 0, 2.5), (0, 0.5, 0.4))]


@pytest.fixture(scope="module")
def x():
    return fcc_ball(7.0)


@pytest.fixture(scope="module")
def patches():
    skew = np.array([[0.06, 0.01, 0.0], [0.0, 0.055, 0.01], [0.005, 0.0, 0.06]])
    return [
        BraggPatch(np.array([-1.55, 1.55, 1.55]) - 8 * skew.sum(axis=0), skew, (17, 16, 18)),
        cubic_patch((1, 1, -1), 0.3, 16, 4.05),
    ]


def power_of(patches, x):
    return np.concatenate([np.abs(direct_structure_factor(p.q(), x)) ** 2 for p in patches])


def convolution(response, patches, x, photons=1e8):
    counts = np.full(sum(p.size for p in patches), photons / sum(p.size for p in patches))
    index = list(range(len(patches)))
    extent = Extent(x)
    return Convolution(
        response, patches, patches, index, extent, counts, counts > 0, Communicator()
    )


@pytest.mark.parametrize(("box", "blur"), WIDTHS)
def test_the_response_is_the_mean_over_the_pixel(x, patches, box, blur, rng):
    made = convolution(Response.of(2, box, blur), patches, x)
    got = made.apply(power_of(patches, x))
    assert made.reached.mean() > 0.5
    first = 0
    for patch in patches:
        points = rng.choice(np.flatnonzero(made.reached[first : first + patch.size]), 12, False)
        order = 8 if np.ndim(box) == 0 else 5
        expected = seen(patch, x, box, blur, points, order)
        beside = power_of([patch], x).mean()
        assert got[first + points] == pytest.approx(expected, rel=2e-3, abs=1e-4 * beside)
        first += patch.size


def test_without_widths_there_is_no_response():
    assert Response.of(3) is None
    assert Response.of(3, 0.0, (0, 0, 0)) is None


@pytest.mark.parametrize(("box", "blur"), WIDTHS[1::2])
def test_the_adjoint_is_exact(x, patches, box, blur, rng):
    made = convolution(Response.of(2, box, blur), patches, x)
    a, b = rng.normal(size=(2, 3, sum(p.size for p in patches)))
    assert np.vdot(made.apply(a), b) == pytest.approx(np.vdot(a, made.adjoint(b)), rel=1e-11)
    assert made.apply(a)[1] == pytest.approx(made.apply(a[1]), abs=1e-12)


def test_planes_that_miss_more_than_their_photons_notice_are_left_out(x, patches):
    response = Response.of(2, 3.0)
    parts = [convolution(response, patches, x, n).reached.mean() for n in (1e4, 1e11, 1e15)]
    assert 1.0 >= parts[0] > parts[1] > parts[2] > 0.1


def test_points_too_far_apart_are_refused(x, patches):
    wide = BraggPatch(patches[1].origin, 4 * patches[1].step, patches[1].shape)
    with pytest.raises(
        InputError, match=r"patch 2: the object fills 0\.\d+ of the period .*axis 2"
    ):
        convolution(Response.of(2, 1.0), [patches[0], wide], x)
    with pytest.raises(InputError, match="patch 1: the object fills"):
        detected(Response.of(1, 1.0), [wide], np.ones(widened(wide, 2).size), 2, Extent(x))


@pytest.mark.parametrize("width", [-1.0, np.nan, 21.0])
def test_impossible_widths_are_refused(width):
    with pytest.raises(InputError, match=r"the blur of the response is .*expected 0 to 20 steps"):
        Response.of(2, 1.0, (0.0, width, 0.0))
    with pytest.raises(InputError, match="shape"):
        Response(np.ones((2, 3)), np.ones((3, 3)))


def test_a_response_is_of_all_patches(x, patches):
    counts = [np.ones(p.shape) for p in patches]
    with pytest.raises(InputError, match="the response is of 3 patches, expected 2"):
        Diffraction(patches, counts, response=Response.of(3, 1.0))


def test_with_points_beyond_its_edges_the_whole_patch_is_right(x, patches, rng):
    wide = [widened(p, 12) for p in patches]
    response = Response.of(2, 3.0, 0.5)
    got = detected(response, patches, power_of(wide, x), 12, Extent(x))
    points = np.concatenate([[0, patches[0].size - 1], rng.integers(0, patches[0].size, 4)])
    assert got[points] == pytest.approx(seen(patches[0], x, 3.0, 0.5, points, 6), rel=2e-3)


def test_curved_patches_are_refused_by_a_simulation(patches):
    q = patches[0].q().reshape(*patches[0].shape, 3)
    with pytest.raises(InputError, match="affine grids only"):
        widened(CurvedPatch(q), 2)


@pytest.mark.parametrize(("box", "blur"), [(3.0, 0.0), (0.0, 0.7), (0.0, 1.0)])
def test_deconvolution_brings_the_amplitudes_closer(x, patches, box, blur, rng):
    sharp = [3.0 * s for s in np.split(power_of(patches, x), [patches[0].size])]
    seen_ = convolution(Response.of(2, box, blur), patches, x).apply(np.concatenate(sharp))
    counts = [
        rng.poisson(np.maximum(c, 0) + 2.0).reshape(p.shape).astype(float)
        for c, p in zip(np.split(seen_, [patches[0].size]), patches, strict=True)
    ]
    dark = [np.full(p.shape, 2.0) for p in patches]
    data = Diffraction(patches, counts, background=dark, response=Response.of(2, box, blur))
    found = deconvolved(data, Extent(x), [0])
    assert found.response is None
    assert np.array_equal(found.counts[1], counts[1])

    def off(values):
        return np.linalg.norm(np.sqrt(values).ravel() - np.sqrt(sharp[0]))

    assert off(found.counts[0]) < 0.8 * off(np.maximum(counts[0] - 2.0, 0.0))
    assert deconvolved(found, Extent(x), [0]) is found
