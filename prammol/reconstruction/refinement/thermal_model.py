"""Atoms that move thermally, or are away for a part of the time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.debye_waller import ThermalStructureFactor
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.holdout_blocks import HeldOut
from prammol.likelihood.model_error import misfit_with_model_error
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.thermal_motion import fit_displacements
from prammol.structure.surface import neighbour_classes, on_surface

# Standard deviations by which held-out points must prefer another kind of model: there are few
# points, and too stiff is as wrong as too soft.
SIGNIFICANT = 3.0  # derived: three standard deviations
# chosen: 600 atoms at 300 K; as many wrong atoms from 20 to 80
_ITERATIONS = 40  # of the occupancies
# chosen: 8777 atoms at 300 K; 1e-5 against 1e-7, the same result
_COMPARISON_ACCURACY = 1e-5  # accuracy of the transforms while stiffnesses are compared


def prefers(
    problem: Problem,
    atoms: int,
    points: NDArray[np.float64],
    old: NDArray[np.complex128],
    new: NDArray[np.complex128],
    sigmas: float = SIGNIFICANT,
) -> bool:
    """Tell whether some points prefer a new structure factor, beyond their noise.

    What the old one doesn't explain counts as noise: else the brightest points decide, by
    errors that both share.
    """
    misfit = misfit_with_model_error(problem.shard, problem.factor, old, atoms, points)
    gain, noise = misfit.preference(old, new)
    # Points in which neither changes anything have no noise, and say nothing but rounding.
    return noise > 0 and gain > sigmas * noise


class ThermalModel:
    """Atoms that move, at rest until that is fitted: transform and misfit that belong together.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Positions, for the classes of neighbours [Å].
    debye_waller, occupancies : bool
        What is fitted.
    """

    def __init__(
        self, problem: Problem, x: NDArray[np.float64], debye_waller: bool, occupancies: bool
    ) -> None:
        potential = problem.potential
        self._debye_waller = debye_waller
        self._loose = on_surface(x, potential.bond_reach) if occupancies else np.zeros(len(x), bool)
        self._occupancies = np.ones(len(x))
        self._problem = problem
        self._classes = neighbour_classes(x, potential.bond_reach)
        self._length = float(np.linalg.norm(problem.data.peaks(), axis=1).mean())
        self._displacements = np.zeros(int(self._classes.max()) + 1)
        self.factor: StructureFactor = problem.factor

    def misfit(self, points: NDArray[np.float64] | None) -> PoissonMisfit:
        """Return the misfit of some points, weighted between 0 and 1."""
        return PoissonMisfit(self._problem.shard, self.factor, points)

    def fit(self, x: NDArray[np.float64], points: HeldOut, rounds: int = 1) -> bool:
        """Fit motion and occupancies to some points; keep them, and return True, if others agree.

        Parameters
        ----------
        x : (n, 3) ndarray
            Positions [Å].
        points : HeldOut
        rounds : int
            How often both are fitted in turn.
        """
        problem = self._problem
        before = self.factor.forward(x)
        old = self._displacements, self._occupancies
        plain = PoissonMisfit(problem.shard, problem.factor, points.fitted)
        for _ in range(rounds):
            if self._debye_waller:
                motion = fit_displacements(
                    plain,
                    x,
                    self._classes,
                    self._displacements,
                    self._occupancies,
                )
                self._use(motion, self._occupancies)
            if self._loose.any():
                moving = self._factor_of(self._displacements, np.ones(len(x)), _COMPARISON_ACCURACY)
                misfit = PoissonMisfit(problem.shard, moving, points.fitted)
                present = fit_occupancies(misfit, x, self._occupancies, self._loose, _ITERATIONS)
                self._use(self._displacements, present)
        if self.prefers(points.apart, before, self.factor.forward(x)):
            return True
        self._use(*old)
        return False

    def prefers(
        self,
        points: NDArray[np.float64],
        old: NDArray[np.complex128],
        new: NDArray[np.complex128],
        sigmas: float = SIGNIFICANT,
    ) -> bool:
        """Tell whether some points prefer a new structure factor, see :func:`prefers`."""
        return prefers(self._problem, len(self._classes), points, old, new, sigmas)

    def restrained_fit(
        self,
        x: NDArray[np.float64],
        points: NDArray[np.float64],
        stiffness: float,
        iterations: int,
        epsilon: float = _COMPARISON_ACCURACY,
    ) -> NDArray[np.float64]:
        """Minimise misfit + stiffness * energy over the positions, with transforms of epsilon."""
        factor = self._factor_of(self._displacements, self._occupancies, epsilon)
        misfit = PoissonMisfit(self._problem.shard, factor, points)
        return restrained_fit(misfit, self._problem.cluster, x, stiffness, iterations)

    @property
    def moves(self) -> bool:
        """Whether the atoms move."""
        return bool(self._displacements.any() or (self._occupancies < 1.0).any())

    def displacements_of_atoms(self) -> NDArray[np.float64]:
        """Return the mean square displacement of each atom, (n,) [Å^2]; empty if it is 0."""
        u = self._displacements
        return u[self._classes] if u.any() else np.empty(0)

    def occupancies_of_atoms(self) -> NDArray[np.float64]:
        """Return which part of the time each atom is in its place, (n,); empty if always."""
        w = self._occupancies
        return w if (w < 1.0).any() else np.empty(0)

    def _use(self, displacements: NDArray[np.float64], occupancies: NDArray[np.float64]) -> None:
        self._displacements, self._occupancies = displacements, occupancies
        self.factor = self._factor_of(displacements, occupancies, self._problem.factor.epsilon)

    def _factor_of(
        self,
        displacements: NDArray[np.float64],
        occupancies: NDArray[np.float64],
        epsilon: float,
    ) -> StructureFactor:
        base = self._problem.factor
        if not displacements.any() and (occupancies == 1.0).all():
            if epsilon == base.epsilon:
                return base
            return base.with_accuracy(epsilon)
        return ThermalStructureFactor(
            base.patches,
            displacements[self._classes],
            self._length,
            epsilon,
            base.threads,
            occupancies,
            base.amplitude,
            base.scatterers,
        )
