"""Calculators of ASE behind LAMMPS: against ASE itself, and against LAMMPS's own potentials."""

from __future__ import annotations

import sys
from types import ModuleType

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from scipy.optimize import minimize_scalar
from small_crystal import fcc_ball

from prammol.core.errors import PotentialError, SimulationError
from prammol.potentials import Cluster, choose_potential
from prammol.potentials.potential import Potential

COPPER = "ase ase.calculators.emt:EMT"


def potential(style, coeff="* * Cu", constant=3.59):
    return Potential("Cu", style, coeff, 63.5, "fcc", constant)


def rattled(radius=6.0, constant=3.59, seed=3):
    x = fcc_ball(radius) * constant / 4.05
    return x + np.random.default_rng(seed).normal(0, 0.02 * constant, x.shape)


def emt(x):
    return ase.Atoms(["Cu"] * len(x), x, calculator=EMT())


def test_energies_and_forces_are_those_of_ase():
    x = rattled()
    cluster, atoms = Cluster(potential(COPPER)), emt(x)
    for shift in (0.0, 0.01):  # the second without building LAMMPS's atoms anew
        atoms.positions = x + shift * np.sin(x)
        energy, forces = cluster.energy_forces(atoms.positions)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-10)
        each, _ = cluster.atom_energies_forces(atoms.positions)
        np.testing.assert_allclose(each, atoms.get_potential_energies(), atol=1e-10)
    cluster.close()


def test_lammps_minimises_to_where_ase_does():
    x = rattled(5.0)
    cluster = Cluster(potential(COPPER))
    found, energy, converged = cluster.relax(x, force_tolerance=1e-6)
    assert converged
    atoms = emt(x)
    BFGS(atoms, logfile=None).run(fmax=1e-7)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    distances = [ase.Atoms(f"Cu{len(y)}", y).get_all_distances() for y in (found, atoms.positions)]
    np.testing.assert_allclose(*distances, atol=1e-5)
    cluster.close()


def test_the_crystal_at_rest_is_that_of_ase():
    def energy(edge):
        crystal = bulk("Cu", "fcc", a=edge)
        crystal.calc = EMT()
        return crystal.get_potential_energy()

    expected = minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded").x
    found = choose_potential("Cu", pair_style=COPPER)
    assert found.structure == "fcc"
    assert found.lattice_constant == pytest.approx(expected, abs=1e-4)


def test_two_elements():
    found = choose_potential("Cu3Au", pair_style=COPPER)
    assert found.elements == ("Cu", "Au")
    crystal = ase.Atoms(
        "AuCu3", [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], pbc=True, cell=[1] * 3
    )

    def energy(edge):
        crystal.set_cell([edge] * 3, scale_atoms=True)
        crystal.calc = EMT()
        return crystal.get_potential_energy()

    expected = minimize_scalar(energy, bounds=(3.5, 4.1), method="bounded").x
    assert found.lattice_constant == pytest.approx(expected, abs=1e-4)


def test_a_potential_of_both_gives_the_same_atoms():
    """Lennard-Jones of ASE and of LAMMPS, sigma 1 Å and cut at 3 Å."""
    x = rattled(5.0, constant=1.55)
    ends = []
    for style, coeff in (
        ("ase ase.calculators.lj:LennardJones", "* * Cu"),
        ("lj/cut 3.0", "1 1 1.0 1.0"),
    ):
        cluster = Cluster(potential(style, coeff, 1.55))
        _, forces = cluster.energy_forces(x)
        near = np.ones(len(x), dtype=bool)
        near[:20] = False
        ends.append((forces, cluster.relax(x, free=near, force_tolerance=1e-6)[0]))
        cluster.close()
    np.testing.assert_allclose(ends[0][0], ends[1][0], atol=1e-9)
    np.testing.assert_allclose(ends[0][1], ends[1][1], atol=1e-4)


TWO_RANKS = """
import numpy as np
from prammol.core.parallel import world
from prammol.potentials import Cluster
from prammol.potentials.potential import Potential
x = np.load("x.npy")
copper = Potential("Cu", "ase ase.calculators.emt:EMT", "* * Cu", 63.5, "fcc", 3.59)
cluster = Cluster(copper, world())
found = [*cluster.energy_forces(x), cluster.atom_energies(x), cluster.relax(x)[0]]
if world().is_root:
    np.savez("found.npz", *found)
"""


@pytest.mark.mpi
def test_two_ranks_get_the_same(parallel, tmp_path):
    x = rattled(5.0)
    np.save(tmp_path / "x.npy", x)
    run = parallel(2, "-c", TWO_RANKS)
    assert run.returncode == 0, run.stderr
    atoms, cluster = emt(x), Cluster(potential(COPPER))
    expected = [atoms.get_potential_energy(), atoms.get_forces(), atoms.get_potential_energies()]
    found = np.load(tmp_path / "found.npz")
    for one, two in zip((*expected, cluster.relax(x)[0]), found.values(), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-6)
    cluster.close()


class Failing(Calculator):
    implemented_properties = ("energy", "energies", "forces")

    def calculate(self, *_):
        msg = "no parameters for these atoms"
        raise ValueError(msg)


def test_what_goes_wrong_is_one_sentence(monkeypatch):
    module = ModuleType("own_calculators")
    module.Failing = Failing
    monkeypatch.setitem(sys.modules, "own_calculators", module)
    cluster = Cluster(potential("ase own_calculators:Failing"))
    with pytest.raises(SimulationError, match="calculator stopped: ValueError: no parameters for"):
        cluster.relax(rattled())
    cluster.close()


@pytest.mark.parametrize(
    ("style", "said"),
    [
        ("ase nowhere:EMT", "No module named 'nowhere'"),
        ("ase ase.calculators.emt:EM", "has no attribute 'EM'"),
        ("ase ase.calculators.eam:EAM", "doesn't give energies"),
        ("ase ase.calculators.emt", "expected 'ase MODULE:NAME'"),
        ("ase ase.calculators.harmonic:HarmonicForceField", "expected MODULE:NAME"),
    ],
)
def test_no_calculator(style, said):
    with pytest.raises(PotentialError, match=said):
        choose_potential("Cu", pair_style=style)
