"""Wrong elements: what swaps cost against direct sums, and that they are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compounds import coal, coal_ball, patches, waves

from prammol.core.parallel import Communicator
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import support_from_truth
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.model import Model, atoms_of
from prammol.reconstruction.occupancy.element_swaps import (
    element_confidence,
    elements_are_seen,
    gain_of_swaps,
    swaps_of,
    together,
)
from prammol.reconstruction.stages.default.check_changes import CheckChanges
from prammol.reconstruction.stages.default.exchange_elements import ExchangeElements
from prammol.reconstruction.state import State
from prammol.reconstruction.verdict import Verdict
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels

PATCHES = patches(14)
Q = np.concatenate([p.q() for p in PATCHES])


@pytest.fixture(scope="module")
def crystal():
    """A relaxed ball with three atoms of the wrong element inside, and the labels without them."""
    perfect = coal_ball(7.0)
    x, kinds = perfect.positions, perfect.kinds.copy()
    inner = np.argsort(np.linalg.norm(x - x.mean(axis=0), axis=1))
    kinds[inner[[0, 4, 9]]] = 1 - kinds[inner[[0, 4, 9]]]
    cluster = Cluster(coal())
    cluster.labels = Labels.of_atoms(x, kinds)
    y, _, _ = cluster.relax(x)
    cluster.close()
    lattice, edge = coal().lattice, coal().lattice_constant
    cell, motif = edge * lattice.primitive @ lattice.vectors, edge * lattice.motif
    labels = Labels(x, perfect.kinds, lattice.motif_kinds, cell, motif)
    return Atoms.of_elements(y, np.array(coal().elements)[kinds]), labels


def problem_of(atoms, labels, flux=1e18):
    data = simulate(atoms, flux, 1, PATCHES)
    made = make_problem(data, support_from_truth(atoms), coal(), 1, Communicator())
    return made.labelled(labels)


def direct_misfit(problem, atoms, scale):
    """J of some atoms by direct summation, and their structure factor."""
    gain = np.sqrt(np.concatenate([g.ravel() for g in problem.data.gain]))
    omega = gain * waves(atoms, Q).sum(axis=0)
    return PoissonMisfit(problem.shard, problem.factor).field(omega, scale)[0]


def test_a_swap_costs_what_the_misfit_says(crystal):
    truth, labels = crystal
    problem = problem_of(truth, labels.with_kinds(truth.positions, truth.kinds), 1e16)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    scale = misfit(truth.positions).scale
    swaps = swaps_of(misfit, truth.positions)
    before = direct_misfit(problem, truth, scale)

    def changed(numbers):
        symbols = truth.symbols.copy()
        symbols[numbers] = np.where(symbols[numbers] == "Al", "Co", "Al")
        other = Atoms.of_elements(truth.positions, symbols)
        return direct_misfit(problem, other, scale) - before

    both = together(misfit, truth.positions, swaps, 10.0)
    near = both[0].toarray().ravel()
    j = int(np.argmax(np.abs(near) * (np.arange(len(near)) > 0)))
    for number in (0, j, len(truth) - 1):
        assert swaps.cost[number] == pytest.approx(changed([number]), rel=0.25)
    # What is left of the pair is its overlap.
    pair = changed([0, j]) - changed([0]) - changed([j])
    assert near[j] == pytest.approx(pair, rel=0.4)


def test_wrong_elements_are_found_and_put_right(crystal):
    truth, labels = crystal
    problem = problem_of(truth, labels)
    model = Model(truth.positions, problem.data.meta["scale"], labels=labels)
    assert gain_of_swaps(problem, model) > 100
    explained = State(model, Verdict(0.0, 0.0, explained=True, converged=True))
    checked = CheckChanges()(problem, explained).verdict
    assert not checked.right
    assert not checked.converged
    state = ExchangeElements()(problem, State(model))
    assert state.status.selected
    found = atoms_of(coal(), state.model)
    np.testing.assert_array_equal(found.symbols, truth.symbols)
    told = problem.labelled(state.model.labels)
    assert gain_of_swaps(told, replace(model, labels=state.model.labels)) == 0.0
    right = State(state.model, Verdict(0.0, 0.0, explained=True, converged=True))
    assert CheckChanges()(told, right).verdict.converged
    again = ExchangeElements()(told, State(state.model))
    assert not again.status.selected
    sure = element_confidence(PoissonMisfit(told.shard, told.factor), truth.positions)
    assert sure.min() > 0.999
    doubtful = element_confidence(PoissonMisfit(problem.shard, problem.factor), truth.positions)
    np.testing.assert_array_equal(doubtful < 0.5, truth.kinds != labels.kinds_of(truth.positions))


def test_elements_that_scatter_alike_are_as_likely_as_not(crystal):
    truth, labels = crystal
    problem = problem_of(truth, labels)
    scatterers = replace(problem.factor.scatterers, mean_ratios=np.array([1.0, 1.0]), constant=True)
    alike = StructureFactor(PATCHES, 1e-9, 1, problem.shard.amplitude, scatterers)
    sure = element_confidence(PoissonMisfit(problem.shard, alike), truth.positions)
    np.testing.assert_allclose(sure, 0.5, atol=1e-9)
    # Nothing contradicts wrong elements then, and the run may not claim to have them.
    model = Model(truth.positions, problem.data.meta["scale"], labels=labels)
    unseen = replace(problem, factor=alike)
    assert not elements_are_seen(unseen, model)
    fine = State(model, Verdict(0.0, 0.0, explained=True, converged=True))
    assert not CheckChanges()(unseen, fine).verdict.converged


def test_one_element_has_nothing_to_swap():
    from small_crystal import make_problem as plain
    from small_crystal import relaxed_ball
    from small_crystal import simulate as photons

    x = relaxed_ball(5.5)
    problem, model = plain(photons(x, points=12), x=x), Model(x, 1.9)
    assert gain_of_swaps(problem, model) == 0.0
    state = State(model)
    assert ExchangeElements()(problem, state) is state


def test_a_light_atom_missing_on_the_site_of_a_heavy_one_is_put_there(crystal):
    truth, labels = crystal
    perfect = labels.kinds_of(truth.positions)
    lost = np.flatnonzero((truth.kinds == 0) & (perfect == 1))[:1]
    assert len(lost) == 1
    left, kinds = np.delete(truth.positions, lost, axis=0), np.delete(truth.kinds, lost)
    problem = problem_of(truth, labels)
    cluster = Cluster(coal())
    cluster.labels = Labels.of_atoms(left, kinds)
    left, _, _ = cluster.relax(left)
    cluster.close()
    known = labels.with_kinds(left, kinds)
    model = Model(left, problem.data.meta["scale"], labels=known)
    told = problem.labelled(known)
    # The heavy one there is no better than none, and the light one is.
    assert gain_of_swaps(told, model) > 100
    found = atoms_of(coal(), ExchangeElements()(told, State(model)).model)
    assert sorted(found.symbols) == sorted(truth.symbols)
    near = np.argmin(np.linalg.norm(found.positions - truth.positions[lost], axis=1))
    assert np.linalg.norm(found.positions[near] - truth.positions[lost]) < 0.05
    assert found.symbols[near] == "Al"


def test_single_swaps_help_where_the_best_set_is_wrong(crystal, monkeypatch):
    from prammol.reconstruction.stages.default import exchange_elements

    truth, labels = crystal

    class Everything:
        def __init__(self, taken, *_):
            self.taken = ~taken

    monkeypatch.setattr(exchange_elements, "best_flips", Everything)
    told = labels.with_kinds(truth.positions, truth.kinds)
    symbols = truth.kinds.copy()
    inner = np.argsort(np.linalg.norm(truth.positions - truth.positions.mean(axis=0), axis=1))
    symbols[inner[2]] = 1 - symbols[inner[2]]
    model = Model(truth.positions, 1.0, labels=told.with_kinds(truth.positions, symbols))
    problem = problem_of(truth, model.labels)
    state = ExchangeElements()(problem, State(model))
    found = atoms_of(coal(), state.model)
    np.testing.assert_array_equal(found.symbols, truth.symbols)
    assert not ExchangeElements(singles=0)(problem, State(model)).status.selected


def test_elements_that_have_all_changed_places_are_put_back(crystal, monkeypatch):
    from prammol.reconstruction.stages.default import exchange_elements

    truth, labels = crystal

    class Nothing:
        def __init__(self, taken, *_):
            self.taken = taken

    monkeypatch.setattr(exchange_elements, "best_flips", Nothing)
    right = labels.with_kinds(truth.positions, truth.kinds)
    problem = problem_of(truth, right.permuted((1, 0)))
    model = Model(truth.positions, 1.0, labels=right.permuted((1, 0)))
    assert (atoms_of(coal(), model).symbols != truth.symbols).all()
    state = ExchangeElements(singles=0)(problem, State(model))
    np.testing.assert_array_equal(atoms_of(coal(), state.model).symbols, truth.symbols)
    # Nor are they exchanged where they are right.
    again = ExchangeElements(singles=0)(
        problem.labelled(right), State(replace(model, labels=right))
    )
    assert not again.status.selected
