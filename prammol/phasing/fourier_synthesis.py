"""Fourier synthesis: from phased patches to the sites where atoms can be.

Each phased patch p gives a wave psi_p(x) = sum_q F_p(q) exp(+i q.x). An atom sits
where the phases of all of them are 0: their Bragg vectors generate the reciprocal
lattice, so these points are the lattice, bent by whatever strain or dislocation
there is. No lattice constant and no orientation goes in. The waves' constant
phases are free; they are the unknown shift of the lattice against the shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from prammol.core.parallel import Communicator, share
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.phasing.hio_er import PhasedPatch, bulk_amplitude
from prammol.structure.separation import apart

# chosen: 600 atoms at 1e18; same atoms from 4 to 16, 11, 5, 1 iterations
_DENSITY = 8.0  # starting points per spacing cubed
# chosen: 600 atoms at 1e18; same atoms from 0.875 to 3.5
_MARGIN = 1.75  # how far around the support to start [neighbour distances]
# chosen: 600 atoms at 1e18; same atoms from 4 to 16
_STEPS = 8  # of Newton, x -= G^-1 phase
_SAME = 0.5  # derived: a half, points so close are one [shortest vectors of a cell]


class Waves:
    """The waves psi_p(x) of several phased patches, which all ranks hold.

    Parameters
    ----------
    phased : sequence of PhasedPatch
        All with the same origin.
    comm : Communicator
        Places are shared by its ranks: there are more of them than points.
    unmeasured : (k, 3) array_like
        Bragg vectors of reflections of which no patch was measured [1/Å]: plane waves as strong as
        the others are on the average.

    Attributes
    ----------
    peaks : (patches + k, 3) ndarray
        Bragg vectors [1/Å].
    centre : (3,) ndarray
        Origin of the waves [Å].
    """

    def __init__(
        self,
        phased: Sequence[PhasedPatch],
        comm: Communicator,
        unmeasured: ArrayLike = (),
    ) -> None:
        self.peaks = np.array([*(p.peak for p in phased), *np.asarray(unmeasured)])
        self.centre = phased[0].centre
        self._comm = comm
        self._count = len(phased)
        self._parts = [(StructureFactor([p.patch], 1e-5), p.field.ravel()) for p in phased]

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the waves at x, (n, 3) [Å] from the patches' origin, as (n, patches + k)."""
        first, stop = share(len(x), self._comm.rank, self._comm.size)
        mine = [part.adjoint(field, x[first:stop]) for part, field in self._parts]
        out = np.concatenate(self._comm.gather(np.stack(mine, axis=1)))
        size = np.abs(out).mean(axis=1, keepdims=True)
        return np.hstack([out, size * np.exp(1j * x @ self.peaks[self._count :].T)])


def synthesise(
    waves: Waves,
    support: Support,
    neighbour_distance: float,
    rng: np.random.Generator,
    *,
    threshold: float = 0.1,  # chosen: as phase_patches.threshold; see there
    spacing: float | None = None,
) -> NDArray[np.float64]:
    """Return the sites where the waves are in phase.

    Parameters
    ----------
    waves : Waves
        Waves of three patches with independent Bragg vectors.
    support : Support
        Starting points are drawn in it and around it.
    neighbour_distance : float
        Nearest-neighbour distance of the metal [Å].
    rng : Generator
        Draws the starting points.
    threshold : float
        Keep sites where the mean amplitude is above this fraction of the bulk's.
    spacing : float, optional
        Least distance of two sites [Å], if that isn't the neighbour distance.

    Returns
    -------
    (n, 3) ndarray
        Positions from the waves' origin [Å].
    """
    inverse = np.linalg.inv(waves.peaks).T
    reach = _MARGIN * neighbour_distance
    spacing = spacing or neighbour_distance
    x = _starts(support, reach, _DENSITY / spacing**3, rng) - waves.centre
    for _ in range(_STEPS):
        x = x - np.angle(waves(x)) @ inverse
    size = np.abs(waves(x))
    bulk = bulk_amplitude(size)
    x = merge(x[(size / bulk).mean(axis=1) > threshold], 0.25 * spacing)
    wave = waves(x)
    amplitude = (np.abs(wave) / bulk).mean(axis=1)
    arrived = np.abs(np.angle(wave)).max(axis=1) < 0.5
    return x[arrived & apart(x, 0.6 * spacing, amplitude)]


def continued(x: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points of a lattice and, behind them, those one cell further that aren't among them.

    Parameters
    ----------
    x : (n, 3) ndarray
        Points [Å].
    cell : (3, 3) ndarray
        Rows are primitive vectors [Å].
    """
    steps = np.array(list(product((0, 1, -1), repeat=3))) @ cell
    more = (steps[:, None] + x).reshape(-1, 3)
    return more[apart(more, _SAME * float(np.linalg.norm(cell, axis=1).min()))]


def _starts(
    support: Support, reach: float, density: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Random points in and around the support, at a given number per Å^3."""
    centres = support.centres()
    corner = np.abs(support.voxel).sum(axis=0) / 2 + reach
    low, high = centres.min(axis=0) - corner, centres.max(axis=0) + corner
    count = int(density * np.prod(high - low))
    points = low + rng.random((count, 3)) * (high - low)
    radius = np.linalg.norm(support.voxel, axis=1).max() / 2 + reach
    near = cKDTree(centres).query(points, distance_upper_bound=radius)[0]
    return points[np.isfinite(near)]


def merge(x: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Replace points that chain together closer than a distance by their mean."""
    if len(x) < 2:
        return x
    pairs = cKDTree(x).query_pairs(distance, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(x), len(x)))
    count, label = connected_components(links, directed=False)
    total = np.zeros((count, 3))
    np.add.at(total, label, x)
    return total / np.bincount(label, minlength=count)[:, None]
