"""A grain of a compound whose atoms stay on their sites when it relaxes.

A Voronoi grain is cut by planes of any direction. Of metals the atoms that stick out at its edges
relax in place; of compounds some move to other sites, which other elements have in the perfect
crystal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError, SimulationError
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential
from prammol.structure.labels import Labels
from prammol.structure.voronoi import neighbour_counts, voronoi_grain_sites

_AWAY = 0.4  # derived: nearly half way to the next site [neighbour distances]
# derived: so many bonds fix a point, with angles one fewer do; else it is free to turn
_HELD = 3
_OPEN = 4  # derived: neighbours in zincblende, whose potentials have angles
_ROUNDS = 30  # chosen: a limit, up to 8 for 200 to 800 atoms of NiAl, Ni3Al, CoAl; not varied
_SAME = 0.1  # derived: far below any distance of two atoms [Å]


def settled_grain(
    potential: Potential, count: int, seed: int, attempt: int, cluster: Cluster
) -> tuple[NDArray[np.float64], NDArray[np.int_]] | None:
    """Return a grain before it relaxes, without atoms that would leave their sites or hang loose.

    The next atoms of the lattice take their place, so that the number is exact.

    Parameters
    ----------
    potential : Potential
        Of a compound.
    count : int
        Atoms.
    seed, attempt : int
        See :func:`prammol.structure.voronoi.voronoi_grain_sites`.
    cluster : Cluster
        Gets the elements of the atoms.

    Returns
    -------
    (x, kinds) or None
        Positions, (count, 3) [Å], and elements, (count,); None if atoms move again and again.
    """
    lattice, edge = potential.lattice, potential.lattice_constant
    left = np.empty((0, 3))
    for _ in range(_ROUNDS):
        try:
            x, sites = voronoi_grain_sites(lattice, edge, count + len(left), seed, attempt)
        except InputError:
            return None
        kept = np.ones(len(x), dtype=bool) if not len(left) else cKDTree(left).query(x)[0] > _SAME
        x, kinds = x[kept], lattice.kind_of_site[sites[kept]]
        if len(x) != count:  # another grain of the same seed came out
            return None
        cluster.labels = Labels.of_atoms(x, kinds)
        try:
            y, _, _ = cluster.relax(x, force_tolerance=1e-2)
        except SimulationError:
            return None
        reach = lattice.first_shell * potential.neighbour_distance
        away = strayed(x, y) > _AWAY * potential.neighbour_distance
        away |= neighbour_counts(y, reach) < (_HELD if lattice.coordination > _OPEN else _HELD - 1)
        if not away.any():
            return x, kinds
        left = np.concatenate([left, x[away]])
    return None


def strayed(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far atoms have gone from x to y, (n, 3) [Å], but for what all have done, (n,).

    That is an even map, fitted to the half that agrees with it best.
    """
    design, move = np.column_stack([x, np.ones(len(x))]), y - x
    calm, gone = np.ones(len(x), dtype=bool), np.zeros(len(x))
    for _ in range(3):
        found = np.linalg.lstsq(design[calm], move[calm], rcond=None)[0]
        gone = np.linalg.norm(move - design @ found, axis=1)
        calm = gone <= np.median(gone)
    return gone
