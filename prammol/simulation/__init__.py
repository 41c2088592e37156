"""Sample crystals, their mean scattering at a temperature, and photon counts.

The paper's simulations (Methods): the crystals with 4791, 4679 and 8777 atoms, the average
over NVT snapshots (Eq. 12), and Poisson counts at a flux.
"""

from __future__ import annotations

from prammol.simulation.averages import MeanAmplitude, innermost_patches, mean_structure_factor
from prammol.simulation.counts import draw_counts, simulate
from prammol.simulation.samples import make_crystal

__all__ = [
    "MeanAmplitude",
    "draw_counts",
    "innermost_patches",
    "make_crystal",
    "mean_structure_factor",
    "simulate",
]
