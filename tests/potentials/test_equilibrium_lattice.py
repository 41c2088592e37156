"""The crystal at rest, against a lattice sum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from prammol.potentials.equilibrium_lattice import bulk_at_rest
from prammol.potentials.potential import Potential
from prammol.structure.lattices import LATTICES


@pytest.mark.parametrize("structure", ["fcc", "bcc"])
def test_the_crystal_at_rest_is_that_of_a_lattice_sum(structure):
    epsilon, sigma, cutoff = 0.0104, 3.4, 9.0
    potential = Potential("Ar", f"lj/cut {cutoff}", f"1 1 {epsilon} {sigma}", 40.0, "fcc", 5.0)
    lattice = LATTICES[structure]
    cells = np.indices((11, 11, 11)).reshape(3, -1).T - 5
    sites = np.linalg.norm((cells[:, None] + lattice.basis).reshape(-1, 3), axis=1)

    def energy(edge):
        r = edge * sites[(sites > 0) & (edge * sites < cutoff)]
        return 2 * epsilon * np.sum((sigma / r) ** 12 - (sigma / r) ** 6)

    guess = 1.09 * sigma / lattice.neighbour
    best = minimize_scalar(energy, bounds=(0.98 * guess, 1.02 * guess), method="bounded")
    found = bulk_at_rest(potential, [structure], 1.7)
    assert found.lattice_constant == pytest.approx(best.x, abs=1e-4)
    assert found.energy == pytest.approx(best.fun, rel=1e-6)


def test_the_ratio_of_the_edges_of_hcp_is_that_of_a_lattice_sum():
    epsilon, sigma, cutoff = 0.0104, 3.4, 9.0
    potential = Potential("Ar", f"lj/cut {cutoff}", f"1 1 {epsilon} {sigma}", 40.0, "fcc", 5.0)
    cells = np.indices((11, 11, 11)).reshape(3, -1).T - 5
    ideal = (cells[:, None] + np.array(LATTICES["hcp"].sites)) @ LATTICES["hcp"].vectors

    def energy(edges):
        r = np.linalg.norm(ideal.reshape(-1, 3) * edges[[0, 0, 1]], axis=1)
        r = r[(r > 0) & (r < cutoff)]
        return 2 * epsilon * np.sum((sigma / r) ** 12 - (sigma / r) ** 6)

    best = minimize(energy, 1.09 * sigma * np.ones(2), method="Nelder-Mead", tol=1e-9)
    found = bulk_at_rest(potential, ["hcp"], 1.7)
    assert found.energy == pytest.approx(best.fun, rel=1e-6)
    assert found.lattice_constant == pytest.approx(best.x[0], abs=1e-3)
    ratio = (8 / 3) ** 0.5 * best.x[1] / best.x[0]
    assert found.crystal.cell[2][2] == pytest.approx(ratio, abs=1e-3)
