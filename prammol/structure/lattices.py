"""What is known of the two lattices of monoatomic metals: fcc and bcc, cube axes along x, y, z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Lattice:
    """A cubic lattice with one atom in its primitive cell.

    Attributes
    ----------
    sites : tuple of (float, float, float)
        Atoms of the cubic cell, in units of its edge.
    neighbour : float
        Nearest-neighbour distance [edges].
    coordination : int
        Nearest neighbours.
    first_shell : float
        A distance between the first and the second shell [neighbour distances].
    shells : float
        A distance that takes in what binds an atom, the 12 neighbours of fcc and the 8 and
        6 of bcc, half way to the next shell [neighbour distances].
    peaks : tuple of (int, int, int)
        Three reflections of the innermost family that generate the reciprocal lattice.
    line : (int, int, int)
        Close-packed direction, that of a screw dislocation.
    """

    sites: tuple[tuple[float, float, float], ...]
    neighbour: float
    coordination: int
    first_shell: float
    shells: float
    peaks: tuple[Triple, Triple, Triple]
    line: Triple

    @property
    def basis(self) -> NDArray[np.float64]:
        """Atoms of the cubic cell, (n, 3), in units of its edge."""
        return np.array(self.sites, dtype=float)


# derived: crystallography; shells end halfway between two distances
LATTICES = {
    "fcc": Lattice(
        sites=((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)),
        neighbour=0.5**0.5,
        coordination=12,
        first_shell=1.2,
        shells=1.22,
        peaks=((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
        line=(1, 1, 0),
    ),
    "bcc": Lattice(
        sites=((0, 0, 0), (0.5, 0.5, 0.5)),
        neighbour=0.75**0.5,
        coordination=8,
        first_shell=1.08,
        shells=1.39,
        peaks=((0, 1, 1), (1, 0, 1), (1, 1, 0)),
        line=(1, 1, 1),
    ),
}
