"""The points that were not used to fit positions: their verdict on two objects, and samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.structure_factor import squared
from prammol.likelihood.poisson import expected_counts, poisson_log_likelihood
from prammol.reconstruction.problem import Problem


class HeldOutPoints:
    """Points that decide which atoms exist (paper, "Cross validation"), C held.

    Parameters
    ----------
    problem : Problem
    points : (m,) bool ndarray
        This rank's points that count.
    scale : float
        C.
    """

    def __init__(self, problem: Problem, points: NDArray[np.bool_], scale: float) -> None:
        self.problem, self.points, self.scale = problem, points, scale
        self._shard, self._comm = problem.shard, problem.comm
        self.number = self._comm.sum(float(points.sum()))

    @property
    def photons_per_atom(self) -> float:
        """What one atom alone scatters into them."""
        own = np.sum(self.points * self.problem.factor.of_one_atom)
        return self.scale**2 * self._comm.sum(float(own))

    def gain(self, before: NDArray[np.complex128], after: NDArray[np.complex128]) -> float:
        """Return by how much their log-likelihood (Eq. 6) is larger with another object.

        Parameters
        ----------
        before, after : (m,) complex ndarray
            Structure factors.
        """
        counts = self._shard.counts[self.points]
        background = self._shard.background_at(self.points)
        old, new = (
            poisson_log_likelihood(counts, omega[self.points], self.scale, self._comm, background)
            for omega in (before, after)
        )
        return new - old

    def sample(
        self, omega: NDArray[np.complex128], part: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the weights of a part of the points, (m,): sums over it are those over all.

        A point is drawn with a probability in proportion to by how much one atom more or less
        changes its share of the likelihood.

        Parameters
        ----------
        omega : (m,) complex ndarray
            Structure factor of the object.
        part : float
            How many, on average at most.
        rng : Generator
            In the same state on all ranks.
        """
        background = self._shard.background_at(slice(None))
        expected = expected_counts(omega, self.scale, background)
        power, own = squared(omega), self.problem.factor.of_one_atom
        # |Omega + e|^2 - |Omega|^2 is 1 + 2 |Omega| cos: its size times the derivative of l, and
        # for the second order a constant.
        matters = self.scale**2 * (
            own + 2.0 * np.sqrt(power * own) * np.abs(self._shard.counts / expected - 1.0)
        )
        matters[~self.points] = 0.0
        mean = self._comm.sum(float(matters.sum())) / max(self.number, 1.0)
        chance = np.minimum(1.0, part * matters / max(mean, 1e-300))
        # The same for any number of ranks.
        draws = rng.random(self._shard.total_points)[self._shard.global_index]
        return np.where(draws < chance, 1.0 / np.maximum(chance, 1e-300), 0.0)
