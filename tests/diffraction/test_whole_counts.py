"""Counts as integers."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.whole_counts import as_integers
from prammol.likelihood.quasi_likelihood import PoissonMisfit


def test_whole_numbers_become_integers_of_32_bits_without_a_change():
    counts = np.array([0.0, 1.0, 2.0**31 - 1])
    assert as_integers(counts).dtype == np.int32
    np.testing.assert_array_equal(as_integers(counts), counts)
    short = as_integers(np.array([3, 4], dtype=np.uint16))
    assert np.sqrt(short).dtype == np.float64


@pytest.mark.parametrize("other", [0.5, 2.0**31, 1e18, np.nan, np.inf, -(2.0**32)])
def test_other_numbers_stay_as_they_are(other):
    counts = np.array([1.0, other])
    assert as_integers(counts) is counts


def test_more_photons_in_all_than_an_integer_holds_give_the_scale():
    patches = paper_patches(6)
    x = np.random.default_rng(1).uniform(-4, 4, (20, 3))
    factor = StructureFactor(patches, 1e-9)
    power = np.abs(factor.forward(x)) ** 2
    scale = np.sqrt(1e9 / power.max())
    counts = np.rint(scale**2 * power)
    assert counts.sum() > 2.0**32
    parts = np.split(counts, np.cumsum([p.size for p in patches])[:-1])
    data = Diffraction(patches, [c.reshape(p.shape) for c, p in zip(parts, patches, strict=True)])
    assert data.counts[0].dtype == np.int32
    shard = local_shard(data, Communicator())
    assert shard.counts.dtype == np.float64  # dot products of integers overflow without a word
    misfit = PoissonMisfit(shard, factor)
    assert misfit(x).scale == pytest.approx(scale, rel=1e-6)
    assert data.total_counts == counts.sum()
