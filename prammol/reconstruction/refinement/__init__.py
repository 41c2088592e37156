"""Where the atoms are: rotation, strain, single shifts, restraint by the energy, thermal motion.

The paper refines positions by BFGS on a sample of the points (Eq. 8;
:mod:`prammol.reconstruction.refinement.bfgs`). Preset ``default`` stays at the minimum of the
energy and lets the data move the atoms off it only as far as held-out points confirm.
"""

from __future__ import annotations

from prammol.reconstruction.refinement.bfgs import bfgs
from prammol.reconstruction.refinement.curvature import curvature_of_data, curvature_of_energy
from prammol.reconstruction.refinement.diffuse_fit import fitted_diffuse
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.refinement.score_test import misplaced
from prammol.reconstruction.refinement.thermal_model import ThermalModel, prefers
from prammol.reconstruction.refinement.thermal_motion import fit_displacements

__all__ = [
    "ThermalModel",
    "align_strained",
    "bfgs",
    "curvature_of_data",
    "curvature_of_energy",
    "fit_displacements",
    "fitted_diffuse",
    "misplaced",
    "prefers",
    "restrained_fit",
]
