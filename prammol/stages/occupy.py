"""Which of the synthesised sites hold an atom: occupancies under widening windows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prammol.misfit import AmplitudeMisfit, peak_window
from prammol.occupancies import fit_occupancies
from prammol.scattering import StructureFactor
from prammol.state import Problem, State


@dataclass(frozen=True)
class Occupy:
    """Fit the occupancies of the outer sites, coarse features of the shape first.

    The misfit is taken under a Gaussian window around each Bragg peak that widens
    step by step; a relative floor on the errors keeps the few bright points from
    ruling.

    Attributes
    ----------
    blurs : tuple of float
        Widths of the real-space Gaussians that belong to the windows, one after the
        other [neighbour distances].
    floor : float
        Relative error allowed to the model's amplitude.
    inside : float
        Sites with a starting occupancy of at least this keep it.
    iterations : int
        L-BFGS iterations under each window.
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    blurs: tuple[float, ...] = (0.75, 0.5)
    floor: float = 0.05
    inside: float = 0.999
    iterations: int = 30
    epsilon: float = 1e-5

    def __call__(self, problem: Problem, state: State) -> State:
        """Return a state whose atoms are the sites with an occupancy above one half.

        Every row of occupancies is tried as a start; the one that ends with the least
        misfit wins.
        """
        distance = problem.cluster.potential.neighbour_distance
        factor = StructureFactor(problem.shard.patches, self.epsilon, problem.factor.threads)
        sites = state.positions
        plain = AmplitudeMisfit(problem.shard, factor, floor=self.floor)
        best, atoms, scale = np.inf, sites, state.scale
        peaks = problem.data.peaks()
        windows = [peak_window(problem.shard, peaks, blur * distance) for blur in self.blurs]
        for start in np.atleast_2d(state.occupancies):
            weights = start
            free = start < self.inside
            for window in windows:
                misfit = AmplitudeMisfit(problem.shard, factor, window, self.floor)
                weights = fit_occupancies(misfit, sites, weights, free, self.iterations, 1e-4)
            whole = sites[weights > 0.5]
            result = plain(whole)
            if result.value < best:
                best, atoms, scale = result.value, whole, result.scale
        return replace(state, positions=atoms, occupancies=np.empty(0), scale=scale)
