"""The bond energy, learnt from counts of crystals drawn with a known one."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball, make_problem, simulate

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.bond_energy import learnt_bond
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.gibbs_sampling import swept
from prammol.structure.vacant_sites import vacant_sites

DISTANCE, REACH = aluminium().neighbour_distance, aluminium().bond_reach

SEEN = 0.0125  # C: one atom is worth 12

UNSEEN = 3e-4  # six photons in all

CONSIDERED = 5

FIRST = 1.0


@pytest.fixture(scope="module")
def lattice():
    """A ball and two layers of vacant sites around it."""
    x = fcc_ball(12.0)
    inside = len(x)
    for _ in range(2):
        x = np.concatenate([x, vacant_sites(x, REACH, DISTANCE)])
    return x, np.arange(len(x)) < inside


class Crystal:
    """A set of sites and counts of it."""

    def __init__(self, x, taken, scale, seed):
        self.x, self.taken = x, taken
        self.problem = make_problem(simulate(x[taken], points=32, scale=scale, seed=seed), x=x)

    def sites(self, bond):
        """With the misfit that annealing has."""
        shard, factor = self.problem.shard, self.problem.factor
        scale = PoissonMisfit(shard, factor).scale(factor.forward(self.x[self.taken]))
        misfit = PoissonMisfit(shard, factor, floor=0.05, incoherent=scale**2 * self.taken.sum())
        return CandidateSites(misfit, aluminium(), self.x, self.taken, bond)

    def learnt(self, bond, rng):
        return learnt_bond(self.sites(bond), self.taken, bond, rng, CONSIDERED)


def drawn(lattice, bond, seed, scale=SEEN):
    """A crystal with the prior's probability, after 40 sweeps without data."""
    x, taken = lattice
    rng = np.random.default_rng(seed)
    sites = Crystal(x, taken, SEEN, seed).sites(bond)
    for _ in range(40):
        taken = swept(sites, taken, sites.without_data(taken), rng, CONSIDERED)
    return Crystal(x, taken, scale, seed)


@pytest.mark.parametrize("worth", [0.7, 2.0])
def test_the_bond_energy_a_crystal_was_drawn_with_is_found(lattice, worth):
    """Crystals of about 600 atoms, whose own surfaces tell it within 0.1 to 0.2."""
    found = []
    for seed in (1, 2):
        crystal, bond, rng = drawn(lattice, worth, seed), FIRST, np.random.default_rng(seed)
        for _ in range(2):
            bond = crystal.learnt(bond, rng)
        found.append(bond)
    assert np.mean(found) == pytest.approx(worth, rel=0.15)


def test_with_next_to_no_photons_the_bond_energy_stays(lattice):
    """Both chains are alike then, whatever the surface was drawn with: the steps average out."""
    crystal, bond, rng = drawn(lattice, 2.0, 1, UNSEEN), FIRST, np.random.default_rng(1)
    for _ in range(6):
        bond = crystal.learnt(bond, rng)
    assert bond == pytest.approx(FIRST, abs=0.25)


def test_a_step_is_at_most_a_factor_of_two(lattice):
    """From a worth far too small."""
    assert drawn(lattice, 2.0, 1).learnt(0.2, np.random.default_rng(1)) == pytest.approx(0.4)


def test_all_random_numbers_come_from_the_generator(lattice):
    crystal = drawn(lattice, 1.4, 1)
    once, again, other = (crystal.learnt(FIRST, np.random.default_rng(s)) for s in (1, 1, 2))
    assert once == again != other
