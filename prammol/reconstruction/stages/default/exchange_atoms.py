"""Atoms that the data put elsewhere than the energy: found without any relaxation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.model_error import misfit_with_model_error
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.problem import Problem
from prammol.structure.surface import on_surface

# chosen: 600 atoms at 300 K; as many wrong atoms from 0.15 to 0.6
_DEPTH = 0.3  # of a whole atom: what is left of one beside an atom in the wrong place
# derived: single precision
_SEARCH_ACCURACY = 1e-5  # accuracy of the transforms
# chosen: as complete_atoms.points; as many wrong atoms from 20 to 80 (600 atoms at 300 K)
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
    factor = problem.factor.with_accuracy(_SEARCH_ACCURACY)
    potential = problem.potential
    misfit = misfit_with_model_error(problem.shard, factor, factor.forward(x), len(x), points)
    surface = on_surface(x, potential.bond_reach)
    minima, _ = difference_map(misfit, x).minima(
        x,
        x[surface],
        -_DEPTH,
        potential.neighbour_distance,
        rng,
        _POINTS * int(surface.sum()),
    )
    if len(minima) == 0:
        return None
    sites = CandidateSites.around(misfit, potential, x, minima)
    taken = sites.choose(sites.taken, depth=_DEPTH).taken
    return None if np.array_equal(taken, sites.taken) else sites.positions[taken]
