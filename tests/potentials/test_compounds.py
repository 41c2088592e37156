"""Potentials of several elements: against sums over their tables, LAMMPS and differences."""

from __future__ import annotations

import numpy as np
import pytest
from compounds import coal, coal_ball
from scipy.interpolate import CubicSpline

from prammol.core.errors import PotentialError
from prammol.potentials.choose import choose_potential, formula_of
from prammol.potentials.eam import AdatomEnergy, read_setfl
from prammol.potentials.lammps import Cluster
from prammol.potentials.periodic_crystal import PeriodicCrystal
from prammol.potentials.tables import read_tables
from prammol.structure.labels import Labels


@pytest.fixture
def cluster():
    made = Cluster(coal())
    yield made
    made.close()


def direct_energy(x, kinds):
    """Energy of atoms by a sum over all pairs and the tables of the file [eV]."""
    tables = read_tables(coal().file, "eam/alloy")
    own = [tables.elements.index(name) for name in coal().elements]
    r = tables.d_r * np.arange(len(tables.density[0]))
    rho_grid = tables.d_rho * np.arange(len(tables.embedding[0]))
    rho, pair = np.zeros(len(x)), 0.0
    for i in range(len(x)):
        for j in range(len(x)):
            gap = np.linalg.norm(x[i] - x[j])
            if i == j or gap >= tables.cutoff:
                continue
            a, b = own[kinds[i]], own[kinds[j]]
            rho[i] += CubicSpline(r, tables.density[b])(gap)
            place = max(a, b) * (max(a, b) + 1) // 2 + min(a, b)
            pair += 0.5 * CubicSpline(r[1:], tables.pair[place][1:])(gap) / gap
    embedded = [CubicSpline(rho_grid, tables.embedding[own[k]])(v) for k, v in zip(kinds, rho)]  # noqa: B905
    return pair + sum(embedded)


def test_the_energy_of_two_elements_is_the_sum_over_their_tables(cluster, rng):
    x = coal_ball(3.6).positions + rng.normal(0, 0.1, (len(coal_ball(3.6)), 3))
    kinds = coal_ball(3.6).kinds
    cluster.labels = Labels.of_atoms(x, kinds)
    energy, forces = cluster.energy_forces(x)
    assert energy == pytest.approx(direct_energy(x, kinds), abs=2e-3)
    swapped = kinds.copy()
    swapped[:2] = 1 - swapped[:2]
    cluster.labels = Labels.of_atoms(x, swapped)
    other, _ = cluster.energy_forces(x)
    assert abs(other - energy) > 0.1
    assert other == pytest.approx(direct_energy(x, swapped), abs=2e-3)
    cluster.labels = Labels.of_atoms(x, kinds)
    step = np.zeros(x.shape)
    step[0, 0] = 1e-4
    up, down = (cluster.energy_forces(y)[0] for y in (x + step, x - step))
    assert forces[0, 0] == pytest.approx(-(up - down) / 2e-4, abs=1e-5)


def test_adatoms_of_two_elements_have_the_energies_of_lammps(cluster, rng):
    atoms = coal_ball(6.0)
    x, kinds = atoms.positions, atoms.kinds
    g = x[rng.integers(0, len(x), 400)] + 2.5 * rng.normal(size=(400, 3))
    gap = np.linalg.norm(g[:, None] - x, axis=2).min(axis=1)
    g = g[(gap > 1.8) & (gap < 4)][:12]
    own = np.arange(len(g)) % 2
    energies, forces = AdatomEnergy(read_setfl(coal()), x, kinds, own)(np.arange(len(g)), g)
    cluster.labels = Labels.of_atoms(x, kinds)
    alone, _ = cluster.energy_forces(x)
    for k, y in enumerate(g):
        cluster.labels = Labels.of_atoms(np.vstack([x, y]), np.append(kinds, own[k]))
        whole, expected = cluster.energy_forces(np.vstack([x, y]))
        assert energies[k] == pytest.approx(whole - alone, abs=1e-3)
        np.testing.assert_allclose(forces[k], expected[-1], atol=1e-2)


def test_a_relaxed_crystal_is_at_rest_with_its_elements(cluster):
    atoms = coal_ball(5.5)
    cluster.labels = Labels.of_atoms(atoms.positions, atoms.kinds)
    x, energy, converged = cluster.relax(atoms.positions)
    again, forces = cluster.energy_forces(x)
    assert converged
    assert np.abs(forces).max() < 1e-3
    assert again == pytest.approx(energy, abs=1e-6)


