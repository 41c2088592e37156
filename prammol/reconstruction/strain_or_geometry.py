"""Is an even strain of the crystal one, or a geometry that was said to be known and isn't?

Offsets of three patches are nine numbers, and so is a linear map of the crystal: with few photons
beyond the peaks both explain the counts alike. Where the geometry is uncertain the error bars
contain that (:mod:`prammol.reconstruction.refinement.calibration_fit`). Where it is said to be
known the counts strain the crystal. A potential may be off by its lattice constant, which strains
evenly in all directions. What differs between directions is either load on the crystal or a wrong
geometry, and the counts have to decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from prammol.diffraction.calibration import GeometryUncertainty
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.calibration_fit import CalibratedPose, fitted
from prammol.reconstruction.refinement.rotation_strain import (
    LINEAR_MAPS,
    ROTATIONS,
    even_map,
    rotation_of,
    strain_of,
)
from prammol.reconstruction.result import Cause

# Why a run ends whose atoms explain the counts, but as well where they may not be.
STRAIN_OR_GEOMETRY = "strain or geometry"

# derived: five standard deviations, two-sided
_CHANCE = 5.7e-7
_RULED_OUT = 12.5  # derived: log-likelihood ratio of five standard deviations
# derived: a relaxed crystal, as reconstruction.uncertainty.positions
_AT_REST = 1e-3  # eV/Å
_TOLERANCE = 1e-3  # derived: eV/Å, moves atoms by less than the counts tell


@dataclass(frozen=True)
class StrainTaken:
    """An even strain that the counts put on a crystal against the minimum of its energy.

    Attributes
    ----------
    strain : (3, 3) ndarray
        Symmetric.
    offset : float
        Length of the largest offset of a patch that explains the counts as well [1/Å]; 0 if they
        rule that out, or if the strain is the same in all directions, as that of a
        potential whose lattice constant is off.
    """

    strain: NDArray[np.float64]
    offset: float

    @property
    def largest(self) -> float:
        """Largest principal strain."""
        return float(np.abs(np.linalg.eigvalsh(self.strain)).max())


def cause_of(taken: StrainTaken) -> Cause:
    """Return what to say of it at the end."""
    where = f"{100 * taken.largest:.2g} %"
    if not taken.offset:
        return Cause("strain taken", where, float("nan"), float("nan"))
    where += f", or patches are off by up to {taken.offset:.2g} 1/Å: the counts don't tell"
    return Cause("strain taken", where, float("nan"), float("nan"))


def strain_taken(problem: Problem, model: Model) -> StrainTaken | None:
    """Return the even strain of a model beyond noise, None if there is none.

    Only where the geometry of the patches is said to be known. Called together by all ranks.
    """
    x = model.positions
    if not problem.data.geometry.known or len(model.displacements):
        return None
    _, forces = problem.cluster.energy_forces(x)
    if np.abs(forces).max(initial=0.0) < _AT_REST:
        return None
    y, _, _ = problem.cluster.relax(x, force_tolerance=_TOLERANCE)
    even = even_map(y, x)
    if even is None:
        return None
    strain = strain_of(even.T)
    pose = CalibratedPose(problem, x)
    covariance = _covariance(pose)
    if not _significant(strain, covariance, _SYMMETRIC):
        return None
    uneven = strain - np.trace(strain) / 3.0 * np.eye(3)
    if not _significant(uneven, covariance, _TRACELESS):
        return StrainTaken(strain, 0.0)
    data = replace(problem.data, geometry=GeometryUncertainty())
    turned = y.mean(axis=0) + (y - y.mean(axis=0)) @ rotation_of(even)
    rival = fitted(CalibratedPose(replace(problem, data=data), turned), ROTATIONS)
    offset = 0.0
    if rival.value - pose.value < _RULED_OUT and rival.problem.calibration is not None:
        offset = float(np.linalg.norm(rival.problem.calibration.offset, axis=1).max())
    return StrainTaken(strain, offset)


def _basis() -> NDArray[np.float64]:
    """Return symmetric maps, orthonormal, the one that is the same in all directions first."""
    maps = [np.eye(3) / np.sqrt(3.0), np.diag([1.0, -1.0, 0.0]) / np.sqrt(2.0)]
    maps.append(np.diag([1.0, 1.0, -2.0]) / np.sqrt(6.0))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        shear = np.zeros((3, 3))
        shear[a, b] = shear[b, a] = np.sqrt(0.5)
        maps.append(shear)
    return np.array(maps)


_SYMMETRIC = _basis()
_TRACELESS = _SYMMETRIC[1:]


def _covariance(pose: CalibratedPose) -> NDArray[np.float64]:
    """Return the covariance of the nine elements of a map, (9, 9), with rotations and C free."""
    return pose.covariance(LINEAR_MAPS)[-len(LINEAR_MAPS) :, -len(LINEAR_MAPS) :]


def _significant(
    strain: NDArray[np.float64], covariance: NDArray[np.float64], basis: NDArray[np.float64]
) -> bool:
    """Tell whether a strain is beyond noise, in the directions of a basis."""
    rows = basis.reshape(len(basis), -1)
    along = rows @ strain.ravel()
    square = along @ np.linalg.solve(rows @ covariance @ rows.T, along)
    return bool(square > chdtri(len(basis), _CHANCE))
