"""The support: a low-resolution picture that says where the crystal can be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from prammol.core.defaults import SUPPORT
from prammol.core.errors import InputError
from prammol.structure.atoms import Atoms

MOST_VOXELS = 100_000_000  # chosen: memory, 0.1 GB as bytes; not varied


@dataclass(frozen=True, eq=False)
class Support:
    """Voxels on an affine grid, True where there may be atoms.

    Parameters
    ----------
    origin : (3,) array_like
        Centre of the voxel (0, 0, 0) [Å].
    voxel : (3, 3) array_like
        Rows are the edges of a voxel [Å].
    inside : (n1, n2, n3) bool ndarray
        The support.

    Raises
    ------
    InputError
        If shapes are wrong or no voxel is inside.
    """

    origin: NDArray[np.float64]
    voxel: NDArray[np.float64]
    inside: NDArray[np.bool_]

    def __init__(self, origin: ArrayLike, voxel: ArrayLike, inside: ArrayLike) -> None:
        o, v = np.array(origin, dtype=float), np.array(voxel, dtype=float)
        s = np.array(inside, dtype=bool)
        if o.shape != (3,) or v.shape != (3, 3) or s.ndim != 3:
            msg = (
                f"a support needs origin (3,), voxel (3, 3) and a 3-D array; "
                f"got {o.shape}, {v.shape} and {s.shape}"
            )
            raise InputError(msg)
        if not s.any():
            msg = "the support is empty, expected at least one voxel inside"
            raise InputError(msg)
        object.__setattr__(self, "origin", o)
        object.__setattr__(self, "voxel", v)
        object.__setattr__(self, "inside", s)

    @property
    def volume(self) -> float:
        """Volume inside [Å^3]."""
        return float(self.inside.sum() * abs(np.linalg.det(self.voxel)))

    def contains(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for each position, (n, 3) [Å], whether its voxel is inside."""
        index = np.rint((x - self.origin) @ np.linalg.inv(self.voxel)).astype(int)
        ok = ((index >= 0) & (index < self.inside.shape)).all(axis=1)
        out = np.zeros(len(x), dtype=bool)
        out[ok] = self.inside[tuple(index[ok].T)]
        return out

    def centres(self) -> NDArray[np.float64]:
        """Return the centres of the voxels inside, (m, 3) [Å]."""
        return self.origin + np.argwhere(self.inside) @ self.voxel

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """Mean of the centres of the voxels inside, (3,) [Å]; asked for in each iteration."""
        return np.asarray(self.centres().mean(axis=0))


def support_from_truth(atoms: Atoms, resolution: float = SUPPORT["resolution"]) -> Support:
    """Coarse-grain a known crystal: voxels that hold an atom are inside.

    Parameters
    ----------
    atoms : Atoms
        The truth.
    resolution : float
        Edge of the cubic voxels [Å]; the paper uses 5.

    Returns
    -------
    Support

    Raises
    ------
    InputError
        If the box around the atoms has more than 1e8 such voxels.
    """
    if not resolution > 0:
        msg = f"the resolution of a support must be positive, got {resolution}"
        raise InputError(msg)
    x = atoms.positions
    cells = np.floor(x.max(axis=0) / resolution) - np.floor(x.min(axis=0) / resolution) + 1
    if not float(np.prod(cells)) <= MOST_VOXELS:
        msg = (
            f"the atoms spread over {np.prod(cells):.1e} voxels of {resolution:g} Å, "
            f"expected at most {MOST_VOXELS:.0e}; does an atom lie far away?"
        )
        raise InputError(msg)
    low = np.floor(x.min(axis=0) / resolution).astype(int)
    index = np.floor(x / resolution).astype(int) - low
    inside = np.zeros(index.max(axis=0) + 1, dtype=bool)
    inside[tuple(index.T)] = True
    return Support((low + 0.5) * resolution, np.eye(3) * resolution, inside)


def support_above(
    amplitude: NDArray[np.float64], voxel: ArrayLike, level: float, context: str = "the object"
) -> Support:
    """Return the largest connected piece above a level, its holes filled, its centre at 0.

    Parameters
    ----------
    amplitude : (n1, n2, n3) ndarray
        Object in real space.
    voxel : (3, 3) array_like
        Rows are the edges of a voxel [Å].
    level : float
        Voxels above it are inside.
    context : str
        For messages.

    Raises
    ------
    InputError
        If nothing is above the level.
    """
    label, pieces = ndimage.label(amplitude > level)
    if pieces == 0:
        msg = f"{context}: no voxel is above the threshold, the support would be empty"
        raise InputError(msg)
    sizes = np.bincount(label.ravel(), minlength=pieces + 1)[1:]
    inside = ndimage.binary_fill_holes(label == 1 + int(sizes.argmax()))
    index = np.argwhere(inside)
    low, high = index.min(axis=0), index.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return Support((low - index.mean(axis=0)) @ np.asarray(voxel, float), voxel, inside[box])
