"""Crystals of three elements: what swaps cost against direct sums, and antisites put right."""

from __future__ import annotations

import numpy as np
import pytest
from compounds import waves

import prammol
from prammol.core.parallel import Communicator
from prammol.diffraction.support import support_from_truth
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.model import Model, atoms_of
from prammol.reconstruction.occupancy.element_swaps import element_confidence, swaps_of, together
from prammol.reconstruction.stages.default.exchange_elements import ExchangeElements
from prammol.reconstruction.state import State
from prammol.simulation.averages import innermost_patches
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels
from prammol.structure.unit_cell import UnitCell

# Zinc, cadmium and tellurium, each cation in layers of its own.
EDGE, HEIGHT = 4.444, 6.285
CELL = UnitCell(
    np.diag([EDGE, EDGE, HEIGHT]),
    np.array([(0, 0, 0), (0.5, 0.5, 0.5), (0, 0.5, 0.25), (0.5, 0, 0.75)]),
    np.array(["Cd", "Zn", "Te", "Te"]),
)


@pytest.fixture(scope="module")
def potential():
    return choose_potential(file="CdTeZnSeHgS0.sw", structure=CELL)


@pytest.fixture(scope="module")
def crystal(potential):
    """A relaxed ball with three atoms of the wrong element inside, and the labels without them."""
    lattice, edge = potential.lattice, potential.lattice_constant
    cells = np.indices((7, 7, 7)).reshape(3, -1).T - 3
    motif = edge * lattice.motif
    vectors = edge * lattice.primitive @ lattice.vectors
    x = np.concatenate([cells @ vectors + site for site in motif])
    members = np.repeat(np.arange(len(motif)), len(cells))
    inside = np.linalg.norm(x - [0.4, 0.9, 0.2], axis=1) < 9.0
    x, members = x[inside], members[inside]
    labels = Labels(x, members, lattice.motif_kinds, vectors, motif)
    kinds = lattice.motif_kinds[members]
    inner = np.argsort(np.linalg.norm(x - x.mean(axis=0), axis=1))[[0, 4, 9]]
    kinds[inner] = (kinds[inner] + [1, 2, 1]) % 3
    cluster = Cluster(potential)
    cluster.labels = Labels.of_atoms(x, kinds)
    y, _, _ = cluster.relax(x)
    cluster.close()
    return Atoms.of_elements(y, np.array(potential.elements)[kinds]), labels


@pytest.fixture(scope="module")
def problem(crystal, potential):
    truth, labels = crystal
    patches = innermost_patches(truth, 16, potential.lattice_constant, potential.lattice)
    data = prammol.simulate(truth, 1e17, 1, patches)
    made = make_problem(data, support_from_truth(truth), potential, 1, Communicator())
    return made.labelled(labels)


def test_swaps_cost_what_direct_sums_say(crystal, problem, potential):
    truth, labels = crystal
    right = problem.labelled(labels.with_kinds(truth.positions, truth.kinds))
    misfit = PoissonMisfit(right.shard, right.factor)
    scale = misfit(truth.positions).scale
    q = np.concatenate([p.q() for p in problem.data.patches])
    gain = np.sqrt(np.concatenate([g.ravel() for g in problem.data.gain]))

    def value(symbols):
        omega = gain * waves(Atoms.of_elements(truth.positions, symbols), q).sum(axis=0)
        return misfit.field(omega, scale)[0]

    before = value(truth.symbols)

    def changed(numbers):
        symbols = truth.symbols.copy()
        symbols[swaps.of[numbers]] = np.array(potential.elements)[swaps.kinds[numbers]]
        return value(symbols) - before

    swaps = swaps_of(misfit, truth.positions)
    assert len(swaps.of) == 2 * len(truth)
    both = together(misfit, truth.positions, swaps, 10.0).toarray()
    for number in (0, 1, 40, 41, len(swaps.of) - 1):
        assert swaps.cost[number] == pytest.approx(changed([number]), rel=0.25)
    # What is left of two is their overlap, but those of one atom can't both be.
    apart = np.abs(both[0]) * (swaps.of != 0)
    j = int(apart.argmax())
    pair = changed([0, j]) - changed([0]) - changed([j])
    assert both[0, j] == pytest.approx(pair, rel=0.4)
    assert both[0, 1] > 1e3 * apart.max()


def test_wrong_elements_are_put_right(crystal, problem, potential):
    truth, labels = crystal
    model = Model(truth.positions, problem.data.meta["scale"], labels=labels)
    state = State(model)
    for _ in range(3):  # the last is of two that scatter nearly alike
        told = problem.labelled(state.model.labels)
        state = ExchangeElements()(told, State(state.model))
    found = atoms_of(potential, state.model)
    np.testing.assert_array_equal(found.symbols, truth.symbols)
    told = problem.labelled(state.model.labels)
    sure = element_confidence(PoissonMisfit(told.shard, told.factor), state.positions)
    assert sure.min() > 0.99


def test_elements_that_changed_places_in_turn_are_put_back(crystal):
    truth, labels = crystal
    # Zinc where cadmium belongs, cadmium where tellurium does, tellurium where zinc does.
    turned = labels.permuted((1, 2, 0))
    before, after = labels.kinds_of(truth.positions), turned.kinds_of(truth.positions)
    for kind, place in enumerate((1, 2, 0)):
        np.testing.assert_array_equal(after == kind, before == place)
