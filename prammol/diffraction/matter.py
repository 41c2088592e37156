"""Matter that isn't the crystal: an oxide, adsorbates, a ligand shell.

Its waves interfere with those of the crystal, so that it can't be a background of the counts. As
the bulk solvent of crystallography (Jiang and Brünger, J. Mol. Biol. 243, 100 (1994)) it is a
density at rest, here as weights of many places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.structure_factor import StructureFactor


@dataclass(frozen=True, eq=False)
class Matter:
    """A density beside the atoms.

    Attributes
    ----------
    positions : (k, 3) ndarray
        Where it is [Å].
    weights : (k,) ndarray
        What scatters there, in units of an atom of the crystal; not negative.
    freedom : float
        Independent parameters that were fitted: half as much of the misfit's noise is gone.
    """

    positions: NDArray[np.float64]
    weights: NDArray[np.float64]
    freedom: float = 0.0

    def structure_factor(self, factor: StructureFactor) -> NDArray[np.complex128]:
        """Return its Omega on the points of a transform, (m,)."""
        return factor.forward(self.positions, self.weights)
