"""The object that is compared with the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.debye_waller import thermal_structure_factor
from prammol.diffraction.diffuse_scattering import DiffuseScattering
from prammol.diffraction.structure_factor import StructureFactor
from prammol.potentials.potential import Potential
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels


def _none() -> NDArray[np.float64]:
    return np.empty(0)


@dataclass(frozen=True)
class Model:
    """Atoms, how they move, and how brightly they scatter.

    Attributes
    ----------
    positions : (n, 3) ndarray
        Atoms [Å].
    scale : float
        C, the amplitude one atom scatters into one point [sqrt(photons)].
    displacements : (n,) ndarray
        Mean square displacement of each atom along one axis [Å^2]; empty if it isn't fitted.
    occupancies : (n,) ndarray
        Part of the time each atom is in its place; empty if that isn't fitted.
    stiffness : float
        Weight of the energy beside the misfit that gave the positions [1/eV]; infinite at a
        minimum of the energy.
    bond_energy : float
        What one bond is worth as a log-likelihood where single atoms are hardly seen
        (:mod:`prammol.reconstruction.occupancy.bond_energy`).
    calibration : Calibration, optional
        Scales and geometry of the patches, where the counts contradict those of the file.
    diffuse : DiffuseScattering, optional
        Predicted of the atoms, where the counts insist.
    labels : Labels, optional
        Which element is where, if there are several.
    """

    positions: NDArray[np.float64]
    scale: float
    displacements: NDArray[np.float64] = field(default_factory=_none)
    occupancies: NDArray[np.float64] = field(default_factory=_none)
    stiffness: float = float("inf")
    bond_energy: float = 1.0
    calibration: Calibration | None = None
    diffuse: DiffuseScattering | None = None
    labels: Labels | None = None

    def structure_factor(self, factor: StructureFactor) -> NDArray[np.complex128]:
        """Return Omega on the points of a transform, (m,), averaged over the motion."""
        return thermal_structure_factor(
            factor, self.positions, self.displacements, self.occupancies
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the fitted columns of the atoms: how they move, the part of the time each is."""
        out: dict[str, NDArray[Any]] = {}
        if len(self.displacements) or self.diffuse:
            common = self.diffuse.displacement if self.diffuse else 0.0
            own = self.displacements if len(self.displacements) else np.zeros(len(self.positions))
            out["mean_square_displacement"] = common + own
        if len(self.occupancies):
            out["occupancy"] = self.occupancies
        return out

    def at_rest(self) -> Model:
        """Return the model with all atoms there, at rest, and nothing known of the energy."""
        return replace(self, displacements=_none(), occupancies=_none(), stiffness=float("inf"))

    def calibration_of(self, patches: Sequence[BraggPatch]) -> Calibration | None:
        """Return the calibration with the diffuse scattering as a term of its background."""
        if self.diffuse is None:
            return self.calibration
        photons = self.diffuse.on(patches)
        nominal = self.calibration or Calibration.nominal(len(photons))
        known = nominal.background or [np.zeros(1)] * len(photons)
        terms = {**nominal.terms, "diffuse": np.array([p.mean() for p in photons])}
        background = tuple(b + p for b, p in zip(known, photons, strict=True))
        return replace(nominal, background=background, terms=terms)

    def contiguous(self) -> Model:
        """Return the model with its arrays in C order, as they come back from a file.

        The last bits of a sum depend on the order in memory, too.
        """
        return replace(
            self,
            positions=np.ascontiguousarray(self.positions),
            displacements=np.ascontiguousarray(self.displacements),
            occupancies=np.ascontiguousarray(self.occupancies),
        )


def atoms_of(
    potential: Potential,
    model: Model,
    columns: Mapping[str, NDArray[Any]] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Atoms:
    """Return the atoms of a model with their elements, and columns of further values."""
    x, labels = model.positions, model.labels
    if labels is None or not len(x):
        return Atoms(x, potential.element, columns or {}, info or {})
    symbols = np.array(potential.elements)[labels.kinds_of(x)]
    return Atoms.of_elements(x, symbols, columns, info)
