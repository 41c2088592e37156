"""Which of the synthesised sites hold an atom: occupancies under widening windows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction import Shard
from prammol.misfit import AmplitudeMisfit
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
        Sites with a starting occupancy of 1 whose all neighbours have this too stay 1.
    iterations : int
        L-BFGS iterations under each window.
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    blurs: tuple[float, ...] = (1.125, 0.75, 0.56, 0.4)
    floor: float = 0.05
    inside: float = 0.999
    iterations: int = 30
    epsilon: float = 1e-5

    def __call__(self, problem: Problem, state: State) -> State:
        """Return a state whose atoms are the sites with an occupancy above one half."""
        distance = problem.cluster.potential.neighbour_distance
        factor = StructureFactor(problem.shard.patches, self.epsilon, problem.factor.threads)
        sites, weights = state.positions, state.occupancies
        free = weights < self.inside
        offset = peak_distance(problem.shard, problem.data.peaks())
        for blur in self.blurs:
            window = np.exp(-0.5 * (offset * blur * distance) ** 2)
            misfit = AmplitudeMisfit(problem.shard, factor, window, self.floor)
            weights = fit_occupancies(misfit, sites, weights, free, self.iterations, 1e-4)
        atoms = sites[weights > 0.5]
        scale = AmplitudeMisfit(problem.shard, factor).scale(factor.forward(atoms))
        return replace(state, positions=atoms, occupancies=np.ones(len(atoms)), scale=scale)


def peak_distance(shard: Shard, peaks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each of this rank's points to the Bragg peak of its patch, (m,) [1/Å]."""
    if not shard.patches:
        return np.zeros(0)
    q = np.concatenate([p.q() for p in shard.patches])
    return np.linalg.norm(q - peaks[shard.patch_index], axis=1)
