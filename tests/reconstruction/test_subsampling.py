"""Fewer points for coarse questions: which they are, when they suffice, and what they tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import Rank, box, fcc_ball, make_problem, relaxed_ball, simulate
from states import guessed, state_of

from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch, paper_patches
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.response import Response
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.stages.default.choose_sites import ChooseSites
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.subsampling import coarser, places_in, spare, thinned, thinned_grid
from prammol.simulation.counts import simulate as simulate_counts
from prammol.structure.atoms import Atoms


def problem_of(patches, edge, photons=1e6, **kwargs):
    """A problem with so many photons in every point; the volume of an atom is aluminium's."""
    counts = [np.full(p.shape, photons) for p in patches]
    data = Diffraction(patches, counts, **kwargs)
    return make_problem(data, box(edge), cluster=True)


@pytest.mark.parametrize("shape", [(9, 8, 7), (6, 5, 10), (3, 4, 5)])
@pytest.mark.parametrize("steps", [(2, 2, 2), (1, 2, 3), (3, 1, 1)])
def test_thinned_points_are_points_of_the_patch_the_middle_among_them(shape, steps):
    step = np.array([[0.03, 0.01, 0], [0, 0.04, 0.005], [0.002, 0, 0.05]])
    patch = BraggPatch((1.0, -2.0, 0.5), step, shape)
    left, part = thinned(patch, steps)
    q = patch.q().reshape(*shape, 3)
    np.testing.assert_allclose(left.q(), q[part].reshape(-1, 3), atol=1e-12)
    assert np.abs(left.q() - patch.middle).sum(axis=1).min() < 1e-12
    assert all(abs(m - n / s) < 1 for m, n, s in zip(left.shape, shape, steps, strict=True))


def test_a_generator_draws_one_of_the_coarser_grids():
    """All eight of them, and together they are the whole patch."""
    patch = BraggPatch((-1, 1, 1), 0.05 * np.eye(3), (9, 8, 7))
    problem = problem_of([patch], 5.0)
    rng = np.random.default_rng(3)
    grids = {}
    for _ in range(60):
        fewer = coarser(problem, rng)
        grids[fewer.shard.global_index[0]] = fewer.shard
        np.testing.assert_allclose(
            fewer.factor.q, patch.q()[fewer.shard.global_index], rtol=0, atol=1e-12
        )
        where = places_in(problem.shard, fewer.shard)
        np.testing.assert_array_equal(where, fewer.shard.global_index)
    assert len(grids) == 8
    every = np.sort(np.concatenate([g.global_index for g in grids.values()]))
    np.testing.assert_array_equal(every, np.arange(patch.size))
    problem.cluster.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_ranks_keep_the_points_one_would(size, rng):
    patches = [cubic_patch(p, 0.2, n, 4.05) for p, n in (((-1, 1, 1), 9), ((1, -1, 1), 8))]
    arrays = [[rng.integers(1, 99, p.shape) * 1e6 for p in patches] for _ in range(2)]
    valid = [rng.random(p.shape) < 0.8 for p in patches]
    data = Diffraction(patches, arrays[0], valid, background=arrays[1])
    whole = make_problem(data, box(5.0), cluster=True)
    steps = spare(whole)
    assert steps is not None
    parts = [thinned(p, s)[1] for p, s in zip(patches, steps, strict=True)]
    starts = np.cumsum([0, patches[0].size])

    def seen(values):
        return np.concatenate([(a * v).ravel() for a, v in zip(values, valid, strict=True)])

    numbers = np.concatenate([
        (start + np.arange(p.size)).reshape(p.shape)[part].ravel()
        for start, p, part in zip(starts, patches, parts, strict=True)
    ])  # fmt: skip
    q = np.concatenate([p.q() for p in patches])[numbers]
    ranks = [
        coarser(replace(make_problem(data, comm=Rank(r, size)), support=whole.support,
                        cluster=whole.cluster))
        for r in range(size)
    ]  # fmt: skip
    for name, all_points in [
        ("global_index", np.arange(sum(p.size for p in patches))),
        ("patch_index", np.repeat([0, 1], [p.size for p in patches])),
        ("valid", np.concatenate([v.ravel() for v in valid])),
        ("counts", seen(arrays[0])),
        ("background", seen(arrays[1])),
    ]:  # fmt: skip
        found = np.concatenate([getattr(r.shard, name) for r in ranks])
        np.testing.assert_array_equal(found, all_points[numbers])
    np.testing.assert_allclose(np.concatenate([r.factor.q for r in ranks]), q, atol=1e-12)
    for r in ranks:
        assert r.factor.size == r.shard.size
    whole.cluster.close()


