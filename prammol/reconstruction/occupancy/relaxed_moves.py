"""What a change of one or two atoms costs once their neighbours have given way.

Sets of sites are compared at fixed positions
(:mod:`prammol.reconstruction.occupancy.candidate_sites`). But an atom that is put in or taken out
bends its surroundings: with few photons what the data say to that is as much as what they say to
the atom. Changes far from each other are relaxed together, and the misfit of each is evaluated
with the shifts of the atoms nearest to it alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.diffraction.structure_factor import StructureFactor
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, Expansion
from prammol.reconstruction.occupancy.gibbs_sampling import exchanges
from prammol.reconstruction.problem import Problem
from prammol.structure.separation import groups_apart

# chosen: 700 atoms at 1.5e16; same atoms from 2.5 to 10
_APART = 5.0  # changes relaxed together are farther from each other [neighbour distances]
# chosen: vacancy crystal, where relaxing gains up to 0.6 of an atom; not varied
_WORTH_RELAXING = (
    0.65  # of an atom: what costs more at fixed positions no relaxation makes worth it
)
# derived: single precision
_MOVE_ACCURACY = 1e-5  # accuracy of the transforms


@dataclass(frozen=True)
class Moves:
    """Flips of single sites and of pairs of close ones.

    Attributes
    ----------
    sites : list of (1,) or (2,) int ndarray
        What is flipped.
    prior : (k,) ndarray
        What each costs by the prior of bonds.
    """

    sites: list[NDArray[np.intp]]
    prior: NDArray[np.float64]


def cheapest_moves(
    sites: CandidateSites,
    near: Expansion,
    bonds: Expansion,
    number: int,
    most: float,
) -> Moves:
    """Return the single flips and the pairs of flips that cost least at fixed positions.

    Parameters
    ----------
    sites : CandidateSites
    near, bonds : Expansion
        Misfit and prior of bonds near its atoms, and the prior alone, of the same free sites.
    number : int
        How many of either kind, at most.
    most : float
        Those that cost more are left out.
    """
    free = near.free
    here, pairs = sites.taken[free], exchanges(sites.positions[free], sites.distance)
    found: list[NDArray[np.intp]] = []
    prior: list[float] = []
    for flips, of in ((np.arange(len(free))[:, None], _of_singles), (pairs, _of_pairs)):
        cost, alone = (of(here, expansion, flips) for expansion in (near, bonds))
        order = np.argsort(cost, kind="stable")[:number]
        order = order[cost[order] < most]
        found += [free[flips[k]] for k in order]
        prior += alone[order].tolist()
    return Moves(found, np.array(prior))


def _of_singles(
    taken: NDArray[np.bool_], near: Expansion, flips: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return what single flips cost, (p, 1) free sites -> (p,)."""
    every = np.where(taken, -1.0, 1.0) * near.slope + 0.5 * near.every.diagonal()
    return np.asarray(every[flips[:, 0]])


def _of_pairs(
    taken: NDArray[np.bool_], near: Expansion, pairs: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return what flips of two free sites cost, (p, 2) -> (p,)."""
    i, j = pairs[:, :1], pairs[:, 1:]
    alone = _of_singles(taken, near, i) + _of_singles(taken, near, j)
    between = np.asarray(near.every[i[:, 0], j[:, 0]]).ravel() if len(pairs) else np.empty(0)
    return np.where(taken[i[:, 0]] == taken[j[:, 0]], 1.0, -1.0) * between + alone


def relaxed_costs(
    problem: Problem,
    factor: StructureFactor,
    sites: CandidateSites,
    moves: list[NDArray[np.intp]],
    force_tolerance: float,
) -> NDArray[np.float64]:
    """Return by how much each move raises the misfit, with the atoms around it relaxed, (k,).

    Parameters
    ----------
    problem : Problem
    factor : StructureFactor
        Transform on the points of the misfit.
    sites : CandidateSites
        Its atoms are at a minimum of the energy but for a strain.
    moves : list of int ndarray
        Sites to flip.
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    """
    if not moves:
        return np.zeros(0)

    x, taken, misfit = sites.positions, sites.taken, sites.misfit

    def relaxed(keep: NDArray[np.bool_]) -> NDArray[np.float64]:
        out = x.copy()
        out[keep], _, _ = problem.cluster.relax(x[keep], force_tolerance=force_tolerance)
        return out

    omega = factor.forward(x[taken])
    before, _ = misfit.value(omega)
    rest = relaxed(taken)  # shifts are counted from here: the strain stays as it is
    centres = np.array([x[move].mean(axis=0) for move in moves])
    costs = np.zeros(len(moves))
    for group in groups_apart(centres, _APART * sites.distance):
        keep = taken.copy()
        for k in group:
            keep[moves[k]] = ~keep[moves[k]]
        y = relaxed(keep)
        nearest = cKDTree(centres[group]).query(x)[1]
        for k, mine in zip(group, np.arange(len(group))[:, None] == nearest, strict=True):
            old, new = np.flatnonzero(mine & taken), np.flatnonzero(mine & keep)
            there = np.where(taken[new, None], x[new] + y[new] - rest[new], y[new])
            points = np.concatenate([there, x[old]])
            change = factor.forward(points, np.repeat([1.0, -1.0], [len(new), len(old)]))
            costs[k] = misfit.value(omega + change)[0] - before
    return costs


def with_neighbours_relaxed(
    problem: Problem,
    sites: CandidateSites,
    near: Expansion,
    bonds: Expansion,
    number: int = 400,  # chosen: one trial each at 7e14 and 3e14, with 600; fewer not compared
    most: float = _WORTH_RELAXING,
    # chosen: vacancy crystal, 1.6e15; at 0.03 and 0.1 costs are off by up to 110
    force_tolerance: float = 1e-2,
) -> Expansion:
    """Return an expansion in which the cheapest single flips cost what they do relaxed.

    Parameters
    ----------
    problem, sites, near, bonds
        As for :func:`cheapest_moves` and :func:`relaxed_costs`.
    number : int
        How many flips are relaxed, at most.
    most : float
        Those that cost more than this part of an atom stay as they are.
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    """
    misfit, taken = sites.misfit, sites.taken
    omega = problem.factor.forward(sites.positions[taken])
    one = misfit.cost_of_one_atom(omega, misfit.scale(omega))
    here, singles = taken[near.free], np.arange(len(near.free))[:, None]
    cost, alone = (_of_singles(here, expansion, singles) for expansion in (near, bonds))
    few = np.argsort(cost, kind="stable")[:number]
    few = few[cost[few] < most * one]
    moves = [near.free[[k]] for k in few]
    rough = problem.factor.with_accuracy(_MOVE_ACCURACY)
    relaxed = relaxed_costs(problem, rough, sites, moves, force_tolerance)
    slope = near.slope.copy()
    slope[few] += np.where(here[few], -1.0, 1.0) * (relaxed + alone[few] - cost[few])
    return replace(near, slope=slope)
