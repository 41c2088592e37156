"""What is written beside each atom: how far off it may be, and whether it exists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.confidence import sample_near
from prammol.flips import Sites
from prammol.lattice_sites import vacant_sites
from prammol.misfit import PoissonMisfit
from prammol.scattering import StructureFactor
from prammol.state import Problem, State
from prammol.uncertainty import position_uncertainty

_EPSILON = 1e-6


def error_bars(problem: Problem, state: State) -> dict[str, NDArray[np.float64]]:
    """Return columns that tell how sure each atom is.

    They hold for an object that explains the data, and a potential that is right.

    Parameters
    ----------
    problem : Problem
    state : State
        The object at the end.

    Returns
    -------
    dict
        ``position_sigma``, (n, 3) [Å], and ``position_sigma_data``, (n,) [Å], as in
        :class:`~prammol.uncertainty.Uncertainty`; ``occupancy_confidence``, (n,), the
        probability that the atom exists.
    """
    sure = position_uncertainty(problem, state)
    return {
        "position_sigma": sure.posterior,
        "position_sigma_data": sure.of_data,
        "occupancy_confidence": occupancy_confidence(problem, state)[0],
    }


def occupancy_confidence(
    problem: Problem, state: State
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how probable the atoms, and the vacant sites beside them, are.

    Returns
    -------
    atoms : (n,) ndarray
        Probability that each atom exists.
    sites : (m, 3) ndarray
        Vacant sites of the lattice [Å].
    vacant : (m,) ndarray
        Probability that they hold an atom.
    """
    x, potential = state.positions, problem.cluster.potential
    distance, reach = potential.neighbour_distance, potential.bond_reach
    factor = StructureFactor(problem.shard.patches, _EPSILON, problem.factor.threads)
    misfit = PoissonMisfit(problem.shard, factor)
    vacant, _ = problem.cluster.relax_guests(x, vacant_sites(x, reach, distance))
    sites = np.concatenate([x, vacant])
    taken = np.arange(len(sites)) < len(x)
    near = Sites(misfit, factor, problem.comm, sites, taken, distance, reach).expand(taken)
    rng = problem.rng("confidence", state.iteration)
    occupied = sample_near(sites, taken, near, distance, rng)
    return occupied[: len(x)], vacant, occupied[len(x) :]