@pytest.mark.parametrize(
    ("edge", "every"), [(150.0, 1), (70.0, 1), (69.0, 2), (33.0, 2), (31.0, 2)]
)
def test_as_many_points_are_spared_as_the_support_leaves_room_for(edge, every):
    """Where it fills four fifths of the period of what is left, and 11.5 Å of it stay empty."""
    step = 2 * np.pi / (2 * 68.0 / 0.8) * np.diag([1.0, 1.0, 2.0])
    patch = BraggPatch((-1, 1, 1), step, (12, 12, 12))
    problem = problem_of([patch], edge, photons=1e9)
    # Along the third axis steps are twice as long.
    wanted = (every, every, 2 if edge < 32 else 1)
    assert spare(problem) == (None if every == 1 else [wanted])
    problem.cluster.close()


def test_few_photons_and_bent_grids_are_used_whole():
    patches = paper_patches(20)
    problem = problem_of(patches, 12.0)
    steps = spare(problem)
    assert steps is not None
    atoms = 12.0**3 / problem.cluster.potential.atomic_volume
    enough = 1000 * atoms / sum(p.size / np.prod(s) for p, s in zip(patches, steps, strict=True))
    for photons, told in [(0.99 * enough, None), (1.01 * enough, steps)]:
        counts = [np.full(p.shape, photons) for p in patches]
        assert spare(replace(problem, data=Diffraction(patches, counts))) == told
        dark = Diffraction(patches, [c + 500.0 for c in counts],
                           background=[np.full(p.shape, 500.0) for p in patches])  # fmt: skip
        assert spare(replace(problem, data=dark)) == told
    few = replace(problem, data=Diffraction(patches, [np.ones(p.shape) for p in patches]))
    assert coarser(few) is few
    problem.cluster.close()


def test_points_left_of_a_bent_grid_are_points_of_it():
    bent = [
        CurvedPatch(p.q().reshape(*p.shape, 3) + 1e-2 * p.q().reshape(*p.shape, 3)[..., :1] ** 2)
        for p in paper_patches(20)
    ]
    problem = problem_of(bent, 12.0)
    fewer = coarser(problem)
    assert len(fewer.shard.counts) < 0.2 * len(problem.shard.counts)
    every = np.concatenate([p.q() for p in bent])
    np.testing.assert_array_equal(fewer.factor.q, every[fewer.shard.global_index])
    x = fcc_ball(5.0)
    expected = direct_structure_factor(fewer.factor.q, x)
    np.testing.assert_allclose(fewer.factor.forward(x), expected, atol=1e-4 * len(x))
    problem.cluster.close()


