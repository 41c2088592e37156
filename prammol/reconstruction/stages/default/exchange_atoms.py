"""Atoms that the data put elsewhere than the energy: found without any relaxation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.quasi_likelihood import honest_misfit
from prammol.reconstruction.occupancy.site_selection import Sites
from prammol.reconstruction.problem import Problem
from prammol.structure.surface import on_surface

_DEPTH = 0.3  # of a whole atom: what is left of one beside an atom in the wrong place
_ROUGH = 1e-5  # accuracy of the transforms
_POINTS = 40  # starting points of the search, per atom of the surface


def exchanged(
    problem: Problem,
    x: NDArray[np.float64],
    points: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64] | None:
    """Return the atoms with some moved to minima of the difference map, added or removed.

    A surface atom whose true place is no minimum of the energy of this potential stays in
    the hollow beside it, whatever is relaxed. The difference map shows both: the atom that
    is too many, and the one that is missing.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Atoms, pulled to where the data want them [Å].
    points : (m,) ndarray
        Weight of each of this rank's points, between 0 and 1.
    rng : numpy.random.Generator
        In the same state on all ranks.

    Returns
    -------
    (k, 3) ndarray or None
        Positions [Å]; None if no change helps.
    """
    factor = problem.factor.with_accuracy(_ROUGH)
    potential = problem.cluster.potential
    misfit = honest_misfit(problem.shard, factor, factor.forward(x), len(x), points)
    distance, reach = potential.neighbour_distance, potential.bond_reach
    surface = on_surface(x, reach)
    difference = difference_map(misfit, factor, problem.comm, x)
    minima, _ = difference.minima(
        x, x[surface], -_DEPTH, distance, rng, _POINTS * int(surface.sum())
    )
    if len(minima) == 0:
        return None
    sites = np.concatenate([x, minima])
    was = np.arange(len(sites)) < len(x)
    every = Sites(misfit, factor, problem.comm, sites, was, distance, reach)
    choice = every.choose(was, depth=_DEPTH)
    return None if np.array_equal(choice.taken, was) else sites[choice.taken]
