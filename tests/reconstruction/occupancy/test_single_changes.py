"""Which change of a single atom the counts ask for."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.single_changes import single_changes
from prammol.structure.vacant_sites import vacant_sites


def changes(x, displacements=None, seed=1):
    truth = relaxed_ball(8.5)
    motion = None if displacements is None else np.full(len(truth), displacements)
    data = simulate(truth, seed=seed, displacements=motion)
    problem = make_problem(data, x=truth, cluster=True)
    model = Model(x, 1.9)
    if displacements is not None:
        model = Model(x, 1.9, displacements=np.full(len(x), displacements))
    try:
        return single_changes(problem, model)
    finally:
        problem.cluster.close()


@cache
def relaxed(name):
    """The ball without an atom, with one more, or with one elsewhere; where that was done."""
    x, metal = relaxed_ball(8.5), aluminium()
    gaps = np.linalg.norm(x, axis=1)
    vacant = vacant_sites(x, metal.bond_reach, metal.neighbour_distance)
    outermost = int(gaps.argmax())
    if name == "missing":
        k = int(gaps.argmin())
        y, where = np.delete(x, k, axis=0), x[k]
    elif name == "more":
        y, where = np.concatenate([x, vacant[:1]]), vacant[0]
    else:
        far = np.linalg.norm(vacant - x[outermost], axis=1)
        y, where = x.copy(), x[outermost]
        y[outermost] = vacant[far.argmin()]
        return y, where
    cluster = Cluster(metal)
    y, _, _ = cluster.relax(y)
    cluster.close()
    return y, where


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_better_than_the_right_atoms(seed):
    found = changes(relaxed_ball(8.5), seed=seed)
    assert found.suspects == []
    assert found.best is None
    assert 10 < found.least < 16


@pytest.mark.parametrize(("name", "kind"), [("missing", "addition"), ("more", "removal")])
def test_an_atom_too_few_or_too_many(name, kind):
    y, where = relaxed(name)
    best = changes(y).best
    assert best is not None
    assert best.kind == kind
    assert np.linalg.norm(best.position - where) < 1.0
    assert best.gain > 1000


def test_an_atom_in_the_site_beside_its_own():
    y, where = relaxed("moved")
    best = changes(y).best
    assert best is not None
    assert best.kind == "exchange"
    assert np.linalg.norm(best.position - where) < 0.6


def test_atoms_that_move_are_compared_with_atoms_that_move():
    x = relaxed_ball(8.5)
    assert changes(x, displacements=0.02).best is None
    k = int(np.linalg.norm(x, axis=1).argmin())
    best = changes(np.delete(x, k, axis=0), displacements=0.02).best
    assert best is not None
    assert best.kind == "addition"
    assert np.linalg.norm(best.position - x[k]) < 0.6
