"""Sites of a warm crystal that are occupied part of the time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import fcc_ball, hopping_crystal, make_problem, simulate

from prammol.reconstruction.model import Model
from prammol.reconstruction.uncertainty.mean_density import mean_density

U = 0.01  # Å^2


def density_of(x, data, occupancies):
    problem = make_problem(data, x=x, cluster=True)
    model = Model(x, 1.9, np.full(len(x), U), occupancies)
    try:
        return mean_density(problem, model, 0)
    finally:
        problem.cluster.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sites_of_hopping_atoms_are_found_with_their_occupancies(seed):
    x, vacant, occupied = hopping_crystal()
    sites = np.concatenate([x, vacant])
    data = simulate(sites, seed=seed, displacements=np.full(len(sites), U), occupancies=occupied)
    alone = np.minimum(occupied[: len(x)], 0.999)  # what refinement would have found
    found = density_of(x, data, alone)
    gap, which = cKDTree(sites).query(found.positions)
    assert gap.max() < 1e-9
    back = np.zeros(len(sites))
    back[which] = found.columns["occupancy"]
    away = occupied[len(x) :] > 0
    assert back[len(x) :][away] == pytest.approx(0.4, abs=0.1)
    assert np.abs(back - occupied)[occupied < 1].mean() < 0.02
    assert (found.columns["mean_square_displacement"] == U).all()


def test_vacant_sites_are_not_filled_with_the_noise_of_few_photons():
    x = fcc_ball(10.0)
    data = simulate(x, scale=0.01, displacements=np.full(len(x), U))
    found = density_of(x, data, np.full(len(x), 0.99))
    assert np.array_equal(found.positions, x)
    assert (found.columns["occupancy"] == 0.99).all()


def test_a_crystal_whose_atoms_stay_has_no_other_density():
    x = fcc_ball(8.5)
    assert density_of(x, simulate(x), np.empty(0)) is None
