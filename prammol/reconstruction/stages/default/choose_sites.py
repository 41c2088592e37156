"""Which of the synthesised sites hold an atom, for each shift of the lattice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.calibration import Calibration
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.holdout_blocks import peak_window
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.occupancy.solution_sites import SolutionChoice, choose_solution
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.setting_kinds import (
    Accuracy,
    Checked,
    Counts,
    NonNegative,
    Part,
    Positive,
    Positives,
    Whole,
)
from prammol.reconstruction.stages.default.phase_patches import SiteGuesses
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import coarser
from prammol.structure.labels import Labels

# chosen: rough objects of crystals with one scale are alike to 1 %; not varied
_ALIKE = 0.03


@dataclass(frozen=True)
class ChooseSites(Checked):
    """Choose among the sites, starting from every shift of the lattice against the shape.

    Flips choose the shifts worth pursuing, and with few photons the best set. With many,
    while the sites aren't yet where the atoms are, occupancies between 0 and 1 under windows
    around the Bragg peaks often do better: coarse features of the shape first. Then both are
    tried and the least misfit wins. No more points are asked than tell the shape
    (:mod:`prammol.reconstruction.subsampling`).

    Attributes
    ----------
    floor : float
        Relative error allowed to the model's amplitude, so that the few bright points don't
        rule.
    threshold : float
        Sites with an occupancy above this are atoms.
    rounds : tuple of (int, int)
        How many shifts take part in a round, the best so far, and how often the misfit is
        expanded anew for each.
    significance : float
        Windows are tried if the misfit of the best set exceeds noise by more standard deviations.
    finalists : int
        For how many shifts windows are tried.
    blurs : tuple of float
        Widths of the real-space Gaussians that belong to the windows, one after the
        other [neighbour distances].
    inside : float
        Sites with a starting occupancy of at least this keep it under the windows.
    iterations : int
        L-BFGS iterations under each window.
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    floor: NonNegative = 0.05  # chosen: 600 atoms at 1e18; same atoms from 0.025 to 0.1
    threshold: Part = 0.5  # derived: rounding, same atoms from 0.25 to 0.5 (600 atoms at 1e18)
    # chosen: all shifts first, the others for speed; same atoms from x 1 to x 2 (600 atoms at
    # 1e18)
    rounds: Counts = ((1000, 1), (16, 1), (4, 6))
    significance: Positive = 5.0  # derived: five standard deviations
    finalists: Whole = 2  # chosen: 600 atoms at 1e18; same atoms from 1 to 4
    # chosen: a crystal of 600 atoms; 9 missing after three or four windows, 11 after these; same
    # atoms from x 0.5 to x 2 (600 atoms at 1e18)
    blurs: Positives = (0.75, 0.5)
    inside: Part = 0.999  # chosen: 600 atoms at 1e18; same atoms from 0.4995 to 0.999
    # chosen: 600 atoms at 1e18; same atoms from 15 to 60, error 0.14, 0.029, 0.029 pm
    iterations: Whole = 30
    epsilon: Accuracy = 1e-5  # derived: single precision

    def __call__(self, problem: Problem, state: State) -> State:
        """Return a state whose atoms are sites; the shift with the least misfit wins."""
        guesses = state.given(SiteGuesses)
        assert guesses is not None
        found = [self._chosen(problem, g) for g in (guesses, *guesses.others)]
        return replace(state, model=min(found, key=lambda result: result[0])[1])

    def _chosen(self, problem: Problem, guesses: SiteGuesses) -> tuple[float, Model]:
        """Return the best of some sites, and its misfit."""
        positions, labels = guesses.positions, guesses.labels
        if labels is None and problem.factor.scatterers is not None:
            labels = problem.factor.scatterers.labels.perfect
        problem = problem.labelled(labels)
        first = positions[guesses.occupancies[0] > self.threshold]
        calibration = rough_scales(problem, first)
        problem = coarser(problem.calibrated(calibration))
        factor = problem.factor.with_accuracy(self.epsilon)
        starts = list(guesses.occupancies)
        scale = PoissonMisfit(problem.shard, factor, floor=self.floor)(first).scale
        incoherent = scale**2 * len(first)
        misfit = PoissonMisfit(problem.shard, factor, floor=self.floor, incoherent=incoherent)
        taken = starts[0] > self.threshold
        sites = CandidateSites(misfit, problem.potential, positions, taken)
        sets = [start > self.threshold for start in starts]
        if labels is not None and not problem.potential.compound:
            return self._of_solution(sites, sets, labels, calibration)
        for number, passes in self.rounds:
            found = [sites.choose(taken, passes) for taken in sets[:number]]
            order = sorted(range(len(found)), key=lambda k: found[k].value)
            sets = [found[k].taken for k in order]
            starts = [starts[k] for k in order]
        omega = factor.forward(positions[sets[0]])
        if misfit.excess(omega, misfit.scale(omega))[0] > self.significance:
            for start in starts[: self.finalists]:
                taken = self._under_windows(problem, factor, incoherent, positions, start)
                sets.append(taken)
        results = [misfit(positions[taken]) for taken in sets]
        best = int(np.argmin([result.value for result in results]))
        model = Model(
            positions[sets[best]],
            results[best].scale,
            calibration=calibration,
            labels=labels,
        )
        return results[best].value, model

    def _of_solution(
        self,
        sites: CandidateSites,
        sets: list[NDArray[np.bool_]],
        labels: Labels,
        calibration: Calibration | None,
    ) -> tuple[float, Model]:
        """Return the best set of sites and elements, and its misfit."""
        found = [SolutionChoice(taken, labels, np.inf) for taken in sets]
        for number, passes in self.rounds:
            found = [
                choose_solution(sites, one.taken, one.labels, passes) for one in found[:number]
            ]
            found.sort(key=lambda one: one.value)
        filled = sites.without_holes(found[0].taken)
        best = choose_solution(sites, filled, found[0].labels, self.rounds[-1][1], free=False)
        misfit, x = sites.labelled(best.labels).misfit, sites.positions[filled]
        model = Model(x, misfit(x).scale, calibration=calibration, labels=best.labels)
        return best.value, model

    def _under_windows(
        self,
        problem: Problem,
        factor: StructureFactor,
        incoherent: float,
        sites: NDArray[np.float64],
        start: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Return the sites whose occupancy ends above the threshold."""
        peaks = problem.data.peaks()
        distance = problem.potential.neighbour_distance
        weights = start
        for blur in self.blurs:
            window = peak_window(problem.shard, peaks, blur * distance)
            misfit = PoissonMisfit(problem.shard, factor, window, self.floor, incoherent)
            free = start < self.inside
            weights = fit_occupancies(misfit, sites, weights, free, self.iterations, 1e-4)
        return weights > self.threshold


def rough_scales(problem: Problem, atoms: NDArray[np.float64]) -> Calibration | None:
    """Return the scales of the patches by their photons, None where they are alike.

    All patches see one shape, so that what a rough object lacks is missing in all alike.

    Parameters
    ----------
    problem : Problem
    atoms : (n, 3) ndarray
        A first guess at the object [Å].
    """
    shard, patches = problem.shard, len(problem.data.patches)
    power = shard.detected(problem.factor.forward(atoms)) * shard.valid
    sums = np.array(
        [
            np.bincount(shard.patch_index, weights=values, minlength=patches)
            for values in (shard.signal, power)
        ]
    )
    photons, expected = problem.comm.allreduce(sums)
    amplitude = np.sqrt(photons / np.maximum(expected, 1e-300))
    amplitude /= amplitude[0]
    if np.ptp(amplitude) < _ALIKE * amplitude.mean():
        return problem.calibration
    nominal = problem.calibration or Calibration.nominal(patches)
    return replace(nominal, amplitude=amplitude)