def test_the_farthest_pair_of_elements_gives_the_cutoff(cluster):
    cluster.labels = Labels.of_atoms(coal_ball(5.5).positions, coal_ball(5.5).kinds)
    labels = cluster.labels
    assert cluster.cutoff() == pytest.approx(read_tables(coal().file, "eam/alloy").cutoff, abs=0.3)
    assert cluster.labels is labels


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ni3Al", {"Al": 1, "Ni": 3}),
        ("SiC", {"C": 1, "Si": 1}),
        ("al", {"Al": 1}),
        ("CO", {"Co": 1}),
        ("Co", {"Co": 1}),
    ],
)
def test_formulas_are_read(text, found):
    assert formula_of(text) == found
    assert list(formula_of(text)) == list(found)


def test_the_structure_follows_from_formula_and_energy():
    found = choose_potential("Ni3Al", "NiAlH_jea.eam.alloy")
    assert (found.structure, found.elements) == ("L12", ("Al", "Ni"))
    # Angelo, Moody and Baskes, Model. Simul. Mater. Sci. Eng. 3, 289 (1995): 3.57 Å.
    assert found.lattice_constant == pytest.approx(3.57, abs=0.01)
    assert found.lattice.counts == (1, 3)
    other = choose_potential("NiAl3", "NiAlH_jea.eam.alloy", structure="L12")
    assert other.lattice.counts == (3, 1)
    host = choose_potential("Ni", "NiAlH_jea.eam.alloy", solutes=["Al"])
    assert (host.elements, set(host.lattice.kinds), host.compound) == (("Al", "Ni"), {1}, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"element": "CoAl", "structure": "L12"}, "no structure L12 with such a formula"),
        (
            {"element": "CoAl", "pair_coeff": "* * {file} Al Al"},
            "must end with the elements, Al Co",
        ),
        ({"element": "CoNi"}, "potential has no Ni"),
        ({"element": "CoAl", "mass": 50.0}, "one mass for 2 elements"),
        ({"element": "CoXq"}, "there is no element 'Xq'"),
    ],
)
def test_wrong_compounds_are_refused(options, message):
    with pytest.raises(PotentialError) as caught:
        choose_potential(file="CoAl.eam.alloy", **options)
    assert message in str(caught.value)


def test_elements_may_be_named_in_any_order(cluster):
    x, kinds = coal_ball(3.6).positions, coal_ball(3.6).kinds
    turned = choose_potential("CoAl", "CoAl.eam.alloy", pair_coeff="* * {file} Co Al")
    assert turned.types == (2, 1)
    found = []
    other = Cluster(turned)
    for each in (cluster, other):
        each.labels = Labels.of_atoms(x, kinds)
        found.append(each.energy_forces(x))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-10)
    other.close()


def indium_phosphide(first, second):
    """SNAP with chemical coefficients, its elements in one order or the other."""
    number = {"In": 49, "P": 15}
    pairs = ((1, 1, first, first), (1, 2, first, second), (2, 2, second, second))
    return choose_potential(
        "InP",
        pair_style="hybrid/overlay zbl 4 4.2 snap",
        pair_coeff=[
            *(f"{i} {j} zbl {number[a]} {number[b]}" for i, j, a, b in pairs),
            f"* * snap InP_JCPA2020.snapcoeff InP_JCPA2020.snapparam {first} {second}",
        ],
        structure="zincblende",
        lattice_constant=5.83,
    )


def test_snap_with_chemical_coefficients():
    """LAMMPS mixes them up, without a word, if the elements aren't in the order of the file."""
    with pytest.raises(PotentialError, match="in the order of the file, In P"):
        indium_phosphide("P", "In")
    found = indium_phosphide("In", "P")
    assert (found.elements, found.types) == (("P", "In"), (2, 1))
    with PeriodicCrystal(found, found.lattice) as crystal:
        energies = [crystal.energy(edge) for edge in (5.77, 5.83, 5.89)]
    # LAMMPS itself, with the commands of InP_JCPA2020.snap: -3.48058 eV per atom at 5.83 Å.
    assert energies[1] == pytest.approx(-3.48058, abs=1e-5)
    assert energies[1] < min(energies[0], energies[2])
