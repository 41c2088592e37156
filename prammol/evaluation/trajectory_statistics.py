"""What a trajectory says of the state of the crystal: mean positions, motion, neighbour shells."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


@dataclass
class Motion:
    """Statistics over snapshots from which rigid motion was removed.

    Attributes
    ----------
    reference : (n, 3) ndarray
        The crystal at rest [Å].
    neighbour_distance : float
        Its nearest-neighbour distance [Å].
    inside : float
        Shells are counted around this part of the atoms, those nearest to the centre.
    bin_width : float
        Of the histogram of distances [Å].
    """

    reference: NDArray[np.float64]
    neighbour_distance: float
    inside: float = 0.25
    bin_width: float = 0.05
    count: int = 0
    _sum: NDArray[np.float64] = field(init=False)
    _square: NDArray[np.float64] = field(init=False)
    _pairs: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        x = self.reference
        self._sum = np.zeros_like(x, dtype=float)
        self._square = np.zeros(len(x))
        arm = np.linalg.norm(x - x.mean(axis=0), axis=1)
        self._inner = np.argsort(arm, kind="stable")[: max(1, round(self.inside * len(x)))]
        self._edges = np.arange(0.0, 2.2 * self.neighbour_distance, self.bin_width)
        self._pairs = np.zeros(len(self._edges))

    def add(self, x: NDArray[np.float64]) -> None:
        """Take in a snapshot, (n, 3) [Å]."""
        away = x - self.reference
        self._sum += away
        self._square += np.sum(away**2, axis=1)
        self._pairs += cKDTree(x[self._inner]).count_neighbors(cKDTree(x), self._edges)
        self.count += 1

    @property
    def mean_positions(self) -> NDArray[np.float64]:
        """Mean positions, (n, 3) [Å]."""
        return self.reference + self._sum / self.count

    @property
    def displacements(self) -> NDArray[np.float64]:
        """Mean square displacement of each atom from its mean along one axis, (n,) [Å^2]."""
        mean = self._sum / self.count
        return np.asarray((self._square / self.count - np.sum(mean**2, axis=1)) / 3.0)

    def shells(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return distances, the middle of each bin [Å], and the radial distribution there.

        Neighbours per Å^3 of shell, over those at the density of the reference's inside.
        """
        middle = 0.5 * (self._edges[1:] + self._edges[:-1])
        number = np.diff(self._pairs) / (self.count * len(self._inner))
        volume = 4.0 / 3.0 * np.pi * np.diff(self._edges**3)
        # fcc and bcc at rest; 2 % off for bcc
        density = np.sqrt(2.0) / self.neighbour_distance**3
        return middle, number / (volume * density)

    def order(self) -> float:
        """Return how filled the gap between the first two shells of fcc is: 0 a crystal.

        The mean of the radial distribution between 1.16 and 1.26 neighbour distances; a
        liquid metal has 0.6 to 0.9 there.
        """
        r, g = self.shells()
        gap = (r > 1.16 * self.neighbour_distance) & (r < 1.26 * self.neighbour_distance)
        return float(g[gap].mean())

    def moved(self) -> NDArray[np.bool_]:
        """Tell which atoms have a mean half a neighbour distance from where they were, or a
        root mean square displacement of a quarter of it: they hop or flow, (n,)."""
        far = np.linalg.norm(self._sum / self.count, axis=1) > 0.5 * self.neighbour_distance
        return np.asarray(far | hops(self.displacements, self.neighbour_distance))


def hops(displacements: NDArray[np.float64], neighbour_distance: float) -> NDArray[np.bool_]:
    """Tell which atoms move by a quarter of the neighbours' distance, root mean square.

    Parameters
    ----------
    displacements : (n,) ndarray
        Mean square displacement along one axis [Å^2].
    neighbour_distance : float
        Nearest-neighbour distance [Å].

    Returns
    -------
    (n,) bool ndarray
        A mean of their positions isn't a place where they are.
    """
    return np.asarray(np.sqrt(3.0 * displacements) > 0.25 * neighbour_distance)
