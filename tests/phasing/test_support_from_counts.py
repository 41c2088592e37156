"""Support from the data alone: known shapes, a simulated crystal, gaps, bad input."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import fcc_ball, simulate

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.io import read_support, write_diffraction
from prammol.phasing import support_from_counts as phase_retrieval
from prammol.phasing.support_from_counts import (
    Shape,
    autocorrelation_support,
    index_window,
    mean_amplitude,
    retrieve_shape,
    support_from_data,
)

needs_cohere = pytest.mark.skipif(
    importlib.util.find_spec("cohere_core") is None, reason="cohere_core isn't installed"
)


def lopsided() -> np.ndarray:
    """A piece of fcc crystal without any centre of inversion, about 250 atoms."""
    x = fcc_ball(12.0)
    x = x[(x[:, 0] + 0.5 * x[:, 1] > -4.0) & (x[:, 2] - x[:, 0] < 9.0)]
    return x - x.mean(axis=0)


@pytest.fixture(scope="module")
def crystal():
    return lopsided()


@pytest.fixture(scope="module")
def data(crystal):
    return simulate(crystal, points=24, scale=1.9, seed=3)


def laid_over(support, x):
    """Atoms in the frame of a support: the best of both inversions and many shifts."""
    steps = np.arange(-4, 4.01, 1.0)
    shifts = support.centres().mean(axis=0) + np.array(list(itertools.product(steps, repeat=3)))
    trials = [s * x + t for s in (1, -1) for t in shifts]
    tree = cKDTree(support.centres())
    return min(trials, key=lambda y: (-support.contains(y).sum(), (tree.query(y)[0] ** 2).sum()))


def blobs(x):
    """A smooth shape without symmetry, (n, 3) [Å] to (n,)."""
    parts = ((0, 0, 0, 1.0), (12, 3, -2, 0.8), (-4, 11, 5, 0.6))
    return sum(h * np.exp(-((x - c) ** 2).sum(axis=1) / 60) for *c, h in parts)


def real_grid(patch):
    index = np.indices(patch.shape).reshape(3, -1).T - np.array(patch.shape) // 2
    return index @ patch.voxel()


@pytest.mark.parametrize("sign", [1, -1])
def test_shapes_are_laid_over_each_other_on_different_grids(sign):
    first = paper_patches(32)[0]
    shear = np.array([[1, 0.2, 0], [0, 1.1, 0.1], [-0.1, 0, 0.9]])
    second = BraggPatch(first.origin, shear @ first.step, (36, 30, 34))
    shift = np.array([2.3, -4.1, 1.7])
    one = Shape(first, blobs(real_grid(first)).reshape(first.shape), (0.001,))
    other = 5.0 * blobs(sign * (real_grid(second) - shift)).reshape(second.shape)
    mean, correlation = mean_amplitude([one, Shape(second, other, (0.002,))])
    assert correlation[0] == pytest.approx(1.0, abs=1e-9)
    assert correlation[1] > 0.9995
    # both are the same shape, so their mean has it, too
    both = np.corrcoef(mean.ravel(), one.amplitude.ravel())[0, 1]
    assert both > 0.9995
    assert np.abs(mean / mean.max() - one.amplitude / one.amplitude.max()).max() < 0.03


def test_the_autocorrelation_holds_every_difference_of_two_points():
    shape = (20, 22, 24)
    points = np.array([(3, 4, 5), (6, 4, 5), (3, 9, 6), (4, 5, 11)])
    density = np.zeros(shape)
    density[tuple(points.T)] = 1
    found = autocorrelation_support(np.abs(np.fft.fftn(density)))
    wanted = np.zeros(shape, dtype=bool)
    for a, b in itertools.product(points, points):
        wanted[tuple((a - b) + np.array(shape) // 2)] = True
    np.testing.assert_array_equal(found, wanted)


def test_the_window_is_a_quarter_of_each_edge_wide():
    window = index_window((21, 32, 11))
    assert window[10, 15, 5] == window[10, 16, 5]
    # the variance of a Gaussian of standard deviation s, cut at 2 s, is 0.774 s^2
    for axis, n in enumerate(window.shape):
        profile = window.sum(axis=tuple(a for a in range(3) if a != axis))
        u = np.arange(n) - (n - 1) / 2
        assert (profile * u**2).sum() / profile.sum() == pytest.approx(
            0.774 * (n / 4) ** 2, rel=0.1
        )


@needs_cohere
def test_the_support_of_a_crystal_comes_from_its_counts_alone(crystal, data):
    lines = []
    found = support_from_data(data, starts=2, seed=1, report=lines.append)
    assert len(lines) == 3
    assert (found.errors < 0.05).all()
    # all patches agree on shape, twin and shift
    assert (found.correlation > 0.99).all()
    support = found.support
    np.testing.assert_allclose(support.centres().mean(axis=0), 0, atol=1e-9)
    x = laid_over(support, crystal)
    assert support.contains(x).mean() > 0.995
    distance = cKDTree(x).query(support.centres())[0]
    assert distance.max() < 2 * 3.3
    assert np.quantile(distance, 0.9) < 4.0


@needs_cohere
def test_patches_whose_inversions_differ_come_out_consistent(crystal, data):
    # the intensities of -x are those of x mirrored at each peak: mirror one of them
    counts = [c.copy() for c in data.counts]
    counts[1] = counts[1][::-1, ::-1, ::-1].copy()
    found = support_from_data(Diffraction(data.patches, counts), starts=1, seed=2)
    assert (found.correlation > 0.99).all()
    assert found.support.contains(laid_over(found.support, crystal)).mean() > 0.995


@needs_cohere
def test_a_patch_that_got_stuck_is_phased_again_in_the_shape_of_another(data, monkeypatch):
    def stuck(patch, counts, valid, starts, seed, name, inside):
        if name.endswith("patch 2") and inside is None:
            noise = np.random.default_rng(0).random(patch.shape)
            return Shape(patch, noise, (0.4,))
        return retrieve_shape(patch, counts, valid, starts, seed, name, inside)

    monkeypatch.setattr(phase_retrieval, "retrieve_shape", stuck)
    lines = []
    found = support_from_data(data, starts=1, seed=1, report=lines.append)
    assert [line for line in lines if "again" in line] == lines[3:]
    assert lines[3].startswith("patch 2 of 3")
    assert found.errors[1] < 0.05
    assert found.correlation.min() > 0.99


@needs_cohere
def test_a_sheared_patch_of_another_size_gives_the_same_shape(crystal, data):
    # axes of a rocking scan: neither of one length nor at right angles
    straight = data.patches[1]
    step = np.array([[1.0, 0.25, 0.0], [0.0, 1.0, 0.0], [0.15, 0.0, 0.8]]) @ straight.step
    shape = (22, 26, 28)
    patch = BraggPatch(straight.middle - (np.array(shape) // 2) @ step, step, shape)
    mean = np.abs(1.9 * direct_structure_factor(patch.q(), crystal)) ** 2
    scan = np.random.default_rng(8).poisson(mean).reshape(shape).astype(float)
    patches, counts = [data.patches[0], patch], [data.counts[0], scan]
    found = support_from_data(Diffraction(patches, counts), starts=1, seed=4)
    assert (found.correlation > 0.98).all()
    # and alone, which can't lean on the other
    alone = support_from_data(Diffraction([patch], [scan]), starts=1, seed=4).support
    np.testing.assert_allclose(alone.voxel, patch.voxel())
    assert alone.contains(laid_over(alone, crystal)).mean() > 0.99


@needs_cohere
def test_the_same_seed_gives_the_same_support_and_another_agrees(data):
    patch, counts, valid = data.patches[0], data.counts[0], data.valid[0]
    one, same, other = (
        retrieve_shape(patch, counts, valid, 1, seed) for seed in ((5, 0), (5, 0), (6, 0))
    )
    np.testing.assert_array_equal(one.amplitude, same.amplitude)
    assert not np.array_equal(one.amplitude, other.amplitude)
    _, correlation = mean_amplitude([one, other])
    assert correlation.min() > 0.99


@needs_cohere
def test_a_gap_in_the_detector_has_no_weight(crystal, data):
    valid = [np.ones(p.shape, dtype=bool) for p in data.patches]
    counts = [c.copy() for c in data.counts]
    for v, c in zip(valid, counts, strict=True):
        v[:, 8:10, :] = False
        c[:, 8:10, :] = 1e9  # must not be looked at
    found = support_from_data(Diffraction(data.patches, counts, valid), starts=2, seed=1)
    assert (found.errors < 0.05).all()
    support = found.support
    x = laid_over(support, crystal)
    assert support.contains(x).mean() > 0.99
    assert cKDTree(x).query(support.centres())[0].max() < 2.5 * 3.3


@needs_cohere
def test_input_that_cannot_work_is_named(data):
    with pytest.raises(InputError, match="at least 1 start"):
        support_from_data(data, starts=0)
    with pytest.raises(InputError, match="threshold between 0 and 1"):
        support_from_data(data, threshold=1.5)
    dark = [data.counts[0], np.zeros(data.patches[1].shape), data.counts[2]]
    with pytest.raises(DataError, match="patch 2: not one photon"):
        support_from_data(Diffraction(data.patches, dark), starts=1)


@needs_cohere
def test_a_crystal_larger_than_the_field_of_view_is_named(crystal):
    # points so far apart that the crystal doesn't fit between them
    small = simulate(crystal, points=6)
    with pytest.raises(DataError, match="fills the field of view"):
        support_from_data(small, starts=1)


def test_without_the_library_one_sentence_says_what_to_install(data, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'prammol\[phasing\]'"):
        support_from_data(data)


@needs_cohere
def test_the_support_by_the_command_line(prammol, tmp_path, data):
    write_diffraction(tmp_path / "d.h5", data)
    done = prammol("support", "d.h5", "--phase-retrieval", "--starts", 1, "-o", "u.h5")
    assert done.returncode == 0, done.stderr
    assert "patch 3: misfit" in done.stdout
    assert "patch 3 of 3" in done.stderr
    # the clock and the process have no part in it
    support = support_from_data(data, starts=1).support
    np.testing.assert_array_equal(read_support(tmp_path / "u.h5").inside, support.inside)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--phase-retrieval", "--resolution", "5"], "--resolution has no meaning"),
        (["--from-truth", "s.xyz", "--starts", "2"], "--starts has no meaning"),
        (["--from-truth", "s.xyz", "--phase-retrieval"], "not allowed with"),
        ([], "is required"),
    ],
)
def test_options_that_contradict_are_refused(prammol, options, message):
    done = prammol("support", "d.h5", *options, "-o", "u.h5")
    assert done.returncode == 2
    assert message in done.stderr
