"""Fields of all ranks' points on every rank."""

from __future__ import annotations

import numpy as np
from small_crystal import Rank

from prammol.diffraction.bragg_patch import BraggPatch, paper_patches, shard
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.whole_field import joined, on_every_rank

RNG = np.random.default_rng(3)
SHEARED = np.array([[0.05, 0.01, 0.0], [0.0, 0.06, 0.02], [0.01, 0.0, 0.04]])


def slabs_of(patches, ranks):
    return [
        [patches[s.patch_index].planes(s.start, s.stop) for s in shard(patches, Rank(r, ranks))]
        for r in range(ranks)
    ]


def test_slabs_of_all_ranks_are_the_patches_again():
    patches = [*paper_patches(7), BraggPatch([1.0, 2.0, 3.0], SHEARED, (5, 4, 6))]
    for ranks in (1, 2, 5, 13):
        found = joined([p for part in slabs_of(patches, ranks) for p in part])
        assert [p.shape for p in found] == [p.shape for p in patches]
        for one, other in zip(found, patches, strict=True):
            np.testing.assert_allclose(one.q(), other.q(), atol=1e-12)


def test_patches_that_only_look_alike_stay_apart():
    first = BraggPatch([0.0, 0.0, 0.0], SHEARED, (3, 4, 5))
    beyond = BraggPatch(4 * SHEARED[0], SHEARED, (3, 4, 5))  # a plane is missing between
    wider = BraggPatch(3 * SHEARED[0], SHEARED, (3, 4, 6))
    bent = CurvedPatch(first.q().reshape(3, 4, 5, 3) + RNG.normal(0, 1e-3, (3, 4, 5, 3)))
    for other in (beyond, wider, bent):
        assert len(joined([first, other])) == 2


class Both(Rank):
    """A rank that is told what the other one has."""

    def __init__(self, others):
        super().__init__(0, 2)
        self.others = others

    def gather(self, value):
        return [value, self.others]


def test_its_adjoint_is_the_plain_sum_over_the_points_of_all_ranks():
    patches = paper_patches(6)
    here, there = slabs_of(patches, 2)
    q = np.concatenate([p.q() for p in patches])
    values, amplitude = RNG.random(len(q)), RNG.random(len(q))
    x = RNG.uniform(-5, 5, (9, 3))
    n = sum(p.size for p in here)
    comm = Both((there, values[n:].astype(complex), amplitude[n:]))
    mine = StructureFactor(here, 1e-9, amplitude=amplitude[:n])
    whole, field = on_every_rank(mine, values[:n], comm)
    expected = np.exp(1j * x @ q.T) @ (values * amplitude)
    np.testing.assert_allclose(whole.adjoint(field, x), expected, rtol=1e-7)
