"""The walk over numbers of removed and added atoms, against direct sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from candidates import SCALE, likelihood

from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.reconstruction.stages.paper.cross_validate import grid_search
from prammol.reconstruction.stages.paper.grid_likelihood import GridLikelihood


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
def test_the_search_climbs_to_the_top_of_a_hill(top):
    i, j = np.indices((7, 5))
    table = -((i - top[0]) ** 2.0) - 1.3 * (j - top[1]) ** 2
    found, asked = table_search(table)
    assert found == top
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("flip", [False, True], ids=["undo removals", "undo additions"])
def test_the_search_takes_back_earlier_steps(flip):
    # A ridge that leads out along one axis and turns back while it climbs the other.
    table = np.full((6, 6), -100.0)
    ridge = [(0, 0), (1, 0), (2, 0), (3, 1), (2, 2), (1, 3), (0, 4), (0, 5)]
    for height, cell in enumerate(ridge):
        table[cell] = height
    found, _ = table_search(table.T if flip else table)
    assert found == ((5, 0) if flip else (0, 5))


def test_the_search_ends_where_no_neighbour_is_better_by_the_tolerance():
    table = np.array([[0.0], [10.0], [10.5], [30.0]])
    assert table_search(table, tolerance=1.0)[0] == (1, 0)
    assert table_search(table)[0] == (3, 0)


def test_the_search_stays_with_nothing_to_change():
    assert grid_search((0, 0), lambda here, cells: pytest.fail("nothing to ask")) == ((0, 0), 0)


def test_the_likelihood_of_every_cell_is_that_of_direct_sums(few):
    sites, problem = few
    leave, enter, rest = sites[:3], sites[8:11], sites[3:8]
    q, counts = problem.factor.q, problem.shard.counts
    points = problem.shard.valid
    start = np.concatenate([leave, rest])
    walk = GridLikelihood(problem, points, problem.factor.forward(start), SCALE, leave, enter)
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


def test_points_have_the_weights_that_are_given(few, rng):
    sites, problem = few
    q, counts = problem.factor.q, problem.shard.counts
    for sampled in (True, False):
        votes = np.where(rng.random(problem.shard.size) < 0.2, rng.uniform(1, 9, len(counts)), 0)
        omega = problem.factor.forward(sites[:8])
        walk = GridLikelihood(problem, votes, omega, SCALE, sites[:3], sites[8:11], sampled)

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


@pytest.mark.parametrize("dark", [True, False])
def test_points_have_the_gain_that_is_known(few, dark):
    """A gain that falls with q, with a background and without."""
    sites, ideal = few
    q, counts = ideal.factor.q, ideal.shard.counts
    gain = np.exp(-0.3 * (np.sum(q**2, axis=1) - 7.0))
    background = np.zeros(len(q)) if dark else np.full(len(q), 4.0)
    shard = replace(ideal.shard, amplitude=np.sqrt(gain), background=None if dark else background)
    factor = StructureFactor(shard.patches, 1e-10, amplitude=shard.amplitude)
    problem = replace(ideal, shard=shard, factor=factor)
    leave, enter, rest = sites[:3], sites[8:11], sites[3:8]

    def exact(x):
        lam = SCALE**2 * gain * np.abs(direct_structure_factor(q, x)) ** 2 + background
        return np.sum((counts * np.log(lam) - lam)[shard.valid])

    start = np.concatenate([leave, rest])
    walk = GridLikelihood(problem, shard.valid, factor.forward(start), SCALE, leave, enter)
    for here, cell in [((0, 0), (1, 0)), ((1, 0), (2, 1)), ((2, 1), (1, 2))]:
        x = np.concatenate([leave[cell[0] :], rest, enter[: cell[1]]])
        gained = walk.gains(here, [cell])[0]
        assert gained == pytest.approx(exact(x) - exact(start), rel=1e-4, abs=1.0)
        omega = np.sqrt(gain) * direct_structure_factor(q, x)
        np.testing.assert_allclose(walk.field(cell), omega, atol=1e-4)
