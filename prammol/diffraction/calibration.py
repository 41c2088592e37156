"""How each patch was recorded, as far as that isn't known exactly.

A patch has a scale of its own, C_k, and its scattering vectors are those of the file but for a
small rotation and offset: q' = R_k q + d_k. Both are parameters of the measurement model, with
the uncertainty of the instrument's calibration as a Gaussian prior. A background beyond the one
that is declared is a parameter, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from prammol.core.defaults import GEOMETRY
from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.matter import Matter

_LARGEST = 1.0  # derived: 1/Å and rad, beyond it no patch holds its peak


@dataclass(frozen=True)
class GeometryUncertainty:
    """Standard deviations of the geometry of a patch; 0 where it is known.

    The defaults are those of a diffractometer that was aligned with care, for data that don't say.

    Attributes
    ----------
    offset : float
        Of the offset of the scattering vectors along each axis [1/Å].
    rotation : float
        Of the angle by which they are turned about each axis [rad].
    """

    offset: float = GEOMETRY["offset"]
    rotation: float = GEOMETRY["rotation"]

    @classmethod
    def none(cls) -> GeometryUncertainty:
        """Return that of a geometry that is known, as in a simulation."""
        return cls(0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("offset", "rotation"):
            value = getattr(self, name)
            if not 0 <= value < _LARGEST:
                msg = f"the uncertainty of the {name} is {value}, expected 0 to {_LARGEST:g}"
                raise InputError(msg)

    @property
    def known(self) -> bool:
        """Whether nothing is uncertain."""
        return self.offset == 0 and self.rotation == 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """What is fitted of the measurement of each patch.

    Attributes
    ----------
    amplitude : (patches,) ndarray
        C_k / C, that of the first patch is 1.
    offset : (patches, 3) ndarray
        d_k [1/Å].
    rotation : (patches, 3) ndarray
        Rotation vector of R_k [rad].
    background : tuple of ndarray
        Photons expected at each point beyond the declared background, one array with the patch's
        shape per patch; empty if none is fitted. Whole patches, the same on all ranks.
    terms : mapping of str to (patches,) ndarray
        What that background consists of: photons of each term in a mean point of each patch.
    blur : (3,) ndarray
        Standard deviations of a Gaussian along the axes of the grids, beyond the declared response
        [steps]; 0 if none is fitted.
    blur_error : (3,) ndarray
        Theirs, the atoms held [steps]; nan where there is none.
    matter : Matter, optional
        What scatters in step with the crystal but isn't one of its atoms.
    """

    amplitude: NDArray[np.float64]
    offset: NDArray[np.float64]
    rotation: NDArray[np.float64]
    background: tuple[NDArray[np.float64], ...] = ()
    terms: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    blur: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    blur_error: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.nan))
    matter: Matter | None = None

    @classmethod
    def nominal(cls, patches: int) -> Calibration:
        """Return that of patches which are what their file says, with one scale."""
        return cls(np.ones(patches), np.zeros((patches, 3)), np.zeros((patches, 3)))

    @property
    def is_nominal(self) -> bool:
        """Whether nothing differs from the file."""
        fitted = self.background or self.blur.any() or self.matter
        return not fitted and self.has_nominal_patches

    def with_patches_of(self, other: Calibration) -> Calibration:
        """Return scales and geometry of another, all else of this one."""
        return replace(
            self, amplitude=other.amplitude, offset=other.offset, rotation=other.rotation
        )

    @property
    def has_nominal_patches(self) -> bool:
        """Whether scales and geometry are those of the file."""
        return bool((self.amplitude == 1).all()) and not (self.offset.any() or self.rotation.any())

    def patch(self, nominal: BraggPatch, k: int) -> BraggPatch:
        """Return patch k, or some planes of it, where it was in fact."""
        if not (self.offset[k].any() or self.rotation[k].any()):
            return nominal
        return nominal.moved(Rotation.from_rotvec(self.rotation[k]).as_matrix(), self.offset[k])

    def amplitudes(
        self, known: NDArray[np.float64] | None, patch_index: NDArray[np.int_]
    ) -> NDArray[np.float64] | None:
        """Return the amplitude factor of points, (m,), None if it is 1 everywhere.

        Parameters
        ----------
        known : (m,) ndarray or None
            Root of the gain.
        patch_index : (m,) int ndarray
            Patch of each point.
        """
        if (self.amplitude == 1).all():
            return known
        own = self.amplitude[patch_index]
        return own if known is None else own * known


def prior_precision(uncertainty: GeometryUncertainty, patches: int) -> NDArray[np.float64]:
    """Return 1 / sigma^2 of the parameters in the order of :func:`as_vector`, inf where known."""
    with np.errstate(divide="ignore"):
        offset, rotation = 1.0 / np.array([uncertainty.offset, uncertainty.rotation]) ** 2
    return np.concatenate(
        [np.zeros(patches), np.full(3 * patches, offset), np.full(3 * patches, rotation)]
    )


def as_vector(calibration: Calibration) -> NDArray[np.float64]:
    """Return log amplitudes, offsets and rotations in one row, (7 patches,)."""
    return np.concatenate(
        [np.log(calibration.amplitude), calibration.offset.ravel(), calibration.rotation.ravel()]
    )


def of_vector(values: Sequence[float] | NDArray[np.float64]) -> Calibration:
    """Return the calibration of a row as :func:`as_vector` makes it."""
    row = np.asarray(values, dtype=float)
    n = len(row) // 7
    return Calibration(
        np.exp(row[:n] - row[0]), row[n : 4 * n].reshape(n, 3), row[4 * n :].reshape(n, 3)
    )
