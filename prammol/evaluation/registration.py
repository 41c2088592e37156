"""Registration and matching of a reconstruction with a known crystal.

Intensities don't change when the object is translated or inverted, so a
reconstruction is compared with a truth only after both freedoms are fixed. The
shape of the crystal decides which lattice translation is right: candidates are
the highest peaks of the correlation of the two sets of atoms, all of them are
refined, and the one that brings most atoms together is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import ducc0
import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial import cKDTree

from prammol.core.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int_]

# The correlation is searched up to a quarter of the crystal's extent either
# way from where the two centres of mass coincide: more than the centre moves
# when a third of the atoms is missing on one side.
_BOX = 1.5  # derived: one extent and a quarter either way
_LARGEST_GRID = 384  # chosen: memory, 0.45 GB; not varied
# chosen: not varied
_BLUR = 0.8  # [voxels]
_CANDIDATES = 32  # chosen: not varied
_FINALISTS = 3  # chosen: not varied


@dataclass(frozen=True, eq=False)
class Registration:
    """How a reconstruction is laid over the truth.

    Attributes
    ----------
    translation : (3,) ndarray
        Added after the inversion [Å].
    inverted : bool
        Whether x is replaced by -x first.
    partner : (n,) int ndarray
        For each atom found, the number of its true atom, or -1 if it has none.
    """

    translation: FloatArray
    inverted: bool
    partner: IntArray

    def apply(self, positions: FloatArray) -> FloatArray:
        """Return positions, (..., 3) [Å], in the frame of the truth."""
        return (-positions if self.inverted else positions) + self.translation


def neighbour_distance(positions: FloatArray) -> float:
    """Return the median distance to the nearest neighbour [Å].

    Raises
    ------
    InputError
        With fewer than two atoms.
    """
    if len(positions) < 2:
        msg = f"a nearest-neighbour distance needs at least 2 atoms, got {len(positions)}"
        raise InputError(msg)
    distance, _ = cKDTree(positions).query(positions, k=2)
    return float(np.median(distance[:, 1]))


def match(found: FloatArray, truth: FloatArray, tolerance: float) -> IntArray:
    """Pair atoms one to one, nearest first.

    Parameters
    ----------
    found : (n, 3) ndarray
        Registered positions [Å].
    truth : (m, 3) ndarray
        True positions [Å].
    tolerance : float
        Largest distance of a pair [Å].

    Returns
    -------
    (n,) int ndarray
        The partner of each found atom, or -1.
    """
    partner = np.full(len(found), -1)
    free_found, free_truth = np.arange(len(found)), np.arange(len(truth))
    # Mutual nearest neighbours among those still free are what a greedy pairing
    # in order of distance would take.
    while len(free_found) and len(free_truth):
        f, t = found[free_found], truth[free_truth]
        distance, to_truth = cKDTree(t).query(f, distance_upper_bound=tolerance)
        _, to_found = cKDTree(f).query(t, distance_upper_bound=tolerance)
        near = np.flatnonzero(np.isfinite(distance))
        near = near[to_found[to_truth[near]] == near]
        if not len(near):
            break
        partner[free_found[near]] = free_truth[to_truth[near]]
        free_found = np.delete(free_found, near)
        free_truth = np.delete(free_truth, to_truth[near])
    return partner


def register(found: FloatArray, truth: FloatArray, neighbours: float | None = None) -> Registration:
    """Find the translation and inversion that lay a reconstruction over the truth.

    Neither the lattice nor the number of atoms is assumed, and rotations aren't
    searched (the diffraction fixes the orientation). Of all candidates, the one
    with the largest sum over pairs of 1 - (distance / tolerance)^2 is taken, so
    the number of pairs decides and their distances break ties.

    Parameters
    ----------
    found : (n, 3) ndarray
        Reconstructed positions [Å].
    truth : (m, 3) ndarray
        True positions [Å].
    neighbours : float, optional
        Nearest-neighbour distance [Å], the median of the truth's if not given.
        Atoms pair within half of it.

    Returns
    -------
    Registration

    Raises
    ------
    InputError
        If the truth has fewer than two atoms and no distance is given, or an
        array isn't (n, 3) finite numbers.
    """
    found, truth = _checked(found, "found"), _checked(truth, "truth")
    if neighbours is None:
        neighbours = neighbour_distance(truth)
    if not neighbours > 0:
        msg = f"the nearest-neighbour distance must be positive, got {neighbours}"
        raise InputError(msg)
    if not len(found):
        return Registration(np.zeros(3), False, np.empty(0, dtype=int))
    tolerance = neighbours / 2
    tree = cKDTree(truth)
    trials = []
    for inverted, shift in _candidates(found, truth, neighbours):
        x = -found if inverted else found
        t = _refine(x, truth, tree, shift, tolerance)
        trials.append((_score(x + t, tree, tolerance), not inverted, tuple(t)))
    trials.sort(reverse=True)
    best: tuple[float, Registration] | None = None
    for _, upright, start in trials[:_FINALISTS]:
        x = found if upright else -found
        t, partner = _settle(x, truth, np.array(start), tolerance)
        pairs = partner >= 0
        distance = np.linalg.norm(x[pairs] + t - truth[partner[pairs]], axis=1)
        score = float((1 - (distance / tolerance) ** 2).sum())
        if best is None or score > best[0] + 1e-9 * len(found):
            best = score, Registration(t, not upright, partner)
    assert best is not None
    return best[1]


def _checked(x: FloatArray, name: str) -> FloatArray:
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or x.shape[1] != 3 or not np.isfinite(x).all():
        msg = f"positions of {name} must be finite numbers of shape (n, 3), got shape {x.shape}"
        raise InputError(msg)
    return x


def _candidates(
    found: FloatArray, truth: FloatArray, neighbours: float
) -> list[tuple[bool, FloatArray]]:
    """Return the likeliest inversions and translations [Å]."""
    centre_found, centre_truth = found.mean(axis=0), truth.mean(axis=0)
    box = _BOX * np.ptp(truth, axis=0).max() + 4 * neighbours
    voxel = max(neighbours / 4, box / _LARGEST_GRID)
    n = fft.next_fast_len(int(np.ceil(box / voxel)), real=True)
    a = _transform(found - centre_found, voxel, n)
    b = _transform(truth - centre_truth, voxel, n)
    # Binned atoms would beat with the voxels and make the wrong peak the highest;
    # exact coefficients with a blur make every peak a Gaussian.
    k = 2 * np.pi * np.fft.fftfreq(n)
    damp = np.exp(-((_BLUR * k) ** 2) / 2).astype(np.float32)
    b *= damp[:, None, None] * damp[None, :, None] * damp[None, None, : n // 2 + 1]
    heights, out = [], []
    for inverted in (False, True):
        height, shift = _peaks(fft.irfftn((a if inverted else a.conj()) * b, s=(n,) * 3))
        shift = voxel * shift + centre_truth + (centre_found if inverted else -centre_found)
        heights += list(height)
        out += [(inverted, s) for s in shift]
    order = np.argsort(-np.array(heights), kind="stable")[:_CANDIDATES]
    return [out[i] for i in order]


def _transform(x: FloatArray, voxel: float, n: int) -> NDArray[np.complex64]:
    """Return half the spectrum of the density of atoms in a periodic box."""
    spectrum = ducc0.nufft.nu2u(
        points=np.ones(len(x), dtype=np.complex64),
        coord=x.astype(np.float32),
        out=np.empty((n,) * 3, dtype=np.complex64),
        forward=True,
        epsilon=1e-4,
        nthreads=1,
        periodicity=n * voxel,
        fft_order=True,
    )
    return np.asarray(spectrum[..., : n // 2 + 1])


def _peaks(correlation: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Return heights, (k,), and places, (k, 3) [voxels], of the highest peaks.

    Interpolated as Gaussians: the places of a crystal's peaks aren't multiples
    of the voxel, and on the grid the wrong one could look higher.
    """
    n = correlation.shape[0]
    flat = correlation.ravel()
    many = min(1000 * _CANDIDATES, flat.size)
    top = np.sort(np.argpartition(flat, flat.size - many)[-many:])
    place = np.stack(np.unravel_index(top, correlation.shape), axis=1)
    floor = 1e-3 * flat.max()  # logarithms need positive numbers
    here = np.log(np.maximum(flat[top], floor))
    height, offset = here.astype(float), np.zeros((many, 3))
    summit = np.ones(many, dtype=bool)
    for axis, unit in enumerate(np.eye(3, dtype=int)):
        below, above = (
            np.log(np.maximum(correlation[tuple(((place + s * unit) % n).T)], floor))
            for s in (-1, 1)
        )
        summit &= (here >= below) & (here >= above)
        bend = np.maximum(2 * here - below - above, 1e-6)
        offset[:, axis] = np.clip((above - below) / (2 * bend), -0.5, 0.5)
        height += bend * offset[:, axis] ** 2 / 2
    shift = (place + n // 2) % n - n // 2 + offset
    order = np.argsort(-height[summit], kind="stable")[:_CANDIDATES]
    return height[summit][order], shift[summit][order]


def _centre(difference: FloatArray) -> FloatArray:
    """Return the mean of (k, 3) differences without those that stand out."""
    middle = np.median(difference, axis=0)
    away = np.linalg.norm(difference - middle, axis=1)
    # Four times the median length is 6 sigma of a normal distribution.
    keep = away <= 4 * np.median(away) + 1e-9
    return np.asarray(difference[keep].mean(axis=0))


def _refine(
    x: FloatArray, truth: FloatArray, tree: cKDTree, shift: FloatArray, reach: float
) -> FloatArray:
    """Return the translation after one step towards the nearest true atoms."""
    distance, index = tree.query(x + shift, distance_upper_bound=reach)
    near = np.isfinite(distance)
    if not near.any():
        return shift
    return shift + _centre(truth[index[near]] - x[near] - shift)


def _score(x: FloatArray, tree: cKDTree, reach: float) -> float:
    distance, _ = tree.query(x, distance_upper_bound=reach)
    near = distance[np.isfinite(distance)]
    return float((1 - (near / reach) ** 2).sum())


def _settle(
    x: FloatArray, truth: FloatArray, t: FloatArray, tolerance: float
) -> tuple[FloatArray, IntArray]:
    """Match and centre until the pairs stay the same."""
    partner = match(x + t, truth, tolerance)
    for _ in range(50):
        pairs = partner >= 0
        if not pairs.any():
            break
        t = t + _centre(truth[partner[pairs]] - x[pairs] - t)
        previous, partner = partner, match(x + t, truth, tolerance)
        if np.array_equal(previous, partner):
            break
    return t, partner
