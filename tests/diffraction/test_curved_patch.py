"""Patches whose points lie on no affine grid: transforms, files, ranks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rocking
from numpy.testing import assert_allclose

from prammol.core.errors import DataError, InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.curved_patch import CurvedPatch, patch_of_points
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.io import read_diffraction, write_diffraction


class OneOfSeveral(Communicator):
    """One rank of several, without MPI: sums are this rank's alone."""

    def __init__(self, rank, size):
        super().__init__()
        self._rank, self._size = rank, size

    rank = property(lambda self: self._rank)
    size = property(lambda self: self._size)


@pytest.fixture(scope="module")
def atoms():
    return np.random.default_rng(5).uniform(-7, 7, (20, 3))


@pytest.fixture(scope="module")
def scans(atoms):
    return rocking.scans(atoms, 30.0, shape=(9, 10, 8))


@pytest.mark.parametrize(("epsilon", "tolerance"), [(1e-10, 1e-8), (1e-5, 1e-4)])
def test_transforms_on_curved_patches_are_plain_sums(scans, rng, epsilon, tolerance):
    """Forward and adjoint against plain sums at the very points, beside an affine patch."""
    patches = [CurvedPatch(scans[0].q), BraggPatch([1, 1, 1], 0.05 * np.eye(3), (3, 4, 5))]
    factor = StructureFactor(patches, epsilon)
    q = np.concatenate([scans[0].q.reshape(-1, 3), patches[1].q()])
    assert_allclose(factor.q, q)
    x, w = rng.uniform(-9, 9, (15, 3)), rng.uniform(0.5, 1.5, 15)
    direct = direct_structure_factor(q, x, w)
    assert_allclose(factor.forward(x, w), direct, atol=tolerance * np.abs(direct).max())
    values = rng.normal(size=len(q)) + 1j * rng.normal(size=len(q))
    wave = np.exp(1j * (x @ q.T))
    for got, expected in (
        (factor.adjoint(values, x), wave @ values),
        (factor.adjoint_moments(values, x), (wave * values) @ q),
    ):
        assert_allclose(got, expected, atol=tolerance * np.abs(expected).max() * 3)


def test_shares_of_ranks_keep_the_points(scans):
    patches = [CurvedPatch(s.q) for s in scans]
    data = Diffraction(patches, [s.counts.astype(float) for s in scans])
    for size in (1, 2, 5):
        shards = [local_shard(data, OneOfSeveral(r, size)) for r in range(size)]
        q = np.concatenate([StructureFactor(s.patches).q for s in shards])
        assert_allclose(q, np.concatenate([s.q.reshape(-1, 3) for s in scans]), atol=1e-15)


def test_peaks_are_at_the_points_themselves():
    """A single bright point far from the middle, where the affine grid is off."""
    index = np.indices((11, 9, 8))
    q = np.moveaxis(index, 0, -1) * 0.05 + 0.002 * (index[0] ** 2)[..., None]
    counts = np.zeros((11, 9, 8))
    counts[10, 8, 0] = 100.0
    patch = CurvedPatch(q)
    assert_allclose(Diffraction([patch], [counts]).peaks()[0], q[10, 8, 0])
    affine = patch.affine
    assert type(affine) is BraggPatch
    assert np.linalg.norm(affine.q().reshape(*patch.shape, 3)[10, 8, 0] - q[10, 8, 0]) > 0.05
    # a parabola against its tangent at 5, moved by its mean over the middle third, 2
    assert patch.bend == pytest.approx((25 - 2) * 0.002 * 3**0.5 / 0.05)


def test_files_keep_the_points(tmp_path, scans):
    patches = [CurvedPatch(scans[0].q), BraggPatch([1, 1, 1], 0.05 * np.eye(3), (3, 4, 5))]
    data = Diffraction(patches, [scans[0].counts.astype(float), np.ones((3, 4, 5))])
    write_diffraction(tmp_path / "d.h5", data)
    back = read_diffraction(tmp_path / "d.h5")
    assert [type(p) for p in back.patches] == [CurvedPatch, BraggPatch]
    for a, b in zip(back.patches, patches, strict=True):
        assert_allclose(a.q(), b.q(), atol=0)


def test_points_in_no_order_are_refused(scans, rng):
    q = scans[0].q
    with pytest.raises(DataError, match="isn't a grid"):
        patch_of_points(q + rng.normal(scale=0.05, size=q.shape))
    with pytest.raises(InputError, match="expected"):
        CurvedPatch(q[:1])
    with pytest.raises(InputError, match="one plane"):
        CurvedPatch(q * [1.0, 1.0, 0.0])


def test_counts_on_a_regular_grid_for_the_start(scans, atoms):
    """Amplitudes on the affine grid against direct sums there; what isn't known is masked."""
    patch = CurvedPatch(scans[0].q)
    counts = 900 * np.abs(direct_structure_factor(patch.q(), atoms @ rocking.MOUNTED.T)) ** 2
    valid = np.ones(patch.shape, dtype=bool)
    valid[4, 5, 4] = False
    values, known = patch.regridded(counts.reshape(patch.shape), valid)
    exact = 30 * np.abs(direct_structure_factor(patch.affine.q(), atoms @ rocking.MOUNTED.T))
    error = np.sqrt(values) - exact.reshape(patch.shape)
    good = known.copy()
    good[3:6, 4:7, 3:6] = False  # splines ring beside the gap
    assert np.linalg.norm(error[good]) < 0.03 * np.linalg.norm(exact.reshape(patch.shape)[good])
    assert 0.7 < known.mean() < 1.0
    assert not known[4, 5, 4]


def test_curved_patches_travel_between_processes(scans):
    """MPI and checkpoints send them by pickle."""
    patch = CurvedPatch(scans[0].q)
    for original in (patch, patch.planes(2, 5)):
        back = pickle.loads(pickle.dumps(original))
        assert isinstance(back, CurvedPatch)
        assert_allclose(back.q(), original.q(), atol=0)
        assert_allclose(back.affine.q(), original.affine.q(), atol=0)
