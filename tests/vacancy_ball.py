"""A ball of 436 atoms, the same with a vacancy in its middle, and counts of few photons."""

from __future__ import annotations

from functools import cache

import numpy as np
from small_crystal import fcc_ball, make_problem, simulate

from prammol.diffraction.support import support_from_truth
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.structure.atoms import Atoms
from prammol.structure.vacant_sites import vacant_sites

LOW_SIGNAL = 0.0135  # C: one atom is worth 15, next to where atoms are called hardly seen

MIDDLE = int(np.argmin(np.linalg.norm(fcc_ball(12.0), axis=1)))


@cache
def with_vacancy():
    """The ball without the atom in its middle, at rest."""
    cluster = Cluster(aluminium())
    x, _, _ = cluster.relax(np.delete(fcc_ball(12.0), MIDDLE, axis=0))
    cluster.close()
    x.flags.writeable = False
    return x


def problem_of(truth, seed, scale=LOW_SIGNAL):
    support = support_from_truth(Atoms(truth, "Al"))
    return make_problem(simulate(truth, points=32, scale=scale, seed=seed), support, cluster=True)


def around(problem, x):
    """Misfit of all points, and the sites of atoms and of the vacant places beside them."""
    potential = problem.potential
    vacant = vacant_sites(x, potential.bond_reach, potential.neighbour_distance)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    return misfit, CandidateSites.around(misfit, potential, x, vacant)
