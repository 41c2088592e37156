"""Scales, offsets and rotations of patches, and known factors of points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.calibration import (
    Calibration,
    GeometryUncertainty,
    as_vector,
    of_vector,
    prior_precision,
)
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction, local_shard

STEP = np.array([[0.03, 0.002, -0.001], [0.012, 0.028, 0.003], [-0.004, 0.015, 0.031]])
AFFINE = BraggPatch([-0.5, 1.5, 1.4], STEP, (5, 6, 7))
SEEN = Calibration(
    np.array([1.0, 1.3]),
    np.array([[0.0, 0.0, 0.0], [0.01, -0.02, 0.005]]),
    np.array([[0.0, 0.0, 0.0], [0.002, 0.001, -0.003]]),
)


def curved():
    q = AFFINE.q().reshape(*AFFINE.shape, 3)
    bend = 0.002 * np.indices(AFFINE.shape)[0] ** 2
    return CurvedPatch(q + bend[..., None] * np.array([0.3, -0.2, 1.0]))


@pytest.mark.parametrize("patch", [AFFINE, curved()], ids=["affine", "curved"])
def test_every_point_is_turned_and_moved_alike(patch):
    moved = SEEN.patch(patch, 1)
    turn = Rotation.from_rotvec(SEEN.rotation[1]).as_matrix()
    assert_allclose(moved.q(), patch.q() @ turn.T + SEEN.offset[1], atol=1e-12)
    assert moved.shape == patch.shape
    assert SEEN.patch(patch, 0) is patch
    slab = SEEN.patch(patch.planes(1, 4), 1)
    expected = patch.planes(1, 4).q() @ turn.T + SEEN.offset[1]
    assert_allclose(slab.q(), expected, atol=1e-12)


def test_a_calibration_is_the_same_after_a_vector():
    again = of_vector(as_vector(SEEN))
    for name in ("amplitude", "offset", "rotation"):
        assert_allclose(getattr(again, name), getattr(SEEN, name), rtol=1e-15)
    assert not SEEN.is_nominal
    assert Calibration.nominal(3).is_nominal
    # Only ratios of scales matter: that of the first patch is part of C.
    row = as_vector(SEEN)
    row[:2] += 0.7
    assert_allclose(of_vector(row).amplitude, SEEN.amplitude)


def test_known_geometry_has_an_infinite_precision():
    both = prior_precision(GeometryUncertainty(0.01, 0.0), 2)
    assert_allclose(both[:2], 0.0)
    assert_allclose(both[2:8], 1e4)
    assert np.isinf(both[8:]).all()
    assert GeometryUncertainty.none().known
    assert not GeometryUncertainty(0.0, 1e-4).known
    for wrong in ({"offset": -0.1}, {"rotation": np.nan}, {"rotation": 1.0}, {"offset": np.inf}):
        with pytest.raises(InputError, match="uncertainty of the"):
            GeometryUncertainty(**wrong)


def test_amplitudes_are_scales_times_known_factors():
    index = np.array([0, 0, 1, 1, 1])
    known = np.array([1.0, 2.0, 1.0, 3.0, 0.5])
    assert_allclose(SEEN.amplitudes(known, index), known * SEEN.amplitude[index])
    assert_allclose(SEEN.amplitudes(None, index), SEEN.amplitude[index])
    nominal = Calibration.nominal(2)
    assert nominal.amplitudes(None, index) is None
    assert nominal.amplitudes(known, index) is known


def test_wrong_gains_are_refused_and_masked_ones_are_not_looked_at(rng):
    patches = paper_patches(4)
    counts = [rng.poisson(9.0, p.shape).astype(float) for p in patches]
    gain = [rng.uniform(0.5, 2.0, p.shape) for p in patches]
    data = Diffraction(patches, counts, gain=gain)
    root = np.concatenate([np.sqrt(g).ravel() for g in gain])
    assert_allclose(local_shard(data, Communicator()).amplitude, root)
    with pytest.raises(InputError, match=r"the gains have shapes .* expected"):
        replace(data, gain=gain[:2])
    for bad in (0.0, -1.0, np.nan, np.inf):
        wrong = [g.copy() for g in gain]
        wrong[1][2, 1, 3] = bad
        with pytest.raises(InputError, match="gain of patch 2 has points that aren't positive"):
            replace(data, gain=wrong)
        valid = [np.ones(p.shape, dtype=bool) for p in patches]
        valid[1][2, 1, 3] = False
        masked = replace(data, gain=wrong, valid=valid)
        assert np.isfinite(local_shard(masked, Communicator()).amplitude).all()
        _, signal, seen = masked.gridded(1)
        assert_allclose(signal[seen], (counts[1] / gain[1])[seen])
