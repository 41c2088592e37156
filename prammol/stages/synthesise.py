"""Start of the default preset: phase each patch, then synthesise the sites."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from prammol.phasing import PhasedPatch, phase_patch
from prammol.state import Problem, State
from prammol.synthesis import synthesise


@dataclass(frozen=True)
class Synthesise:
    """Phase the patches by HIO/ER and find the sites where their waves are in phase.

    Lattice constant, orientation, defects and number of atoms come from the data
    alone; the potential only gives the unit of length.

    Attributes
    ----------
    blur : float
        Width of the real-space Gaussian that belongs to the window around each Bragg
        peak [neighbour distances].
    iterations : int
        Iterations of HIO and ER on each patch.
    threshold : float
        Sites with less than this fraction of the bulk's amplitude are dropped.
    """

    blur: float = 0.75
    iterations: int = 400
    threshold: float = 0.1

    def __call__(self, problem: Problem, state: State) -> State:
        """Return a state with all sites and their occupancies, estimated by the amplitude."""
        distance = problem.cluster.potential.neighbour_distance
        sites, amplitude = synthesise(
            self._phase(problem, 1.0 / (self.blur * distance)),
            problem.support,
            distance,
            problem.rng("synthesise", state.iteration),
            problem.comm,
            threshold=self.threshold,
        )
        # A site on a flat surface has half the amplitude of the bulk.
        weights = np.clip(2.0 * (amplitude - 0.25), 0.0, 1.0)
        return replace(state, positions=sites, occupancies=weights)

    def _phase(self, problem: Problem, width: float) -> list[PhasedPatch]:
        """Phase three patches, each on one rank, and hand them to all."""
        data, comm = problem.data, problem.comm
        peaks = data.peaks()
        chosen = independent_patches(peaks, [float(c.max()) for c in data.counts])
        mine = {}
        for order, k in enumerate(chosen):
            if order % comm.size == comm.rank:
                mine[k] = phase_patch(
                    data.patches[k],
                    data.counts[k],
                    data.valid[k],
                    problem.support,
                    peaks[k],
                    width,
                    problem.rng(f"phase patch {k}", 0),
                    self.iterations,
                )
        found: dict[int, PhasedPatch] = {}
        for part in comm.gather(mine):
            found.update(part)
        return [found[k] for k in chosen]


def independent_patches(peaks: NDArray[np.float64], height: list[float]) -> list[int]:
    """Choose the three patches that fix positions best.

    The triple with the largest determinant of unit Bragg vectors; among equals the
    brightest.
    """
    unit = peaks / np.linalg.norm(peaks, axis=1, keepdims=True)

    def merit(triple: Iterable[int]) -> tuple[float, float]:
        triple = list(triple)
        volume = abs(float(np.linalg.det(unit[triple])))
        return round(volume, 3), min(height[k] for k in triple)

    return list(max(combinations(range(len(peaks)), 3), key=merit))
