"""What is written beside each atom: how far off it may be, and whether it exists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.confidence import sample_near
from prammol.debye_waller import thermal_structure_factor
from prammol.flips import Sites
from prammol.lattice_sites import vacant_sites
from prammol.misfit import PoissonMisfit, honest_misfit
from prammol.state import Problem, State
from prammol.uncertainty import position_uncertainty


def error_bars(problem: Problem, state: State) -> dict[str, NDArray[np.float64]]:
    """Return columns that tell how sure each atom is.

    They hold for a potential that is right. Where the object doesn't explain the data, the
    relative floor that would explain them is taken for noise.

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
    misfit = misfit_of(problem, state)
    sure = position_uncertainty(problem, state, misfit.weight)
    return {
        "position_sigma": sure.posterior,
        "position_sigma_data": sure.of_data,
        "occupancy_confidence": occupancy_confidence(problem, state, misfit)[0],
    }


def misfit_of(problem: Problem, state: State) -> PoissonMisfit:
    """Return the misfit whose noise includes what the object doesn't explain."""
    omega = thermal_structure_factor(
        problem.factor, state.positions, state.displacements, state.site_occupancies
    )
    return honest_misfit(problem.shard, problem.factor, omega, len(state.positions))


def occupancy_confidence(
    problem: Problem, state: State, misfit: PoissonMisfit
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
    vacant, _ = problem.cluster.relax_guests(x, vacant_sites(x, reach, distance))
    sites = np.concatenate([x, vacant])
    taken = np.arange(len(sites)) < len(x)
    around = Sites(misfit, problem.factor, problem.comm, sites, taken, distance, reach)
    rng = problem.rng("confidence", state.iteration)
    occupied = sample_near(sites, taken, around.expand(taken), distance, rng)
    return occupied[: len(x)], vacant, occupied[len(x) :]
