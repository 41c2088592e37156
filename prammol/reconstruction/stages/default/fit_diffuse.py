"""Predict the thermal diffuse scattering of the object, where the counts insist on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.diffuse_fit import fitted_diffuse
from prammol.reconstruction.setting_kinds import Checked, Positive, SmallerPart
from prammol.reconstruction.state import State
from prammol.reconstruction.verdict import judge

_ELSEWHERE = 0.5  # derived: halfway to a neighbour


@dataclass(frozen=True)
class FitDiffuse(Checked):
    """Predict the diffuse scattering of the object's vibrations from the potential.

    Its photons, a mean square displacement of all atoms and the weights of the counts that follow
    from the error of the prediction (:mod:`prammol.reconstruction.refinement.diffuse_fit`) are
    part of the model then, and declared to all stages. Nothing is done while the iterations lower
    the misfit, atoms at rest explain the counts, what independent atoms would scatter diffusely
    explains hardly any of the rest, the rest varies as wrong atoms would have it, or the crystal
    has several elements.

    Attributes
    ----------
    diffuse : bool
        Whether it is done.
    changed : float
        Modes and waves are computed anew when more than this part of the atoms came, went or moved
        to another site; only their temperatures are fitted when fewer did, and at the end.
    significance : float
        As in :class:`~prammol.reconstruction.stages.default.relax_and_align.RelaxAndAlign`.
    """

    diffuse: bool = True
    changed: SmallerPart = 0.01  # derived: far below the error of the prediction
    significance: Positive = 5.0  # derived: five standard deviations

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the diffuse scattering of its atoms."""
        model, had = state.model, state.model.diffuse
        x = model.positions
        if not self.diffuse or problem.factor.scatterers is not None:
            return state
        # Wrong atoms imitate it: only where putting them right doesn't help.
        stuck = state.status.slow or not state.status.selected
        if had is None and (state.verdict.explained or not stuck):
            return state
        pulled = bool(np.isfinite(model.stiffness))  # by restrained_refinement
        if had is not None and not (state.status.selected or pulled):
            return state
        most = self.changed * len(x)
        distance = problem.potential.neighbour_distance
        same = had is not None and _changes(had.positions, x, distance) <= most
        found = fitted_diffuse(problem, model, had if same else None)
        if found is None and had is None:
            return state
        calibration = model.calibration
        if not same and calibration is not None and calibration.background:
            # It stood for diffuse scattering; what else there is is fitted anew.
            calibration = replace(calibration, background=(), terms={})
            calibration = None if calibration.is_nominal else calibration
        model = replace(model, diffuse=found, calibration=calibration)
        problem = problem.with_diffuse(found).calibrated(calibration)
        omega = model.structure_factor(problem.factor)
        model, verdict = judge(problem, model, omega, self.significance)
        status = state.status if same or pulled else replace(state.status, selected=True)
        return replace(state, model=model, verdict=verdict, status=status)


def _changes(old: NDArray[np.float64], new: NDArray[np.float64], distance: float) -> int:
    """Return how many atoms of two sets aren't where one of the other is."""
    reach = _ELSEWHERE * distance
    apart = [cKDTree(a).query(b)[0] > reach for a, b in ((old, new), (new, old))]
    return int(sum(far.sum() for far in apart))
