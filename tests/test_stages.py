"""The stages of preset paper, one by one, and the settings of presets."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import line_search
from small_crystal import Rank, box, fcc_ball, make_problem, relaxed_ball, simulate
from states import altered, state_of

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.diffraction.support import Support, support_from_truth
from prammol.reconstruction.presets import PRESETS, get_preset, stage_name
from prammol.reconstruction.refinement.bfgs import bfgs
from prammol.reconstruction.stages.paper.cross_validate import CrossValidate
from prammol.reconstruction.stages.paper.fit_positions import (
    FitPositions,
    NegativeLogLikelihood,
    TrainingPoints,
    training_points,
)
from prammol.reconstruction.stages.paper.generate_candidates import (
    Candidates,
    GenerateCandidates,
    along_forces,
    circumcentres,
    filtered,
    near_support,
    random_near,
)
from prammol.reconstruction.stages.paper.initial_lattice import FillAtRandom, FillLattice
from prammol.reconstruction.stages.paper.relax_subset import RelaxSubset
from prammol.reconstruction.state import State
from prammol.structure.atoms import Atoms
from prammol.structure.separation import apart

NEIGHBOURS = 4.05 / 2**0.5


def trained(stage, problem, state):
    """Which points a stage fitted positions to."""
    return stage(problem, state).given(TrainingPoints).mask


def proposed(stage, problem, state):
    """Where a stage would put new atoms."""
    return stage(problem, state).given(Candidates).positions


@pytest.fixture(scope="module")
def data():
    """Counts of a small ball, a third of the first patch masked."""
    whole = simulate(relaxed_ball(6.0), points=12)
    valid = [np.ones(c.shape, dtype=bool) for c in whole.counts]
    valid[0][:4] = False
    return Diffraction(whole.patches, whole.counts, valid, whole.meta)


# -- start ----------------------------------------------------------------------


def test_lattice_fills_the_support_and_nothing_else(data):
    support = Support((-15, -15, -15), np.eye(3) * 5, np.ones((6, 6, 6), dtype=bool))
    problem = make_problem(data, support, cluster=True)
    after = FillLattice()(problem, State.empty())
    x = after.positions
    assert support.contains(x).all()
    # Four atoms per cell of 4.0 Å; the surface makes it inexact.
    assert len(x) == pytest.approx(4 * support.volume / 4.0**3, rel=0.05)
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() == pytest.approx(4.0 / 2**0.5)
    assert (np.isclose(distances, distances.min()).sum(axis=1) == 12).any()
    omega = np.abs(direct_structure_factor(problem.factor.q, x))[problem.shard.valid]
    amplitude = np.sqrt(problem.shard.counts[problem.shard.valid])
    assert after.model.scale == pytest.approx(amplitude @ omega / (omega @ omega))


def test_lattice_can_be_turned_and_its_place_is_random(data):
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    support = Support((0, 0, 0), np.eye(3) * 5, np.ones((4, 4, 4), dtype=bool))
    stage = FillLattice(lattice_constant=4.1, orientation=tuple(map(tuple, turn)))
    starts = []
    for seed in (1, 1, 2):
        problem = make_problem(data, support, seed=seed, cluster=True)
        starts.append(stage(problem, State.empty()).positions)
    steps = (starts[0] - starts[0][0]) @ turn.T / (4.1 / 2)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-8)
    assert (np.rint(steps).sum(axis=1) % 2 == 0).all()  # fcc: the sum of the halves is even
    np.testing.assert_array_equal(starts[0], starts[1])
    offset = (starts[0][0] - starts[2][0]) @ turn.T / (4.1 / 2)
    assert np.abs(offset - np.rint(offset)).max() > 1e-3


def test_orientation_that_is_no_rotation_is_refused(data):
    problem = make_problem(data, cluster=True)
    stage = FillLattice(orientation=((1, 0, 0), (0, 2, 0), (0, 0, 1)))
    with pytest.raises(InputError, match="rotation"):
        stage(problem, State.empty())


# -- the split ------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [2, 3, 4, 50])
def test_split_does_not_depend_on_the_ranks(data, ranks):
    def drawn(rank, size):
        shard = local_shard(data, Rank(rank, size))
        mask = training_points(data, shard, 0.02, np.random.default_rng(5))
        assert mask.shape == shard.counts.shape
        return shard.global_index[mask]

    together = np.concatenate([drawn(r, ranks) for r in range(ranks)])
    np.testing.assert_array_equal(np.sort(together), np.sort(drawn(0, 1)))


@pytest.mark.parametrize("fraction", [0.005, 0.3])
def test_split_has_the_right_size_and_leaves_masked_points_out(data, fraction, rng):
    shard = local_shard(data, Communicator())
    mask = training_points(data, shard, fraction, rng)
    assert mask.sum() == round(fraction * shard.valid.sum())
    assert not (mask & ~shard.valid).any()


def test_split_is_fresh_in_each_iteration_and_handed_on(data):
    x = relaxed_ball(6.0)
    problem = make_problem(data, x=x)
    stage = FitPositions(fraction=0.05, iterations=1)
    masks = [trained(stage, problem, state_of(x, 1.9, iteration=i)) for i in (0, 1, 0)]
    np.testing.assert_array_equal(masks[0], masks[2])
    common = (masks[0] & masks[1]).sum() / masks[0].sum()
    assert common < 0.25


def test_split_draws_as_many_points_of_one_coarser_grid():
    """Where one suffices, and another one in other iterations."""
    x = relaxed_ball(6.0)
    data = simulate(x, points=24)
    stage = FitPositions(fraction=0.02, iterations=1)
    grids = set()
    for i in range(12):
        state = state_of(x, 1.9, iteration=i)
        problem = make_problem(data, box(14.0))
        found = np.flatnonzero(trained(stage, problem, state))
        assert np.isclose(len(found), 0.02 * problem.shard.valid.sum(), rtol=0.35)
        assert problem.shard.valid[found].all()
        shape = data.patches[0].shape
        parity = {tuple(np.array(np.unravel_index(k % np.prod(shape), shape)) % 2) for k in found}
        assert len(parity) == 1
        grids |= parity
        wide = np.flatnonzero(trained(stage, make_problem(data, box(60.0)), state))
        assert len(wide) == round(0.02 * problem.shard.valid.sum())
        whole = np.array([np.unravel_index(k % np.prod(shape), shape) for k in wide])
        assert (whole.min(axis=0) < whole.max(axis=0)).all()
        assert len({tuple(w % 2) for w in whole}) == 8
    assert len(grids) > 3
    # Nothing would be left to choose models by.
    many = trained(FitPositions(fraction=0.3, iterations=1), problem, state_of(x, 1.9))
    assert many.sum() == round(0.3 * problem.shard.valid.sum())


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_without_two_parts_is_refused(data, fraction, rng):
    with pytest.raises(InputError, match=r"fit_positions\.fraction"):
        training_points(data, local_shard(data, Communicator()), fraction, rng)


# -- estimate -------------------------------------------------------------------


def test_gradient_by_finite_differences(data, rng):
    x = relaxed_ball(6.0) + rng.normal(scale=0.1, size=relaxed_ball(6.0).shape)
    problem = make_problem(data)
    objective = NegativeLogLikelihood(problem, rng.random(problem.shard.size) < 0.1, 1.8)
    value, gradient = objective(x.ravel())
    q, shard = problem.factor.q, problem.shard
    used = np.zeros(shard.size, dtype=bool)
    used[objective._points] = True
    lam = np.abs(1.8 * direct_structure_factor(q, x)) ** 2
    assert value == pytest.approx(np.sum((lam - shard.counts * np.log(lam))[used]), rel=1e-9)
    for k in rng.integers(x.size, size=6):
        step = np.zeros(x.size)
        step[k] = 1e-4
        slope = (objective(x.ravel() + step)[0] - objective(x.ravel() - step)[0]) / 2e-4
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-6 * np.abs(gradient).max())


def test_masked_points_have_no_weight_in_the_estimate(data):
    x = relaxed_ball(6.0)
    spoilt = [np.where(v, c, 1e7) for c, v in zip(data.counts, data.valid, strict=True)]
    other = Diffraction(data.patches, spoilt, data.valid)
    start = state_of(x + 0.05 * np.sin(7 * x), 1.7)
    results = [FitPositions(0.05, 3)(make_problem(d), start) for d in (data, other)]
    np.testing.assert_array_equal(results[0].positions, results[1].positions)
    assert results[0].model.scale == results[1].model.scale


def test_estimate_improves_the_training_points_and_sets_the_scale(data):
    x = relaxed_ball(6.0)
    problem = make_problem(data)
    before = state_of(x + 0.1 * np.sin(5 * x), 1.9)
    after = FitPositions(0.05, 10)(problem, before)
    valid, counts = problem.shard.valid, problem.shard.counts
    omegas = [
        np.abs(direct_structure_factor(problem.factor.q, s.positions)) for s in (before, after)
    ]

    def likelihood(omega):
        lam = (1.9 * omega) ** 2
        return np.sum((counts * np.log(lam) - lam)[after.given(TrainingPoints).mask])

    assert likelihood(omegas[1]) > likelihood(omegas[0])
    omega = omegas[1][valid]
    assert after.model.scale == pytest.approx(np.sqrt(counts[valid]) @ omega / (omega @ omega))


def dense_bfgs(f, g, x, iterations):
    """Textbook BFGS with the matrix: Nocedal & Wright, Eqs. 6.17 and 6.20."""
    eye = np.eye(len(x))
    inverse = None
    for _ in range(iterations):
        slope = g(x)
        p = -slope / np.linalg.norm(slope) if inverse is None else -inverse @ slope
        s = line_search(f, g, x, p, slope, f(x))[0] * p
        y = g(x + s) - slope
        if inverse is None:
            inverse = eye * (y @ s) / (y @ y)
        rho = 1 / (y @ s)
        left = eye - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
        x = x + s
    return x


def test_bfgs_without_the_matrix_is_bfgs(rng):
    a = rng.normal(size=(6, 6))
    a = a @ a.T + np.eye(6)

    def f(x):
        return float(x @ a @ x + np.sum(x**4) - np.sum(np.sin(3 * x)))

    def g(x):
        return 2 * a @ x + 4 * x**3 - 3 * np.cos(3 * x)

    start = rng.normal(size=6) * 2
    for n in (1, 2, 5, 9):
        ours = bfgs(lambda x: (f(x), g(x)), start, n)
        np.testing.assert_allclose(ours, dense_bfgs(f, g, start, n), rtol=1e-6, atol=1e-8)


def test_bfgs_stops_where_there_is_nothing_to_gain():
    x = np.zeros(3)
    np.testing.assert_array_equal(bfgs(lambda v: (float(v @ v), 2 * v), x, 10), x)


# -- generate -------------------------------------------------------------------


def test_circumcentres_are_the_centres_of_empty_spheres(rng):
    x = rng.random((60, 3)) * 10
    centres = circumcentres(x, 0.0, 4.0)
    distances = np.sort(np.linalg.norm(centres[:, None] - x, axis=2), axis=1)
    assert len(centres) > 50
    np.testing.assert_allclose(distances[:, 3], distances[:, 0], rtol=1e-6)
    assert (distances[:, 0] <= 4.0).all()


def test_circumcentres_find_a_vacancy():
    x = fcc_ball(9.0)
    hole = int(np.argmin(np.linalg.norm(x, axis=1)))
    found = circumcentres(np.delete(x, hole, axis=0), 0.75 * NEIGHBOURS, 1.2 * NEIGHBOURS)
    assert np.linalg.norm(found - x[hole], axis=1).min() < 0.05


def test_atoms_in_a_plane_have_no_circumcentres():
    plane = np.array([(i, j, 0.0) for i, j in itertools.product(range(4), repeat=2)])
    assert circumcentres(plane, 0, 10).shape == (0, 3)
    assert circumcentres(plane[:2], 0, 10).shape == (0, 3)


def test_forces_point_the_way():
    x = np.array([[0.0, 0, 0], [5.0, 0, 0], [9.0, 0, 0]])
    forces = np.array([[0, 3.0, 4.0], [0.01, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(along_forces(x, forces, 0.1, 2.5), [[0, 1.5, 2.0]])


def test_random_positions_are_near_the_object(rng):
    x = np.array([[0.0, 0, 0], [100.0, 0, 0]])
    new = random_near(x, 400, 2.0, 3.0, rng)
    distance = np.linalg.norm(new[:, None] - x, axis=2).min(axis=1)
    assert distance.min() >= 2.0
    assert distance.max() <= 3.0
    # Uniform in volume: half of it lies beyond the radius whose cube is the mean of the cubes.
    assert 0.4 < (distance > ((2.0**3 + 3.0**3) / 2) ** (1 / 3)).mean() < 0.6
    assert abs(np.mean(new[:, 0] > 50) - 0.5) < 0.1


def test_filter_keeps_what_is_inside_and_apart():
    support = Support((0, 0, 0), np.eye(3) * 4, np.ones((3, 1, 1), dtype=bool))
    host = np.array([[0.0, 0, 0]])
    guests = np.array(
        [[1.0, 0, 0], [2.5, 0, 0], [3.5, 0, 0], [9.0, 0, 0], [30.0, 0, 0], [np.nan, 0, 0]]
    )
    kept = filtered(guests, host, 2.0, support)
    np.testing.assert_array_equal(kept, guests[[1, 3]])


def test_slack_widens_the_support_by_a_distance(rng):
    support = Support((0, 0, 0), np.eye(3) * 4, np.ones((1, 1, 1), dtype=bool))
    x = rng.uniform(-8, 8, size=(3000, 3))
    outside = np.linalg.norm(np.maximum(np.abs(x) - 2, 0), axis=1)  # to the cube's surface
    near = near_support(x, support, 1.5)
    assert near[outside < 1.0].all()  # up to the angle between two of the 26 directions
    assert not near[outside > 1.5].any()
    np.testing.assert_array_equal(near_support(x, support, 0.0), support.contains(x))


def test_shifted_object_gets_atoms_outside_the_support(data):
    x = relaxed_ball(8.5)
    shift = np.array([1.6, 0, 0])
    support = support_from_truth(Atoms(x, "Al"), 2.5)
    problem = make_problem(data, support, cluster=True)
    outside = np.flatnonzero(~support.contains(x + shift))
    missing = outside[np.argmin(np.linalg.norm(x[outside], axis=1))]
    state = state_of(np.delete(x, missing, axis=0) + shift, 1.9)
    gaps = [
        np.linalg.norm(
            proposed(GenerateCandidates(slack=s, settle=0), problem, state) - x[missing] - shift,
            axis=1,
        )
        for s in (0.0, 1.0)
    ]
    assert (gaps[0] > 1.0).all()
    assert gaps[1].min() < 0.2
    # Not before the object has settled.
    stage = GenerateCandidates(slack=1.0, settle=3)
    early, late = (proposed(stage, problem, altered(state, iteration=i)) for i in (2, 3))
    assert near_support(early, support, 0.0).all()
    assert not near_support(late, support, 0.0).all()


def test_a_far_object_gets_atoms_where_the_support_is_moved_to(data):
    """A random start crystallises anywhere in the support, and beyond it on one side."""
    x = relaxed_ball(8.5)
    shift = np.array([0.0, -6.0, 0.0])
    support = support_from_truth(Atoms(x, "Al"), 2.5)
    problem = make_problem(data, support, cluster=True)
    outside = np.flatnonzero(~near_support(x + shift, support, NEIGHBOURS))
    missing = outside[np.argmin(np.linalg.norm(x[outside], axis=1))]
    object_ = np.delete(x, missing, axis=0) + shift
    new = proposed(GenerateCandidates(settle=0), problem, state_of(object_, 1.9))
    assert np.linalg.norm(new - x[missing] - shift, axis=1).min() < 0.2
    early = proposed(GenerateCandidates(settle=1), problem, state_of(object_, 1.9))
    assert support.contains(early).all()


def test_guests_may_be_where_the_support_is_and_where_it_is_moved_to():
    support = Support((0, 0, 0), np.eye(3) * 4, np.ones((1, 1, 1), dtype=bool))
    guests = np.array([[0, 0, 0], [10, 0, 0], [13, 0, 0], [15, 0, 0], [-10, 0, 0]], dtype=float)
    far = np.full((1, 3), 50.0)
    moved = np.array([10.0, 0, 0])
    for drift, kept in ((None, [0]), (np.zeros(3), [0]), (moved, [0, 1, 2])):
        found = filtered(guests, far, 1.0, support, slack=1.5, drift=drift)
        np.testing.assert_array_equal(found, guests[kept])


def test_apart_keeps_the_first_of_a_row(rng):
    x = rng.random((80, 3)) * 4
    keep = apart(x, 0.8)
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    for j in range(len(x)):  # kept if and only if no kept one before it is close
        assert keep[j] == (not (keep[:j] & (distances[j, :j] < 0.8)).any())


@pytest.mark.parametrize("where", ["bulk", "surface"])
def test_generation_proposes_the_missing_atom(data, where):
    x = relaxed_ball(8.5)
    order = np.argsort(np.linalg.norm(x, axis=1))
    hole = order[0] if where == "bulk" else order[-40]
    rest = np.delete(x, hole, axis=0)
    problem = make_problem(data, support_from_truth(Atoms(x, "Al")), cluster=True)
    after = GenerateCandidates(slack=0.0)(problem, state_of(rest, 1.9))
    new = after.given(Candidates).positions
    assert np.linalg.norm(new - x[hole], axis=1).min() < 0.2
    distances = np.linalg.norm(new[:, None] - np.concatenate([rest, new]), axis=2)
    distances[np.arange(len(new)), len(rest) + np.arange(len(new))] = np.inf
    assert distances.min() > 0.75 * NEIGHBOURS - 1e-9
    assert problem.support.contains(new).all()
    np.testing.assert_array_equal(after.positions, rest)


def test_generation_without_an_object_proposes_nothing(data):
    problem = make_problem(data, cluster=True)
    assert len(proposed(GenerateCandidates(), problem, State.empty())) == 0


# -- relax ----------------------------------------------------------------------


def test_a_random_half_moves_and_the_energy_falls(data, rng):
    x = relaxed_ball(6.0) + rng.normal(scale=0.05, size=relaxed_ball(6.0).shape)
    problem = make_problem(data, cluster=True)
    after = [RelaxSubset()(problem, state_of(x, 1.9, iteration=i)).positions for i in (0, 1)]
    still = [(a == x).all(axis=1) for a in after]
    for a, s in zip(after, still, strict=True):
        assert s.sum() == pytest.approx(len(x) / 2, abs=1)
        energies = [problem.cluster.energy_forces(p)[0] for p in (x, a)]
        assert energies[1] < energies[0]
    assert (still[0] != still[1]).any()


def test_few_iterations_do_while_many_atoms_come_and_go(data, rng, monkeypatch):
    x = relaxed_ball(6.0) + rng.normal(scale=0.05, size=relaxed_ball(6.0).shape)
    problem = make_problem(data, cluster=True)
    most = []
    relax = problem.cluster.relax
    # That of the free tetrahedron has its own defaults.
    monkeypatch.setattr(problem.cluster, "relax", lambda *a: most.append(a[3:]) or relax(*a))
    stage = RelaxSubset(max_iterations=50, coarse_iterations=3, many=10)
    finals = []
    for added, removed in [(10, 0), (4, 6), (6, 5), (0, 11)]:
        after = stage(problem, state_of(x, 1.9, added=added, removed=removed))
        finals.append(problem.cluster.energy_forces(after.positions)[0])
    assert [m[0] for m in most if m] == [50, 50, 3, 3]
    assert finals[0] == finals[1] < finals[2] == finals[3] < problem.cluster.energy_forces(x)[0]
    RelaxSubset(max_iterations=2, coarse_iterations=3)(problem, state_of(x, 1.9, added=99))
    assert most[-1][0] == 2


def test_atoms_of_high_energy_always_move(data):
    ball = relaxed_ball(6.0)
    far = np.array([[ball[:, 0].max() + 3.6, 0.0, 0.0]])  # weakly bound: above the cutoff
    x = np.concatenate([ball, far])
    problem = make_problem(data, cluster=True)
    energies = problem.cluster.atom_energies(x)
    limit = 0.5 * problem.cluster.free_tetrahedron_energy()
    assert energies[-1] > limit > energies[:-1].max()
    after = RelaxSubset(fraction=0.0)(problem, state_of(x, 1.9))
    moved = (after.positions != x).any(axis=1)
    assert moved[-1]
    assert moved.sum() == 1


@pytest.mark.parametrize(
    "bad", [[[0.0, 0, 0], [0.0, 0, 1e-9]], [[300.0, 0, 0]]], ids=["overlap", "evaporated"]
)
def test_overlapping_and_lost_atoms_do_not_stop_it(data, bad):
    ball = relaxed_ball(6.0)
    x = np.concatenate([ball, np.array(bad) + ball[0] + [0, 0, 0.7]])
    problem = make_problem(data, cluster=True)
    after = RelaxSubset()(problem, state_of(x, 1.9))
    assert np.isfinite(after.positions).all()
    assert len(after.positions) == len(x) - after.status.removed
    gaps = np.linalg.norm(after.positions[:, None] - after.positions, axis=2)
    assert gaps[np.triu_indices(len(gaps), 1)].min() > 0.5


# -- presets --------------------------------------------------------------------


def test_paper_preset_has_the_papers_settings():
    preset = get_preset("paper")
    settings = preset.settings()
    assert [stage_name(s) for s in preset.loop] == [
        "fit_positions",
        "generate_candidates",
        "cross_validate",
        "relax_subset",
    ]
    expected = {
        "patience": 100,
        "fit_positions.fraction": 0.005,
        "fit_positions.iterations": 10,
        "relax_subset.fraction": 0.5,
        "relax_subset.cutoff": 0.5,
    }
    assert {k: settings[k] for k in expected} == expected


def test_settings_are_changed_by_name():
    preset = get_preset("paper").with_settings({"patience": 7, "fit_positions.fraction": 0.1})
    assert preset.settings()["patience"] == 7
    assert preset.settings()["fit_positions.fraction"] == 0.1
    assert replace(preset.loop[0], fraction=0.005) == PRESETS["paper"].loop[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit_positions.fractoin": 0.1}, "did you mean 'fit_positions.fraction'"),
        ({"patience": "long"}, "patience"),
        ({"patience": 1.5}, "patience"),
        ({"fit_positions.fraction": True}, "fit_positions.fraction"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        get_preset("paper").with_settings(changes)


def test_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'paper'"):
        get_preset("papre")


# -- ranks without points ---------------------------------------------------------


def test_a_rank_without_points_takes_part(data):
    x = relaxed_ball(6.0)
    problem = make_problem(data, comm=Rank(99, 100), cluster=False)
    assert problem.shard.size == 0
    value, gradient = NegativeLogLikelihood(problem, problem.shard.valid, 1.9)(x.ravel())
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(x.size))
    after = CrossValidate()(problem, state_of(x[1:], 1.9, candidates=x[:1]))
    np.testing.assert_array_equal(after.positions, x[1:])


def test_random_start_is_in_the_support_and_not_a_lattice():
    x = relaxed_ball(10.0)
    data = simulate(x, points=16)
    support = support_from_truth(Atoms(x, "Al"), 3.0)
    numbers = set()
    for seed in (1, 2):
        problem = make_problem(data, support, seed, cluster=True)
        found = FillAtRandom()(problem, State.empty())
        again = FillAtRandom()(problem, State.empty())
        problem.cluster.close()
        assert np.array_equal(found.positions, again.positions)
        y = found.positions
        near = np.linalg.norm(y[:, None] - x[None], axis=2).min(axis=1)
        assert near.max() < 6.0
        # A lattice would have most atoms within some tenths of an angstrom.
        assert np.median(near) > 0.4
        gap = np.linalg.norm(y[:, None] - y[None], axis=2) + 10 * np.eye(len(y))
        assert gap.min() > 2.0
        assert found.model.scale > 0
        numbers.add(len(y))
    assert len(numbers) == 2