def test_points_left_give_those_between():
    """The claim itself: the structure factor on all points, from the thinned ones alone."""
    x = fcc_ball(8.5)
    patch = cubic_patch((1, 1, 1), 0.6, 20, 4.05)
    problem = problem_of([patch], 2 * 8.5)
    steps = spare(problem)
    assert steps is not None
    assert np.prod(steps) >= 8
    left, part = thinned(patch, steps[0])
    # Away from the edges, by the sinc series along each axis: the object ends within the period.
    omega = direct_structure_factor(left.q(), x).reshape(left.shape)
    index = [np.arange(n)[p] for n, p in zip(patch.shape, part, strict=True)]
    middle = [np.arange(6, 14)] * 3
    weights = [
        np.sinc((m[:, None] - i) / s) * np.exp(-(((m[:, None] - i) / s / 4.0) ** 2))
        for m, i, s in zip(middle, index, steps[0], strict=True)
    ]
    # The crystal's middle is at 0, so no phase but that of the peak varies faster.
    found = np.einsum("ai,bj,ck,ijk->abc", *weights, omega)
    exact = direct_structure_factor(patch.q(), x).reshape(patch.shape)[6:14, 6:14, 6:14]
    assert np.linalg.norm(found - exact) < 0.2 * np.linalg.norm(exact)
    problem.cluster.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_thinned_points_choose_nearly_the_right_sites(seed):
    """A ball with vacancies from one half an Å larger, 29 sites wrong; every third point: 12."""
    sites = fcc_ball(11.0)
    inside = np.linalg.norm(sites, axis=1) < 8.5
    inside[np.flatnonzero(inside)[::40]] = False
    data = simulate(sites[inside], points=36, scale=30.0, seed=seed)
    problem = make_problem(data, x=sites, cluster=True)
    assert coarser(problem).shard.size == problem.shard.size // 8
    start = np.linalg.norm(sites, axis=1) < 9.0
    assert (start != inside).sum() == 29
    after = ChooseSites()(problem, guessed(sites, start[None].astype(float)))
    wrong = set(map(tuple, after.positions)) ^ set(map(tuple, sites[inside]))
    assert len(wrong) < 11
    problem.cluster.close()


@pytest.mark.parametrize("wrong", [9.0, 11.0])
def test_complete_atoms_asks_fewer_points_first_while_many_atoms_are_wrong(wrong, monkeypatch):
    x = relaxed_ball(8.5)
    problem = make_problem(simulate(x, points=24), x=x, cluster=True)
    asked = []
    completed = CompleteAtoms._completed
    monkeypatch.setattr(
        CompleteAtoms,
        "_completed",
        lambda stage, p, s: asked.append(p.shard.size) or completed(stage, p, s),
    )
    every, fewer = problem.shard.size, coarser(problem).shard.size
    assert fewer < every / 7
    poor = CompleteAtoms()(problem, state_of(x[2:], 1.9, wrong=wrong))
    assert poor.status.selected
    assert asked == ([fewer] if wrong > 10 else [every])
    asked.clear()
    # Nothing to change: not said before all points were asked.
    assert not CompleteAtoms()(problem, state_of(x, 1.9, wrong=wrong)).status.selected
    assert asked == ([fewer, every] if wrong > 10 else [every])
    problem.cluster.close()


def test_a_grid_for_phasing_is_thinned_like_the_rest():
    patches = paper_patches(20)
    problem = problem_of(patches, 12.0)
    steps = spare(problem)
    for k in range(3):
        grid = thinned_grid(problem.data, k, steps)
        left, part = thinned(patches[k], steps[k])
        np.testing.assert_array_equal(grid.patch.q(), left.q())
        np.testing.assert_array_equal(grid.counts, problem.data.counts[k][part])
        assert grid.counts.shape == grid.valid.shape == left.shape
    problem.cluster.close()


def test_a_response_that_needs_more_points_is_taken_out_first():
    x = relaxed_ball(5.5)
    response = Response.of(3, 1.5, 0.3)
    patches = paper_patches(20)
    data = simulate_counts(
        Atoms(x, "Al"), 1e20, 1, patches, form_factor="constant", response=response
    )
    problem = make_problem(data, x=x)
    assert spare(problem) != [(2, 2, 2)] * 3
    fewer = coarser(problem)
    assert fewer.shard.size < problem.shard.size / 6
    assert fewer.shard.response is None
    here = fewer.shard.global_index
    true = np.abs(data.meta["scale"] * direct_structure_factor(fewer.factor.q, x))
    blurred = np.sqrt(np.concatenate([c.ravel() for c in data.counts])[here])
    off = [np.linalg.norm(a - true) for a in (np.sqrt(fewer.shard.counts), blurred)]
    assert off[0] < 0.75 * off[1]
