"""Bragg patches: affine grids of points in reciprocal space.

Wavevectors are in 1/Å and include the 2 pi (q = 2 pi s). A patch keeps its step
as a full 3x3 matrix, so the raw sheared grid of a rocking scan is a patch as it
is, with no interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prammol.core.defaults import MEASUREMENT
from prammol.core.errors import DataError, InputError
from prammol.core.parallel import Communicator, share

# derived: physics, needs a wavelength of 0.0013 Å
FARTHEST = 1e4  # 1/Å, far beyond any X-rays
PAPER_LATTICE_CONSTANT = 4.05  # derived: the paper's potential (Mishin et al. 1999) [Å]
_INDEPENDENT = 0.02  # derived: vectors 1 degree out of a plane are in it
PAPER_PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


@dataclass(frozen=True, eq=False)
class BraggPatch:
    """An affine grid of scattering vectors around one Bragg peak.

    The point with index ``(i, j, k)`` lies at
    ``origin + i * step[0] + j * step[1] + k * step[2]``.

    Parameters
    ----------
    origin : (3,) array_like
        Scattering vector of the point (0, 0, 0) [1/Å, with 2 pi].
    step : (3, 3) array_like
        Rows are the steps along the three grid axes [1/Å, with 2 pi].
    shape : (3,) sequence of int
        Number of points along each axis.

    Raises
    ------
    InputError
        If a shape is wrong, a number isn't finite or absurdly large, or the steps are dependent.
    """

    origin: NDArray[np.float64]
    step: NDArray[np.float64]
    shape: tuple[int, int, int]

    def __init__(self, origin: ArrayLike, step: ArrayLike, shape: Sequence[int]) -> None:
        o = np.array(origin, dtype=float)
        s = np.array(step, dtype=float)
        n = tuple(int(v) for v in shape)
        if o.shape != (3,) or s.shape != (3, 3) or len(n) != 3:
            msg = (
                f"a Bragg patch needs origin (3,), step (3, 3) and shape (3,); "
                f"got {o.shape}, {s.shape} and ({len(n)},)"
            )
            raise InputError(msg)
        if not (np.isfinite(o).all() and np.isfinite(s).all()) or min(n) < 1:
            msg = "a Bragg patch needs finite origin and step and a shape of at least 1 point"
            raise InputError(msg)
        with np.errstate(over="ignore"):
            longest = np.abs(np.stack([o, *(s * (np.array(n) - 1)[:, None])])).max()
        if longest > FARTHEST:
            msg = (
                f"a Bragg patch reaches to {longest:.3g} 1/Å, expected at most {FARTHEST:g}; "
                "are its numbers in another unit?"
            )
            raise InputError(msg)
        if abs(np.linalg.det(s)) <= 1e-6 * np.prod(np.linalg.norm(s, axis=1)):
            msg = "the three steps of a Bragg patch lie in one plane"
            raise InputError(msg)
        o.flags.writeable = s.flags.writeable = False
        object.__setattr__(self, "origin", o)
        object.__setattr__(self, "step", s)
        object.__setattr__(self, "shape", n)

    @property
    def size(self) -> int:
        """Number of points."""
        return int(np.prod(self.shape))

    @property
    def middle(self) -> NDArray[np.float64]:
        """Scattering vector of the point with index ``shape // 2`` [1/Å]."""
        return self.origin + (np.array(self.shape) // 2) @ self.step

    @property
    def affine(self) -> BraggPatch:
        """The patch itself, or of one that isn't quite affine the grid it is nearest to."""
        return self

    def local_steps(self) -> NDArray[np.float64]:
        """Return steps of the grid here and there, (k, 3, 3) [1/Å]; of an affine one the same."""
        return self.step[None]

    def at(self, index: NDArray[np.int_]) -> NDArray[np.float64]:
        """Return the scattering vectors of points, (m, 3) [1/Å], by their indices, (m, 3)."""
        return np.asarray(self.origin + index @ self.step)

    def q(self) -> NDArray[np.float64]:
        """Return the scattering vectors of all points, (size, 3) [1/Å], C order."""
        return self.q_of(0, self.size)

    def q_of(self, first: int, stop: int) -> NDArray[np.float64]:
        """Return the scattering vectors of neighbouring points, (stop - first, 3) [1/Å]."""
        index = np.unravel_index(np.arange(first, stop), self.shape)
        return self.at(np.stack(index, axis=1))

    def component(self, axis: int) -> NDArray[np.float64]:
        """Return one component of the scattering vectors of all points, (size,) [1/Å]."""
        along = [
            np.arange(n) * step for n, step in zip(self.shape, self.step[:, axis], strict=True)
        ]
        first = (self.origin[axis] + along[0])[:, None] + along[1]
        return np.asarray(first[:, :, None] + along[2]).ravel()

    def planes(self, start: int, stop: int) -> BraggPatch:
        """Return the slab ``start <= i < stop`` along the first axis."""
        return BraggPatch(
            self.origin + start * self.step[0], self.step, (stop - start, *self.shape[1:])
        )

    def moved(self, rotation: NDArray[np.float64], offset: NDArray[np.float64]) -> BraggPatch:
        """Return the patch with every point q at rotation q + offset, (3, 3) and (3,) [1/Å]."""
        return BraggPatch(rotation @ self.origin + offset, self.step @ rotation.T, self.shape)

    def voxel(self) -> NDArray[np.float64]:
        """Return the voxel of the discrete Fourier transform of the patch.

        Returns
        -------
        (3, 3) ndarray
            Rows are the steps of the dual grid in real space [Å].
        """
        dual = 2 * np.pi * np.linalg.inv(self.step).T
        return dual / np.array(self.shape)[:, None]


@dataclass(frozen=True)
class Slab:
    """The part of a patch that one rank owns: planes ``start`` to ``stop``."""

    patch_index: int
    start: int
    stop: int


def shard(patches: Sequence[BraggPatch], comm: Communicator) -> list[Slab]:
    """Return the contiguous slabs of all patches that belong to this rank.

    The planes along the first axis of all patches are put in one row and cut
    into ``comm.size`` nearly equal pieces, so a rank may own parts of several
    patches, or none if there are more ranks than planes.
    """
    start, stop = share(sum(p.shape[0] for p in patches), comm.rank, comm.size)
    slabs = []
    first = 0
    for index, patch in enumerate(patches):
        lo = max(start - first, 0)
        hi = min(stop - first, patch.shape[0])
        if lo < hi:
            slabs.append(Slab(index, lo, hi))
        first += patch.shape[0]
    return slabs


def cubic_patch(
    hkl: Sequence[float], half_width: float, points: int, lattice_constant: float
) -> BraggPatch:
    """Return a cube around a reflection of a cubic crystal.

    Parameters
    ----------
    hkl : (3,) sequence of float
        Centre in reciprocal lattice units, a / (2 pi) q.
    half_width : float
        Half the edge [r.l.u.]; the outermost points lie on the faces.
    points : int
        Points along each edge, at least 2.
    lattice_constant : float
        Edge of the cubic cell [Å].
    """
    if points < 2:
        msg = f"a patch needs at least 2 points along an edge, got {points}"
        raise InputError(msg)
    unit = 2 * np.pi / lattice_constant
    step = unit * 2 * half_width / (points - 1)
    origin = unit * (np.array(hkl, dtype=float) - half_width)
    return BraggPatch(origin, np.eye(3) * step, (points,) * 3)


def paper_patches(
    points: int = MEASUREMENT["points"],
    lattice_constant: float = PAPER_LATTICE_CONSTANT,
    peaks: Sequence[Sequence[float]] = PAPER_PEAKS,
    half_width: float = 0.6,  # derived: the paper's cubes of 1.2 reciprocal lattice units
) -> list[BraggPatch]:
    """Return the three patches of the paper.

    Each covers 0.4 <= abs(h), abs(k), abs(l) <= 1.6 around one of (-1,1,1), (1,-1,1),
    (1,1,-1), 50 points along each edge (Meziere et al. 2024, "Diffraction
    pattern simulation").
    """
    return [cubic_patch(p, half_width, points, lattice_constant) for p in peaks]


def dimensions(vectors: ArrayLike) -> int:
    """Return how many dimensions Bragg vectors span, (p, 3) [1/Å]."""
    values = np.linalg.svd(np.atleast_2d(np.asarray(vectors, dtype=float)), compute_uv=False)
    return int((values > _INDEPENDENT * values[0]).sum())


def require_independent(centres: ArrayLike, context: str) -> None:
    """Check that the Bragg peaks span three dimensions.

    Parameters
    ----------
    centres : (p, 3) array_like
        Scattering vectors of the peaks [1/Å].
    context : str
        Name of the file or object, for the message.

    Raises
    ------
    DataError
        If fewer than three peaks are linearly independent; the message names
        the direction along which positions can't be determined.
    """
    g = np.atleast_2d(np.asarray(centres, dtype=float))
    rank, rows = dimensions(g), np.linalg.svd(g, full_matrices=True)[2]
    if rank < 3:
        free = " and ".join(
            "(" + ", ".join(f"{v:.2f}" for v in row + 0.0) + ")" for row in rows[rank:]
        )
        msg = (
            f"{context}: only {rank} of its {len(g)} Bragg peaks are linearly independent; "
            f"displacements along {free} can't be determined, three independent peaks are needed, "
            "or the orientation: tell where others are, --known-peak QX,QY,QZ"
        )
        raise DataError(msg)
