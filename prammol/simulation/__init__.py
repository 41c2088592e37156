"""Sample crystals, their mean scattering at a temperature, photon counts and rocking scans.

The paper's simulations (Methods): the crystals with 4791, 4679 and 8777 atoms, the average
over NVT snapshots (Eq. 12), and Poisson counts at a flux.
"""

from __future__ import annotations

from prammol.simulation.averages import MeanAmplitude, innermost_patches, mean_structure_factor
from prammol.simulation.counts import draw_counts, simulate
from prammol.simulation.instrument import Instrument, instrument_of
from prammol.simulation.samples import make_crystal
from prammol.simulation.scans import RockingScan, ScanTruth, simulate_scans
from prammol.simulation.surface_changes import change_surface

__all__ = [
    "Instrument",
    "MeanAmplitude",
    "RockingScan",
    "ScanTruth",
    "change_surface",
    "draw_counts",
    "innermost_patches",
    "instrument_of",
    "make_crystal",
    "mean_structure_factor",
    "simulate",
    "simulate_scans",
]
