"""The samples: counts, neighbours, defects, and what is recorded of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from prammol.core.errors import InputError, SimulationError
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.simulation.samples import KINDS, make_crystal
from prammol.structure.voronoi import neighbour_counts, voronoi_grain

A = 4.05

NEIGHBOUR = A / 2**0.5


@pytest.fixture(scope="module")
def bulk():
    return make_crystal("bulk", atoms=1500, seed=5)


@pytest.fixture(scope="module")
def vacancy():
    return make_crystal("vacancy", atoms=1500, seed=5)


@pytest.mark.parametrize(
    ("kind", "atoms"),
    [("bulk", 4791), ("vacancy", 4679), ("dislocation", 8777), ("bulk-large", 8777)],
)
def test_the_samples_of_the_paper_have_its_number_of_atoms(kind, atoms):
    crystal = make_crystal(kind, relax=False)
    assert len(crystal) == atoms
    assert crystal.element == "Al"
    np.testing.assert_allclose(crystal.positions.mean(axis=0), 0, atol=1e-9)
    assert cKDTree(crystal.positions).query(crystal.positions, 2)[0][:, 1].min() > 2.0
    # as wide as a ball of as many atoms, within a third
    ball = 2 * (3 * atoms * A**3 / 4 / (4 * np.pi)) ** (1 / 3)
    assert (np.abs(np.ptp(crystal.positions, axis=0) / ball - 1) < 1 / 3).all()


@pytest.mark.parametrize("atoms", [1, 13, 600, 601, 2000])
def test_any_number_of_atoms_can_be_asked_for(atoms):
    for kind in ("bulk", "bulk-large"):
        assert len(make_crystal(kind, atoms=atoms, seed=3, relax=False)) == atoms


def test_the_seed_decides_the_grain():
    one, same, other = (make_crystal("bulk", atoms=300, seed=s, relax=False) for s in (1, 1, 2))
    assert np.array_equal(one.positions, same.positions)
    assert not np.allclose(one.positions, other.positions)


def test_the_large_crystals_are_one_grain():
    whole = make_crystal("bulk-large", atoms=900, relax=False).positions
    screw = make_crystal("dislocation", atoms=900, relax=False).positions
    # the dislocation moves atoms only along [110]
    move = screw - whole
    move -= move[0]
    np.testing.assert_allclose(move[:, 2], 0, atol=1e-9)
    np.testing.assert_allclose(move[:, 0], move[:, 1], atol=1e-9)
    assert np.ptp(move[:, 0]) == pytest.approx(A / 2, rel=0.05)


def test_atoms_inside_have_the_neighbour_shells_of_fcc(bulk):
    x = bulk.positions
    core = x[np.linalg.norm(x, axis=1) < 5]
    assert len(core) > 20
    distance = np.linalg.norm(core[:, None] - x, axis=2)
    for shell, atoms in ((NEIGHBOUR, 12), (A, 6), (A * 1.5**0.5, 24), (A * 2**0.5, 12)):
        assert ((np.abs(distance - shell) < 0.05 * shell).sum(axis=1) == atoms).all()
    assert ((distance < 1.45 * A).sum(axis=1) == 1 + 12 + 6 + 24 + 12).all()


def test_a_relaxed_crystal_is_at_rest_and_whole(bulk):
    cluster = Cluster(aluminium())
    energy, forces = cluster.energy_forces(bulk.positions)
    cluster.close()
    assert np.linalg.norm(forces) < 1e-7
    assert bulk.info["energy"] == pytest.approx(energy, abs=1e-7)
    # bound, but less than the perfect crystal: the surface costs
    assert -3.36 < energy / 1500 < -3.0
    assert neighbour_counts(bulk.positions, 1.2 * NEIGHBOUR).min() >= 3
    np.testing.assert_allclose(bulk.positions.mean(axis=0), 0, atol=1e-9)


def test_the_file_says_where_the_crystal_comes_from(bulk):
    info = bulk.info
    assert (info["kind"], info["seed"], info["potential"]) == ("bulk", 5, "Al99.eam.alloy")
    assert info["potential_sha1"] == "fd0ef42ac3c46795a88edf53b07a4d4b331b64a7"


def test_the_vacancy_is_one_missing_atom_inside(vacancy):
    x = vacancy.positions
    assert len(x) == 1500
    counts = neighbour_counts(x, 1.2 * NEIGHBOUR)
    inside = np.linalg.norm(x, axis=1) < 8
    around = np.flatnonzero(inside & (counts != 12))
    assert len(around) == 12
    assert (counts[around] == 11).all()
    hole = x[around].mean(axis=0)
    assert np.linalg.norm(hole) < NEIGHBOUR  # at the centre
    np.testing.assert_allclose(np.linalg.norm(x[around] - hole, axis=1), NEIGHBOUR, rtol=0.03)


def test_the_formation_energy_of_the_vacancy_is_that_published(vacancy):
    # Mishin et al. 1999: 0.68 eV, with the removed atom put back into the bulk. The surface
    # squeezes so small a crystal with about 1 GPa, which helps the vacancy by 0.05 eV.
    cluster = Cluster(aluminium())
    x = vacancy.positions
    counts = neighbour_counts(x, 1.2 * NEIGHBOUR)
    hole = x[(np.linalg.norm(x, axis=1) < 8) & (counts == 11)].mean(axis=0)
    filled, energy, _ = cluster.relax(np.vstack([x, hole]))
    cluster.close()
    assert len(filled) == 1501
    assert vacancy.info["energy"] - energy - 3.36 == pytest.approx(0.65, abs=0.05)


def test_samples_of_another_metal():
    potential = Potential("W", "lj/cut 8.0", "* * 0.5 2.5", 183.84, "bcc", 3.165)
    tungsten = make_crystal("vacancy", potential, atoms=200, seed=1, relax=False)
    assert tungsten.element == "W"
    assert tungsten.info["potential"] == "lj/cut 8.0"
    counts = neighbour_counts(tungsten.positions, 0.95 * 3.165)
    inside = np.linalg.norm(tungsten.positions, axis=1) < 4
    assert sorted(set(counts[inside].tolist())) == [7, 8]
    assert (counts[inside] == 7).sum() == 8


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="did you mean 'vacancy'"):
        make_crystal("vacency")
    with pytest.raises(InputError, match="at least 1 atom"):
        make_crystal("bulk", atoms=0)
    with pytest.raises(InputError, match="interior atom"):
        make_crystal("vacancy", atoms=5, relax=False)
    with pytest.raises(InputError, match="negative"):
        make_crystal("bulk", atoms=10, seed=-1)
    with pytest.raises(InputError, match="structure"):
        voronoi_grain("sc", A, 10, 0)


def test_a_crystal_that_can_t_hold_its_dislocation_is_an_error():
    with pytest.raises(SimulationError, match="sound 'dislocation' crystal"):
        make_crystal("dislocation", atoms=30, seed=1)


def test_the_defaults_are_those_of_the_command_line():
    assert {k: v.atoms for k, v in KINDS.items()} == {
        "bulk": 4791,
        "vacancy": 4679,
        "dislocation": 8777,
        "bulk-large": 8777,
    }
    assert KINDS["bulk-large"].seed == KINDS["dislocation"].seed


def test_a_crystal_without_a_minimum_of_its_energy_is_an_error(monkeypatch):
    from prammol.simulation.samples import make_crystal

    monkeypatch.setattr("prammol.simulation.samples._MAX_ITERATIONS", 2)
    monkeypatch.setattr("prammol.simulation.samples._ATTEMPTS", 2)
    with pytest.raises(SimulationError, match=r"none of 2 grains .*2 of them found no minimum"):
        make_crystal("bulk", atoms=60)
