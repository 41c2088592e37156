"""Single atoms that the data want elsewhere: a test of each against its own noise.

A surface atom a quarter of an ångström off, in another hollow of the energy, costs less than
the noise of all points together, so that the misfit says nothing. Its own gradient does: with
the slope g_j of the misfit and the Fisher information F_j of its three coordinates,

    z_j = g_j . F_j^-1 g_j

is chi-squared with three degrees of freedom if the atom is right (Rao's score test), and
-F_j^-1 g_j is how far off it is if the others are right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import Problem

# derived: a level of significance. At 0.01 it is as often passed as it says (156 draws of thirteen
# right crystals of the zoo's seed 1: 2), and each is a right run that isn't called converged. A
# displacement seen in half of all runs is 5.5 instead of 5.1 standard deviations long.
_FALSE_ALARMS = 0.001  # in a right object, of all atoms together


def misplaced(problem: Problem, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the data want atoms moved that are too far off to be noise.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Atoms that explain the data as a whole [Å].

    Returns
    -------
    (n, 3) ndarray
        Shifts, 0 for all others [Å].
    """
    shift, z, least = scores(problem, x)
    return np.where((z > least)[:, None], shift, 0.0)


def gain_of_moves(problem: Problem, x: NDArray[np.float64]) -> float:
    """Return by how much the best move of a single atom lowers the misfit, 0 if it is noise.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Atoms at rest [Å].
    """
    _, z, least = scores(problem, x)
    best = float(z.max(initial=0.0))
    return 0.5 * best if best > least else 0.0


def scores(
    problem: Problem, x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the shift the data want of each atom, (n, 3) [Å], z, (n,), and what noise gives.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Atoms [Å].
    """
    found = PoissonMisfit(problem.shard, problem.factor)(x, positions=True)
    slope = found.d_positions
    assert slope is not None
    blocks = Fisher(problem.shard, problem.factor, x, found.scale).blocks()
    shift = np.asarray(-np.linalg.solve(blocks, slope[:, :, None])[:, :, 0], dtype=float)
    z = np.asarray(-np.sum(shift * slope, axis=1))
    return shift, z, float(chdtri(3, _FALSE_ALARMS / len(x)))
