"""Sites and elements of a solid solution: the expansion against direct sums, and what is found."""

from __future__ import annotations

import numpy as np
import pytest
from compounds import waves
from small_crystal import fcc_ball

from prammol.core.parallel import Communicator
from prammol.diffraction.form_factors import form_factors
from prammol.diffraction.support import support_from_truth
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.choose import choose_potential
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.element_swaps import swaps_of
from prammol.reconstruction.occupancy.solution_sites import _curvature, choose_solution
from prammol.simulation.averages import innermost_patches
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms

X = fcc_ball(9.5)
ALCU = choose_potential(
    "Al", "AlCu.eam.alloy", structure="fcc", lattice_constant=4.05, solutes=["Cu"]
)
INSIDE = np.argsort(np.linalg.norm(X, axis=1))
COPPER = INSIDE[[0, 3, 20, 40, 41]]
VACANT = INSIDE[[50, 150]]


def solution():
    """A ball of aluminium with five copper atoms and two vacancies."""
    symbols = np.full(len(X), "Al")
    symbols[COPPER] = "Cu"
    keep = np.ones(len(X), dtype=bool)
    keep[VACANT] = False
    return Atoms.of_elements(X[keep], symbols[keep]), keep


@pytest.fixture(scope="module")
def problem():
    truth, _ = solution()
    patches = innermost_patches(truth, 20, 4.05, ALCU.lattice)
    data = simulate(truth, 1e18, 1, patches)
    return make_problem(data, support_from_truth(truth), ALCU, 1, Communicator())


def perfect(problem):
    return problem.factor.scatterers.labels


def test_all_atoms_have_the_element_of_the_perfect_crystal_until_told_otherwise(problem):
    labels = perfect(problem)
    assert not labels.kinds_of(X).any()
    kinds = np.zeros(len(X), dtype=int)
    kinds[COPPER] = 1
    told = labels.with_kinds(X, kinds)
    np.testing.assert_array_equal(told.kinds_of(X + 0.3), kinds)
    assert not told.perfect.kinds_of(X).any()
    copper = choose_potential(
        "Cu", "AlCu.eam.alloy", structure="fcc", lattice_constant=3.615, solutes=["Al"]
    )
    other = make_problem(problem.data, problem.support, copper, 1, Communicator())
    assert perfect(other).kinds_of(X).all()  # copper is the second by atomic number


def test_flips_and_swaps_together_change_the_misfit_as_expanded(problem):
    """At the truth, without noise: half the curvature, up to the phases that are left out."""
    _, keep = solution()
    q = np.concatenate([p.q() for p in problem.data.patches])
    gain = np.sqrt(np.concatenate([g.ravel() for g in problem.data.gain]))
    each = gain * waves(Atoms.of_elements(X, np.full(len(X), "Al")), q)
    copper = gain * waves(Atoms.of_elements(X, np.full(len(X), "Cu")), q)
    length = np.linalg.norm(q, axis=1)
    copper *= form_factors("Cu", length) / form_factors("Al", length)  # in units of aluminium
    kinds = np.zeros(len(X), dtype=int)
    kinds[COPPER] = 1
    omega = np.where(kinds[keep][:, None], copper[keep], each[keep]).sum(axis=0)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    scale = misfit.scale(omega)
    before = misfit.field(omega, scale)[0]
    labels = perfect(problem).with_kinds(X, kinds)
    sites = CandidateSites(misfit, ALCU, X, keep).labelled(labels)
    near, atoms = sites.expand(keep), np.flatnonzero(keep)
    curvature = _curvature(sites, near, swaps_of(sites.misfit, X[keep]), atoms)
    swap = INSIDE[12]
    at = len(near.free) + int(np.flatnonzero(atoms == swap)[0])
    for out in near.free[keep[near.free]][:6]:
        both = omega - each[out] + copper[swap] - each[swap]
        first = omega - each[out]
        second = omega + copper[swap] - each[swap]
        exact = [misfit.field(o, scale)[0] - before for o in (both, first, second)]
        cross = exact[0] - exact[1] - exact[2]
        place = int(np.flatnonzero(near.free == out)[0])
        # taking out is -1 in the occupancy
        found = -curvature[[place]][:, [at]].toarray().item()
        assert found == pytest.approx(cross, abs=0.25 * np.sqrt(exact[1] * exact[2]))


def test_sites_and_elements_are_found_together(problem):
    _, keep = solution()
    misfit = PoissonMisfit(problem.shard, problem.factor)
    everything = np.ones(len(X), dtype=bool)
    sites = CandidateSites(misfit, ALCU, X, everything)
    found = choose_solution(sites, everything, perfect(problem), 6)
    np.testing.assert_array_equal(found.taken, keep)
    assert set(np.flatnonzero(found.labels.kinds_of(X))) == set(COPPER)
    # with one element alone the copper is left, and passes for aluminium that isn't there
    assert misfit(X[sites.choose(everything, 6).taken]).value > 2 * found.value
    # nothing but elements
    fixed = choose_solution(sites, everything, perfect(problem), 6, free=False)
    assert fixed.taken.all()


def test_holes_are_filled_and_steps_are_not(problem):
    taken = np.ones(len(X), dtype=bool)
    taken[INSIDE[[0, 1]]] = False  # two neighbours
    taken[INSIDE[-30:]] = False
    misfit = PoissonMisfit(problem.shard, problem.factor)
    sites = CandidateSites(misfit, ALCU, X, taken)
    filled = sites.without_holes(taken)
    assert filled[INSIDE[[0, 1]]].all()
    assert not filled[INSIDE[-30:]].any()
