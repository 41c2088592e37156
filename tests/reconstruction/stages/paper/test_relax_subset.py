"""A random half of the atoms relaxed, and those of high energy."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball
from states import state_of

from prammol.reconstruction.stages.paper.relax_subset import RelaxSubset


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


def test_few_iterations_suffice_while_many_atoms_come_and_go(data, rng, monkeypatch):
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
def test_overlapping_and_lost_atoms_do_not_stop_the_relaxation(data, bad):
    ball = relaxed_ball(6.0)
    x = np.concatenate([ball, np.array(bad) + ball[0] + [0, 0, 0.7]])
    problem = make_problem(data, cluster=True)
    after = RelaxSubset()(problem, state_of(x, 1.9))
    assert np.isfinite(after.positions).all()
    assert len(after.positions) == len(x) - after.status.removed
    gaps = np.linalg.norm(after.positions[:, None] - after.positions, axis=2)
    assert gaps[np.triu_indices(len(gaps), 1)].min() > 0.5
