"""Model selection: the walk on the grid, single waves, and what may not be looked at."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from small_crystal import box, fcc_ball, make_problem, simulate
from states import altered, state_of

from prammol.diffraction.bragg_patch import cubic_patch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.plane_waves import PlaneWaves
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.stages.paper.cross_validate import CrossValidate, grid_search
from prammol.reconstruction.stages.paper.generate_candidates import Candidates
from prammol.reconstruction.stages.paper.grid_walk import GridWalk
from prammol.reconstruction.stages.paper.heldout_likelihood import HeldOutPoints

SCALE = 3.0
PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


def likelihood(q, counts, x, scale=SCALE, points=slice(None)):
    """Eq. 6 by direct summation."""
    lam = np.abs(scale * direct_structure_factor(q, x)) ** 2
    return np.sum((counts * np.log(lam) - lam)[points])


WIDE, NARROW = box(45.0), box(9.0)  # points to spare: none, seven of eight


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def few(rng, request):
    """A dozen positions well apart, eight of them atoms, and a problem with their counts."""
    sites = np.array(list(product(range(3), range(2), range(2))), dtype=float) * 3.1
    sites += rng.normal(scale=0.2, size=sites.shape)
    rng.shuffle(sites)
    patches = [cubic_patch(p, 0.5, 13, 4.05) for p in PEAKS]
    counts = [
        rng.poisson(np.abs(SCALE * direct_structure_factor(p.q(), sites[:8])) ** 2)
        .reshape(p.shape)
        .astype(float)
        for p in patches
    ]
    return sites, make_problem(Diffraction(patches, counts), request.param)


def table_search(table, tolerance=0.0):
    """grid_search on a table of likelihoods; also the cells it asked for."""
    asked = []

    def gains(here, cells):
        assert all(max(abs(c[0] - here[0]), abs(c[1] - here[1])) == 1 for c in cells)
        asked.extend(cells)
        return [table[c] - table[0, 0] for c in cells]

    size = (table.shape[0] - 1, table.shape[1] - 1)
    cell, gain = grid_search(size, gains, tolerance)
    assert gain == table[cell] - table[0, 0]
    return cell, asked


@pytest.mark.parametrize("top", [(0, 0), (6, 0), (0, 4), (6, 4), (3, 2), (5, 1)])
def test_walk_climbs_to_the_top_of_a_hill(top):
    i, j = np.indices((7, 5))
    table = -((i - top[0]) ** 2.0) - 1.3 * (j - top[1]) ** 2
    found, asked = table_search(table)
    assert found == top
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("flip", [False, True], ids=["undo removals", "undo additions"])
def test_walk_takes_back_earlier_steps(flip):
    # A ridge that leads out along one axis and turns back while it climbs the other.
    table = np.full((6, 6), -100.0)
    ridge = [(0, 0), (1, 0), (2, 0), (3, 1), (2, 2), (1, 3), (0, 4), (0, 5)]
    for height, cell in enumerate(ridge):
        table[cell] = height
    found, _ = table_search(table.T if flip else table)
    assert found == ((5, 0) if flip else (0, 5))


def test_walk_ends_where_no_neighbour_is_better_by_the_tolerance():
    table = np.array([[0.0], [10.0], [10.5], [30.0]])
    assert table_search(table, tolerance=1.0)[0] == (1, 0)
    assert table_search(table)[0] == (3, 0)


def test_walk_with_nothing_to_change_stays():
    assert grid_search((0, 0), lambda here, cells: pytest.fail("nothing to ask")) == ((0, 0), 0)


def test_plane_wave_is_the_structure_factor_of_one_atom(few):
    sites, problem = few
    some = np.flatnonzero(np.random.default_rng(4).random(problem.factor.size) < 0.1)
    patches = problem.factor.patches
    for x in sites[:3]:
        exact = direct_structure_factor(problem.factor.q, x[None])
        np.testing.assert_allclose(PlaneWaves(patches)(x), exact, atol=2e-5)
        np.testing.assert_allclose(PlaneWaves(patches, some)(x), exact[some], atol=2e-5)


def test_walk_knows_the_likelihood_of_every_cell(few):
    sites, problem = few
    leave, enter, rest = sites[:3], sites[8:11], sites[3:8]
    q, counts = problem.factor.q, problem.shard.counts
    points = problem.shard.valid
    start = np.concatenate([leave, rest])
    walk = GridWalk(problem, points, problem.factor.forward(start), SCALE, leave, enter)
    base = likelihood(q, counts, start)
    for here, cell in [
        ((0, 0), (1, 0)), ((1, 0), (1, 1)), ((1, 1), (2, 2)), ((2, 2), (3, 3)),
        ((3, 3), (2, 2)), ((2, 2), (1, 3)), ((1, 3), (0, 2)), ((0, 2), (0, 1)),
    ]:  # fmt: skip
        gained = walk.gains(here, [cell])[0]
        x = np.concatenate([leave[cell[0] :], rest, enter[: cell[1]]])
        exact = likelihood(q, counts, x) - base
        assert gained == pytest.approx(exact, rel=1e-4, abs=1.0)
        omega = walk.field(cell)
        np.testing.assert_allclose(omega, direct_structure_factor(q, x), atol=1e-4)


def test_points_weigh_what_they_are_said_to_in_a_walk(few, rng):
    sites, problem = few
    q, counts = problem.factor.q, problem.shard.counts
    for sampled in (True, False):
        votes = np.where(rng.random(problem.shard.size) < 0.2, rng.uniform(1, 9, len(counts)), 0)
        omega = problem.factor.forward(sites[:8])
        walk = GridWalk(problem, votes, omega, SCALE, sites[:3], sites[8:11], sampled)

        def seen(x, votes=votes):
            lam = np.abs(SCALE * direct_structure_factor(q, x)) ** 2
            return votes @ (counts * np.log(lam) - lam)

        cells = [(1, 0), (1, 1), (0, 1)]
        exact = [seen(np.concatenate([sites[a:8], sites[8 : 8 + b]])) for a, b in cells]
        gained = walk.gains((0, 0), cells)
        np.testing.assert_allclose(gained, np.array(exact) - seen(sites[:8]), rtol=1e-4, atol=1.0)
        np.testing.assert_allclose(
            walk.field((1, 1)),
            direct_structure_factor(q, sites[1:9])[votes > 0 if sampled else slice(None)],
            atol=1e-4,
        )


def test_samples_sum_to_what_all_points_do(few, rng):
    """Mean and number over many draws; points that don't count are never drawn."""
    sites, problem = few
    q, counts = problem.factor.q, problem.shard.counts
    points = rng.random(problem.shard.size) < 0.7
    judge = HeldOutPoints(problem, points, SCALE)
    omega, after = problem.factor.forward(sites[1:9]), problem.factor.forward(sites[:8])
    exact = likelihood(q, counts, sites[:8], points=points) - likelihood(
        q, counts, sites[1:9], points=points
    )
    assert judge.gain(omega, after) == pytest.approx(exact, rel=1e-6)
    old, new = (np.abs(SCALE * f) ** 2 for f in (omega, after))
    share = counts * np.log(new / old) - (new - old)
    samples = np.array([judge.sample(omega, 0.1, rng) for _ in range(300)])
    assert not samples[:, ~points].any()
    number = np.mean((samples > 0).sum(axis=1)) / points.sum()
    assert 0.08 < number < 0.102  # none is drawn twice
    sums = samples @ share
    assert abs(sums.mean() - exact) < 4 * sums.std() / np.sqrt(300)
    even = np.array([(rng.random(len(points)) < 0.1) * points / 0.1 for _ in range(300)]) @ share
    assert sums.std() < 0.7 * even.std()


