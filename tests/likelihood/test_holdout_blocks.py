"""Points held out in blocks: which they are, and that no fitted point is near."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from small_crystal import fcc_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.likelihood.holdout_blocks import hold_out_blocks, random_field

SERIAL = Communicator()


class Rank:
    """A rank of a number of ranks, alone."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.fixture(scope="module")
def data():
    return simulate(fcc_ball(9.0), points=27)


@pytest.mark.parametrize("size", [20.0, 35.0, 60.0])
def test_held_out_points_are_a_speckle_from_those_fitted(data, size):
    shard = local_shard(data, SERIAL)
    points = hold_out_blocks(data, shard, size, 0.2, np.random.default_rng(2))
    fitted, apart = points.fitted.astype(bool), points.apart.astype(bool)
    assert apart.sum() > 20
    assert not (fitted & apart).any()
    np.testing.assert_array_equal(points.fitted + points.rest, 1.0)
    assert (points.apart <= points.rest).all()
    assert points.rest.mean() == pytest.approx(0.2, abs=0.08)
    q = np.concatenate([p.q() for p in data.patches])
    for k in range(3):
        here = shard.patch_index == k
        if (apart & here).any():
            gap, _ = cKDTree(q[here & fitted]).query(q[here & apart])
            # A third of the edge, rounded: one speckle less at most one step.
            step = np.linalg.norm(data.patches[k].step, axis=1).max()
            assert gap.min() > 2 * np.pi / size - 1.5 * step
    # Another draw holds out others.
    other = hold_out_blocks(data, shard, size, 0.2, np.random.default_rng(3))
    assert (other.rest != points.rest).any()


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_blocks_are_the_same_for_any_number_of_ranks(data, ranks):
    whole = local_shard(data, SERIAL)
    serial = hold_out_blocks(data, whole, 35.0, 0.2, np.random.default_rng(2))
    seen = 0
    for rank in range(ranks):
        part = local_shard(data, Rank(rank, ranks))
        points = hold_out_blocks(data, part, 35.0, 0.2, np.random.default_rng(2))
        where = np.searchsorted(whole.global_index, part.global_index)
        np.testing.assert_array_equal(points.rest, serial.rest[where])
        np.testing.assert_array_equal(points.apart, serial.apart[where])
        seen += len(where)
    assert seen == whole.size


def test_at_least_one_block_is_held_out(data):
    shard = local_shard(data, SERIAL)
    points = hold_out_blocks(data, shard, 35.0, 1e-6, np.random.default_rng(2))
    assert 0 < points.apart.sum() < points.rest.sum() < 0.2 * shard.size


def test_random_fields_are_the_same_for_any_number_of_ranks(data):
    serial = random_field(data, local_shard(data, SERIAL), 20.0, np.random.default_rng(2))
    parts = [
        random_field(data, local_shard(data, Rank(rank, 3)), 20.0, np.random.default_rng(2))
        for rank in range(3)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), serial)


def test_random_fields_have_the_variance_1_and_no_steps(data):
    """Neighbouring points are about the same, within a block of nodes and across its border."""
    rng, shard, patch = np.random.default_rng(4), local_shard(data, SERIAL), data.patches[0]
    first = (random_field(data, shard, 20.0, rng)[: patch.size] for _ in range(600))
    fields = np.array([field.reshape(patch.shape) for field in first])
    assert np.mean(fields**2, axis=0) == pytest.approx(1.0, abs=0.3)
    for axis in range(1, 4):
        pairs = np.moveaxis(fields, axis, 1)
        alike = np.mean(pairs[:, 1:] * pairs[:, :-1], axis=(0, 2, 3))
        assert alike.min() > 0.85


def test_random_fields_give_the_variance_of_errors_that_go_together(data):
    """Sums of errors with the correlation of speckles, drawn many times, against one drawn once."""
    size, rng = 30.0, np.random.default_rng(1)
    shard = local_shard(data, SERIAL)
    patch = data.patches[0]
    length = 2 * np.pi / (size * np.linalg.norm(patch.step, axis=1))  # of a speckle, in points
    inside = rng.uniform(-0.5, 0.5, (20, 3)) * size  # of the object: where slopes come from
    slopes = np.cos(np.concatenate([p.q() for p in data.patches]) @ inside.T)

    def errors():
        drawn = [gaussian_filter(rng.normal(size=p.shape), length / 2.5) for p in data.patches]
        return np.concatenate([d.ravel() / d.std() for d in drawn])

    true = np.mean([(errors() @ slopes) ** 2 for _ in range(300)])
    once = errors()
    fields = (random_field(data, shard, size, rng) for _ in range(300))
    found = np.mean([((once * field) @ slopes) ** 2 for field in fields])
    assert found == pytest.approx(true, rel=0.25)
    assert np.mean((once @ slopes) ** 2) > 10  # far more than single points would have
