"""The mean structure factor of a trajectory on spheres: what a warm crystal scatters.

Mean positions aren't all of the truth of a warm crystal: an atom that hops has one where it
never is, and the phases of mean positions aren't those of the mean scattering (paper Eq. 12).
Here the latter are kept, on the shells that tell a resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prammol.evaluation.resolution import (
    Resolution,
    fibonacci_hemisphere,
    first_failure,
    phase_error_of_shells,
    structure_factor,
)

FloatArray = NDArray[np.float64]

# chosen: as of the resolution; not varied
_RATIO = 1.02  # of neighbouring shells
# chosen: half of the 1 Å that is asked of warm crystals; not varied
FINEST = 0.5  # pi / q of the last shell [Å]
_DIRECTIONS = 512  # chosen: as of the resolution; not varied
# chosen: memory, speed only; not varied
_TOGETHER = 50  # snapshots that go through one transform


@dataclass(frozen=True, eq=False)
class MeanScattering:
    """Mean of Omega over a trajectory.

    Attributes
    ----------
    q : (m,) ndarray
        Shells, ascending [1/Å, with 2 pi].
    directions : (k, 3) ndarray
        Unit vectors.
    centre : (3,) ndarray
        Origin of the positions [Å].
    values : (m, k) complex ndarray
        <Omega> on each shell in each direction.
    """

    q: FloatArray
    directions: FloatArray
    centre: FloatArray
    values: NDArray[np.complexfloating]

    def resolution(self, x: FloatArray, occupancies: FloatArray | None = None) -> Resolution:
        """Return pi / q_c of sites against the mean scattering.

        Parameters
        ----------
        x : (n, 3) ndarray
            Sites in the frame of the trajectory [Å].
        occupancies : (n,) ndarray, optional
            Part of the time each is occupied; 1 if not given.

        Returns
        -------
        Resolution
            A bound if all shells are right.
        """
        points = points_of(self.q, self.directions)
        found = structure_factor(x - self.centre, points, occupancies)
        error = phase_error_of_shells(found, self.values.ravel(), len(self.q))
        return first_failure(self.q, error)


@dataclass
class ScatteringAverage:
    """Collects snapshots and averages what they scatter.

    Attributes
    ----------
    reference : (n, 3) ndarray
        The crystal at rest [Å].
    """

    reference: FloatArray
    count: int = 0
    _waiting: list[FloatArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._centre = self.reference.mean(axis=0)
        extent = 2 * float(np.linalg.norm(self.reference - self._centre, axis=1).max()) + 1.0
        steps = int(np.log(extent / FINEST) / np.log(_RATIO)) + 1
        self._q = np.asarray(np.pi / extent * _RATIO ** np.arange(steps), dtype=float)
        self._directions = fibonacci_hemisphere(_DIRECTIONS)
        self._points = points_of(self._q, self._directions)
        self._sum = np.zeros(len(self._points), dtype=complex)

    def add(self, x: FloatArray) -> None:
        """Take in a snapshot, (n, 3) [Å]."""
        self._waiting.append(x - self._centre)
        self.count += 1
        if len(self._waiting) == _TOGETHER:
            self._scatter()

    def mean(self) -> MeanScattering:
        """Return the mean over all snapshots."""
        self._scatter()
        values = np.asarray((self._sum / self.count).reshape(len(self._q), -1), dtype=complex)
        return MeanScattering(self._q, self._directions, self._centre, values)

    def _scatter(self) -> None:
        if self._waiting:
            self._sum += structure_factor(np.concatenate(self._waiting), self._points)
            self._waiting.clear()


def points_of(q: FloatArray, directions: FloatArray) -> FloatArray:
    """Return the points of all shells, (m k, 3) [1/Å]."""
    return np.asarray((q[:, None, None] * directions).reshape(-1, 3), dtype=float)