@pytest.fixture
def asked(monkeypatch):
    """Of how many points each question of a walk is, in order."""
    numbers = []
    gains = GridWalk.gains
    monkeypatch.setattr(
        GridWalk, "gains", lambda w, *a: numbers.append(len(w._counts)) or gains(w, *a)
    )
    return numbers


def wrong_ball(rng, support):
    """A ball of atoms, a problem with its counts, and a state in which 65 positions are wrong."""
    x = fcc_ball(9.0) + rng.normal(0, 0.05, fcc_ball(9.0).shape)
    problem = make_problem(simulate(x, points=30), support)
    rng.shuffle(x)
    wrong = x[:25] + rng.normal(0, 0.8, (25, 3))
    return x, problem, state_of(np.concatenate([x[40:], wrong]), 1.9, candidates=x[:40])


@pytest.mark.parametrize("support", [box(60.0), box(18.0)], ids=["samples", "thinned"])
def test_few_points_change_nothing_of_what_the_walks_end_at(rng, asked, support):
    """Wherever they led, all points find nothing better in the end; and they spare work."""
    x, problem, state = wrong_ball(rng, support)
    after = CrossValidate(little=0.0)(problem, state)
    assert asked[0] < 0.2 * asked[-1] == 0.2 * problem.shard.size
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, x))
    again = CrossValidate(part=1.0)(problem, altered(after, selected=False))
    assert not again.status.selected


