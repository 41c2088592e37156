"""Scattering and what a detector records of it: patches, structure factor, counts, support.

Implements the forward model of the paper (Eqs. 1 to 3): Omega(q) = sum_j exp(-i q.x_j) on the
grid of each Bragg patch, counts with the mean C^2 abs(Omega)^2, and the low-resolution
support. Thermal motion enters as Debye-Waller factors.
"""

from __future__ import annotations

from prammol.diffraction.beamline import Beamline
from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch, paper_patches
from prammol.diffraction.curved_patch import CurvedPatch, patch_of_points
from prammol.diffraction.dataset import Diffraction, Shard, local_shard
from prammol.diffraction.debye_waller import ThermalStructureFactor, thermal_structure_factor
from prammol.diffraction.detector_flaws import masked_flaws, saturated, zingers
from prammol.diffraction.diffractometer import Diffractometer, orientation_from_peaks
from prammol.diffraction.diffuse_scattering import (
    scattered_by_modes,
    scattered_by_waves,
    spectrum_of_waves,
)
from prammol.diffraction.form_factors import form_factor
from prammol.diffraction.photon_flux import (
    counts_per_flux,
    known_gain,
    scale_from_flux,
    solid_angle,
)
from prammol.diffraction.plane_waves import PlaneWaves
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.diffraction.support import Support, support_above, support_from_truth

__all__ = [
    "Beamline",
    "BraggPatch",
    "CurvedPatch",
    "Diffraction",
    "Diffractometer",
    "PlaneWaves",
    "Shard",
    "StructureFactor",
    "Support",
    "ThermalStructureFactor",
    "counts_per_flux",
    "cubic_patch",
    "direct_structure_factor",
    "form_factor",
    "known_gain",
    "local_shard",
    "masked_flaws",
    "orientation_from_peaks",
    "paper_patches",
    "patch_of_points",
    "saturated",
    "scale_from_flux",
    "scattered_by_modes",
    "scattered_by_waves",
    "solid_angle",
    "spectrum_of_waves",
    "support_above",
    "support_from_truth",
    "thermal_structure_factor",
    "zingers",
]
