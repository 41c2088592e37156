"""Phases of the patches, and what follows from them: sites, lattice, support.

Each Bragg patch alone is an ordinary BCDI problem. Preset ``default`` phases it (HIO, ER) and
finds the sites where the waves of three patches are in phase; this replaces the random or
perfect lattice the paper starts from. The support can come from the counts alone as well.
"""

from __future__ import annotations

from prammol.phasing.fourier_synthesis import Waves, synthesise
from prammol.phasing.hio_er import MeasuredPatch, PhasedPatch, phase_patch
from prammol.phasing.indexing import Cell, indexed, lattice_note
from prammol.phasing.lattice_from_peaks import (
    Sublattice,
    choose_sublattice,
    independent_patches,
    sublattices,
)
from prammol.phasing.lattice_shift import shifted_weights
from prammol.phasing.support_agreement import agreement, best_axis_order
from prammol.phasing.support_from_counts import RetrievedSupport, support_from_data

__all__ = [
    "Cell",
    "MeasuredPatch",
    "PhasedPatch",
    "RetrievedSupport",
    "Sublattice",
    "Waves",
    "agreement",
    "best_axis_order",
    "choose_sublattice",
    "independent_patches",
    "indexed",
    "lattice_note",
    "phase_patch",
    "shifted_weights",
    "sublattices",
    "support_from_data",
    "synthesise",
]