@pytest.mark.parametrize("support", [box(60.0), box(18.0)], ids=["samples", "thinned"])
def test_what_gains_little_on_few_points_is_left_to_the_next_iteration(rng, asked, support):
    _, problem, state = wrong_ball(rng, support)
    # Each walk but the first gains less than this part of all: three walks.
    after = CrossValidate(little=1.0)(problem, state)
    assert after.status.selected
    assert max(asked) < 0.2 * problem.shard.size
    asked.clear()
    whole = CrossValidate(little=0.0)(problem, state)
    assert after.status.added + after.status.removed < whole.status.added + whole.status.removed
    slow = CrossValidate(part=1.0, little=1.0)(problem, state)
    assert slow.status.added + slow.status.removed < whole.status.added + whole.status.removed
    # Nothing to gain: that isn't little, all points are asked.
    asked.clear()
    CrossValidate(little=1.0)(problem, altered(whole, selected=False))
    assert max(asked) == problem.shard.size


@pytest.mark.parametrize("support", [box(60.0), box(18.0)], ids=["samples", "thinned"])
def test_all_points_are_asked_only_after_few_changes(rng, asked, support):
    x, problem, state = wrong_ball(rng, support)
    # Walks that gain nothing more; sixty changes: the positions are to follow first.
    after = CrossValidate(little=1e-300)(problem, state)
    assert after.status.added + after.status.removed > 50
    assert max(asked) < 0.2 * problem.shard.size
    asked.clear()
    nearly = state_of(x[4:], state.model.scale, candidates=x[:4])
    after = CrossValidate(little=1e-300)(problem, nearly)
    assert (after.status.added, after.status.removed) == (4, 0)
    assert max(asked) == problem.shard.size


def test_what_a_sample_changes_is_kept_only_if_all_points_agree(rng, monkeypatch):
    x, problem, state = wrong_ball(rng, box(60.0))
    drawn = []
    sample = HeldOutPoints.sample
    monkeypatch.setattr(HeldOutPoints, "sample", lambda *a: drawn.append(0) or sample(*a))
    CrossValidate(little=0.0)(problem, state)
    assert len(drawn) > 2
    drawn.clear()
    monkeypatch.setattr(HeldOutPoints, "gain", lambda *a: -1.0)
    after = CrossValidate(little=0.0)(problem, state)
    assert len(drawn) == 1
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, x))


