"""How sure the answer is: error bars of positions, confidence of atoms, mean density.

The paper gives no error bars. These follow from Fisher information plus the energy's
curvature, scaled by what held-out speckles show, and from sampled sets of sites.
"""

from __future__ import annotations

from prammol.reconstruction.uncertainty.mean_density import mean_density
from prammol.reconstruction.uncertainty.per_atom import error_bars
from prammol.reconstruction.uncertainty.positions import Uncertainty, position_uncertainty

__all__ = [
    "Uncertainty",
    "error_bars",
    "mean_density",
    "position_uncertainty",
]
