"""What is written beside each atom: how far off it may be, and whether it exists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.debye_waller import thermal_structure_factor
from prammol.likelihood.quasi_likelihood import PoissonMisfit, honest_misfit
from prammol.reconstruction.occupancy.gibbs_sampling import sample_near, swept
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.occupancy.relaxed_moves import with_neighbours_relaxed
from prammol.reconstruction.occupancy.site_selection import Expansion, Sites
from prammol.reconstruction.problem import Problem, State
from prammol.reconstruction.uncertainty.positions import position_uncertainty
from prammol.structure.surface import mean_of_class, neighbour_classes
from prammol.structure.vacant_sites import vacant_sites

_HALF_AN_ATOM = 0.5
_CONSIDERED = 20  # how often a flip of each site is considered before a set is drawn
_LOOSE = 1e-2  # eV/Å


def error_bars(problem: Problem, state: State) -> dict[str, NDArray[np.float64]]:
    """Return columns that tell how sure each atom is.

    Parameters
    ----------
    problem : Problem
    state : State
        The object at the end.

    Returns
    -------
    dict
        ``position_sigma``, (n, 3) [Å], and ``position_sigma_data``, (n,) [Å], as in
        :class:`~prammol.reconstruction.uncertainty.positions.Uncertainty`, the first with what doubtful atoms do to the
        others; ``occupancy_confidence``, (n,), the probability that the atom exists.
    """
    misfit = misfit_of(problem, state)
    sure = position_uncertainty(problem, state, misfit.weight)
    doubt = doubt_of(problem, state, misfit)
    return {
        "position_sigma": np.hypot(sure.posterior, spread_of_sets(problem, state, doubt)),
        "position_sigma_data": sure.of_data,
        "occupancy_confidence": doubt.occupied[: len(state.positions)],
    }


def misfit_of(problem: Problem, state: State) -> PoissonMisfit:
    """Return the misfit whose noise includes what the object doesn't explain."""
    omega = thermal_structure_factor(
        problem.factor, state.positions, state.displacements, state.site_occupancies
    )
    return honest_misfit(problem.shard, problem.factor, omega, len(state.positions))


@dataclass(frozen=True)
class Doubt:
    """Which sets of sites the data allow near the object.

    Attributes
    ----------
    sites : (m, 3) ndarray
        The atoms, then vacant sites of the lattice beside them [Å].
    taken : (m,) bool ndarray
        Which are the atoms.
    near : Expansion
        Misfit and prior of bonds for other sets.
    occupied : (m,) ndarray
        Probability that each site holds an atom.
    """

    sites: NDArray[np.float64]
    taken: NDArray[np.bool_]
    near: Expansion
    occupied: NDArray[np.float64]


def doubt_of(problem: Problem, state: State, misfit: PoissonMisfit) -> Doubt:
    """Return how probable the atoms, and the vacant sites beside them, are.

    At fixed positions a change costs too much: where atoms are at a minimum of the energy those
    in doubt are relaxed, one by one.
    """
    x, potential = state.positions, problem.cluster.potential
    distance, reach = potential.neighbour_distance, potential.bond_reach
    vacant, _ = problem.cluster.relax_adatoms(x, vacant_sites(x, reach, distance))
    sites = np.concatenate([x, vacant])
    taken = np.arange(len(sites)) < len(x)
    faint = is_low_signal(problem.shard, problem.factor, problem.factor.forward(x))
    bond = state.bond if faint else None
    around = Sites(misfit, problem.factor, problem.comm, sites, taken, distance, reach, bond)
    near = around.expand(taken)
    if not np.isfinite(state.stiffness):
        bonds = around.bonds_of(taken, near)
        near = with_neighbours_relaxed(problem, misfit, sites, taken, near, bonds)
    rng = problem.rng("confidence", state.iteration)
    return Doubt(sites, taken, near, sample_near(sites, taken, near, distance, rng))


def spread_of_sets(
    problem: Problem, state: State, doubt: Doubt, draws: int = 10
) -> NDArray[np.float64]:
    """Return how far atoms are pulled by others that may be wrong, (n, 3) [Å].

    Sets of sites are drawn with their probability and relaxed; the root of the mean square
    distance from the object, averaged over atoms with equally many neighbours. Zero where no
    atom is in doubt, and where the data moved the atoms: relaxing would undo that.
    """
    x, taken, near = state.positions, doubt.taken, doubt.near
    doubtful = np.minimum(doubt.occupied, 1.0 - doubt.occupied).sum()
    if doubtful < _HALF_AN_ATOM or np.isfinite(state.stiffness):
        return np.zeros_like(x)
    potential = problem.cluster.potential
    distance = potential.neighbour_distance
    rng = problem.rng("doubtful atoms", state.iteration)
    square, number = np.zeros_like(x), np.zeros((len(x), 1))
    relaxed: dict[bytes, NDArray[np.float64]] = {}  # with few atoms in doubt sets come again
    for _ in range(draws):
        keep = swept(doubt.sites, taken, near, distance, rng, _CONSIDERED)
        same = keep.tobytes()
        if same not in relaxed:
            relaxed[same], _, _ = problem.cluster.relax(doubt.sites[keep], force_tolerance=_LOOSE)
        y, stayed = relaxed[same], keep[: len(x)]
        shift = y[: stayed.sum()] - x[stayed]  # the first of the sites are the atoms
        square[stayed] += (shift - shift.mean(axis=0)) ** 2
        number[stayed] += 1
    classes = neighbour_classes(x, potential.bond_reach)
    counted = np.maximum(mean_of_class(number, classes), 1.0 / len(x))
    return np.sqrt(mean_of_class(square, classes) / counted)