@pytest.mark.parametrize("few", [WIDE], indirect=True)
def test_few_photons_are_not_sampled(few, monkeypatch):
    sites, problem = few
    monkeypatch.setattr(HeldOutPoints, "sample", lambda *a: pytest.fail("a sample"))
    CrossValidate()(problem, state_of(sites[:8], 0.5, candidates=sites[8:]))
    CrossValidate(part=1.0)(problem, state_of(sites[:8], SCALE, candidates=sites[8:]))
    with pytest.raises(pytest.fail.Exception):
        CrossValidate()(problem, state_of(sites[:8], SCALE, candidates=sites[8:]))


@pytest.mark.parametrize("few", [NARROW], indirect=True)
def test_points_of_a_coarser_grid_that_were_fitted_do_not_vote(few, rng, monkeypatch):
    sites, problem = few
    training = rng.random(problem.shard.size) < 0.3
    votes = []
    start = HeldOutPoints.__init__

    def note(judge, asked, points, scale):
        votes.append(asked.shard.global_index[points])
        fitted = training[asked.shard.global_index[~points]]
        assert fitted.all()
        start(judge, asked, points, scale)

    monkeypatch.setattr(HeldOutPoints, "__init__", note)
    CrossValidate()(problem, state_of(sites[:8], SCALE, candidates=sites[8:], training=training))
    assert not any(training[v].any() for v in votes)
    assert sorted(len(v) < 0.2 * problem.shard.size for v in votes) == [False, True]


def test_selection_finds_the_best_of_all_subsets(few):
    sites, problem = few
    q, counts = problem.factor.q, problem.shard.counts
    # Two atoms are missing from the object, two of its ten positions are wrong.
    state = state_of(sites[[0, 1, 2, 3, 4, 5, 8, 9]], SCALE, candidates=sites[[6, 7, 10, 11]])
    pool = np.concatenate([state.positions, state.given(Candidates).positions])
    subsets = [np.array(s) for s in product([False, True], repeat=len(pool)) if any(s)]
    best = max(subsets, key=lambda s: likelihood(q, counts, pool[s]))
    after = CrossValidate()(problem, state)
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, pool[best]))
    assert (after.status.added, after.status.removed, after.status.selected) == (2, 2, True)
    assert len(after.given(Candidates).positions) == 4
    assert after.model.scale == state.model.scale


def test_right_atoms_are_left_alone(few):
    sites, problem = few
    state = state_of(sites[:8], SCALE, candidates=sites[8:])
    after = CrossValidate()(problem, state)
    assert (after.status.added, after.status.removed, after.status.selected) == (0, 0, False)
    np.testing.assert_array_equal(after.positions, sites[:8])


@pytest.mark.parametrize("part", [0.3, 0.6])
def test_training_and_masked_points_do_not_vote(few, rng, part):
    sites, problem = few
    training = rng.random(problem.shard.size) < 0.3
    masked = (rng.random(problem.shard.size) < part) & ~training
    blind = training | masked
    spoilt = problem.shard.counts.copy()
    spoilt[blind] = 1e6
    new = state_of(sites[[0, 1, 2, 3, 4, 5, 8]], SCALE, candidates=sites[[6, 7, 9]])
    state = altered(new, training=training)
    shard = replace(problem.shard, counts=spoilt, valid=~masked)
    after = CrossValidate()(replace(problem, shard=shard), state)
    assert sorted(map(tuple, after.positions)) == sorted(map(tuple, sites[:8]))
    # The same counts with the blind points seen: they do change the choice.
    seen = replace(problem, shard=replace(shard, valid=np.ones_like(masked)))
    other = CrossValidate()(seen, new)
    assert sorted(map(tuple, other.positions)) != sorted(map(tuple, sites[:8]))


def test_empty_object_can_be_filled(few):
    sites, problem = few
    state = state_of(np.empty((0, 3)), SCALE, candidates=sites)
    assert CrossValidate()(problem, state).status.added > 0
