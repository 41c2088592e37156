"""Sample crystals of two elements."""

from __future__ import annotations

import numpy as np
import pytest
from compounds import coal
from scipy.spatial import cKDTree

from prammol.core.errors import InputError
from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.simulation.averages import innermost_patches
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.simulation.settled_grain import strayed
from prammol.structure.labels import Labels


def test_atoms_of_a_compound_stay_on_their_sites():
    atoms = make_crystal("bulk", coal(), 150, seed=5)
    assert len(atoms) == 150
    assert set(atoms.symbols.tolist()) == {"Al", "Co"}
    # Nearest neighbours are of the other element, on nearly all sites even at the surface.
    _, near = cKDTree(atoms.positions).query(atoms.positions, k=2)
    assert (atoms.kinds != atoms.kinds[near[:, 1]]).mean() > 0.97
    cluster = Cluster(coal())
    cluster.labels = Labels.of_atoms(atoms.positions, atoms.kinds)
    energy, forces = cluster.energy_forces(atoms.positions)
    cluster.close()
    assert np.abs(forces).max() < 1e-3
    assert energy == pytest.approx(atoms.info["energy"], abs=1e-6)


def test_atoms_that_stray_are_told_from_an_even_strain(rng):
    x = rng.uniform(-8, 8, (200, 3))
    y = x @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))) + [0.3, 0.1, 0.2]
    y[:9] += [2.0, 0.0, 0.0]
    gone = strayed(x, y)
    np.testing.assert_allclose(gone[:9], 2.0, atol=1e-6)
    assert gone[9:].max() < 1e-6


def test_a_part_of_the_atoms_is_substituted():
    host = choose_potential(
        "Al", "AlCu.eam.alloy", structure="fcc", lattice_constant=4.05, solutes=["Cu"]
    )
    made = [
        make_crystal("bulk", host, 400, seed, relax=False, substitute={"Cu": 0.03})
        for seed in (5, 5, 6)
    ]
    assert [(m.symbols == "Cu").sum() for m in made] == [12, 12, 12]
    np.testing.assert_array_equal(made[0].symbols, made[1].symbols)
    assert (made[0].symbols != made[2].symbols).any()
    plain = make_crystal("bulk", coal(), 200, 5, relax=False)
    antisites = make_crystal("bulk", coal(), 200, 5, relax=False, substitute={"Co": 0.02})
    assert (plain.symbols != antisites.symbols).sum() == 4
    assert (antisites.symbols[plain.symbols != antisites.symbols] == "Co").all()
    for wrong in ({"Cu": 0.1}, {"Co": 1.5}):
        with pytest.raises(InputError, match="expected one of Al, Co and a part"):
            make_crystal("bulk", coal(), 200, 5, relax=False, substitute=wrong)
    with pytest.raises(InputError, match="expected kind bulk for a compound"):
        make_crystal("vacancy", coal(), 200)


def test_superlattice_peaks_are_measured_too():
    atoms = make_crystal("bulk", coal(), 150, seed=5, relax=False)
    edge = coal().lattice_constant
    patches = innermost_patches(atoms, 12, edge, coal().lattice)
    assert len(patches) == 4
    np.testing.assert_allclose(patches[3].q().mean(axis=0), [2 * np.pi / edge, 0, 0], atol=1e-9)


def test_dynamics_is_refused():
    atoms = make_crystal("bulk", coal(), 150, seed=5, relax=False)
    with pytest.raises(InputError, match="dynamics is for one element, the crystal has Al, Co"):
        simulate(atoms, 1e18, 1, temperature=300.0, potential=coal())
