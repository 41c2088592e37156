"""A support from an object that another program has phased, in the frame of the data.

Only the shape matters: a translation, the inversion and the phase of the object change
nothing. What must be right are the axes of its array: their directions, their handedness
and the length of a step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support, support_above
from prammol.io.atomic_write import PathLike
from prammol.io.phased_objects import SMALLEST, RealSpaceObject, read_object
from prammol.phasing.hio_er import bulk_amplitude

FloatArray = NDArray[np.float64]
CXI_AXES = ("z", "y", "x")
# chosen: as of phase retrieval, on the vacancy and the bulk crystal; spread not recorded
_THRESHOLD = 0.1  # as of phase retrieval


def support_from_file(
    path: PathLike,
    data: Diffraction | None = None,
    patch: int | None = None,
    voxel_size: ArrayLike | None = None,
    axes: tuple[str, ...] = CXI_AXES,
    orientation: ArrayLike | None = None,
    threshold: float | None = None,
    dilate: float = 0.0,
) -> Support:
    """Read an object in real space and put its shape into the frame of the data.

    Parameters
    ----------
    path : path
        See :func:`prammol.io.phased_objects.read_object`.
    data : Diffraction, optional
        Needed with `patch`.
    patch : int, optional
        The object was phased from the counts of this patch, 1 is the first, and still lies on
        their grid, as PyNX and cohere write it. The patch then says everything.
    voxel_size : float, (3,) or (3, 3) array_like, optional
        Edges of a voxel [Å] along the axes of the array; with 9 numbers, rows are the edges
        of an oblique voxel in Cartesian coordinates and `axes` isn't used. If not given, the
        file has to tell.
    axes : (3,) tuple of str
        Cartesian direction of each axis of the array, such as ``("z", "y", "x")``, the CXI
        convention, or ``("-x", "z", "y")``. x, y, z are right-handed.
    orientation : (3, 3) array_like, optional
        Rotation from that Cartesian frame into the one of the data: x_data = R x.
    threshold : float, optional
        Voxels above this fraction of the bulk's amplitude are inside. If not given, the
        support in the file is taken, or 0.1 if there is none.
    dilate : float
        Add what is within this distance [Å].

    Returns
    -------
    Support
        Its centre of mass at 0.

    Raises
    ------
    InputError
        If the file can't be used, doesn't tell its voxels, or an argument makes no sense.
    """
    found = read_object(path)
    if patch is not None:
        if data is None or not 1 <= patch <= len(data.patches):
            count = 0 if data is None else len(data.patches)
            msg = f"patch {patch} was asked for, but there are {count} patches"
            raise InputError(msg)
        if voxel_size is not None or orientation is not None or axes != CXI_AXES:
            msg = "the patch fixes voxels, axes and orientation, they can't be given as well"
            raise InputError(msg)
        voxel = fourier_voxel(data.patches[patch - 1], found.phased_shape)
    else:
        if voxel_size is None:
            voxel_size = found.voxel_size
        if voxel_size is None:
            msg = (
                f"{path}: doesn't tell its voxels; name the patch it was phased from (--patch), "
                f"or give the edges of a voxel (--voxel-size)"
            )
            raise InputError(msg)
        voxel = edges(voxel_size, axes, orientation)
    return shape_of(found, voxel, threshold, dilate, str(path))


def fourier_voxel(patch: BraggPatch, shape: tuple[int, ...]) -> FloatArray:
    """Return the voxel of an object phased on a patch's steps with transforms of a shape [Å]."""
    dual = 2 * np.pi * np.linalg.inv(patch.step).T
    return np.asarray(dual / np.array(shape)[:, None])


def edges(
    voxel_size: ArrayLike, axes: tuple[str, ...] = CXI_AXES, orientation: ArrayLike | None = None
) -> FloatArray:
    """Return the edges of a voxel in the frame of the data, as rows (3, 3) [Å].

    Parameters as in :func:`support_from_file`.
    """
    size = np.asarray(voxel_size, dtype=float)
    if size.size not in (1, 3, 9) or not np.isfinite(size).all():
        msg = f"the voxel size has {size.size} numbers, expected 1, 3 or 9 finite ones [Å]"
        raise InputError(msg)
    if np.abs(size).max() < SMALLEST:
        msg = f"the voxel size is {size.ravel()} Å; is it in metres?"
        raise InputError(msg)
    out = size.reshape(3, 3) if size.size == 9 else np.diag(np.broadcast_to(size, 3))
    if size.size < 9:
        if (size <= 0).any():
            msg = f"the voxel size is {size.ravel()} Å, expected positive numbers"
            raise InputError(msg)
        out = out @ _directions(axes)
    if abs(np.linalg.det(out)) <= 1e-6 * np.prod(np.linalg.norm(out, axis=1)):
        msg = "the edges of the voxel lie in one plane"
        raise InputError(msg)
    if orientation is None:
        return out
    turn = np.asarray(orientation, dtype=float)
    turn = turn.reshape(3, 3) if turn.size == 9 else np.zeros((3, 3))
    if not np.allclose(turn @ turn.T, np.eye(3), rtol=0, atol=1e-3):
        msg = "the orientation isn't a rotation matrix, expected three orthogonal unit rows"
        raise InputError(msg)
    if np.linalg.det(turn) < 0:
        msg = "the orientation is a reflection, it would mirror the shape; expected a rotation"
        raise InputError(msg)
    return np.asarray(out @ turn.T)


def shape_of(
    found: RealSpaceObject,
    voxel: FloatArray,
    threshold: float | None = None,
    dilate: float = 0.0,
    context: str = "the object",
) -> Support:
    """Return the support of an object on a grid with given edges of a voxel, (3, 3) [Å]."""
    if threshold is not None and not 0 < threshold < 1:
        msg = f"the threshold is {threshold}, expected a number between 0 and 1"
        raise InputError(msg)
    if not dilate >= 0:
        msg = f"the distance to dilate by is {dilate} Å, expected at least 0"
        raise InputError(msg)
    if threshold is None and found.inside is not None:
        values, level = found.inside.astype(float), 0.5
    else:
        bulk = bulk_amplitude(found.amplitude.reshape(-1, 1))[0]
        values, level = found.amplitude, (threshold or _THRESHOLD) * bulk
    support = support_above(unwrapped(values, level), voxel, level, context)
    return grown(support, dilate) if dilate else support


def unwrapped(values: FloatArray, level: float) -> FloatArray:
    """Roll an array so that what is above a level doesn't lie across its border.

    Along each axis the longest run of empty planes, going around the border, is brought
    there. Nothing moves if there is none.
    """
    above = values > level
    for axis in range(3):
        empty = np.asarray(~above.any(axis=tuple(a for a in range(3) if a != axis)))
        if empty.all() or not empty.any():
            continue
        n = len(empty)
        best, start, run = 0, 0, 0
        for i, free in enumerate(np.concatenate([empty, empty])):
            run = run + 1 if free else 0
            if best < run <= n:
                best, start = run, i - run + 1
        values = np.roll(values, -(start + (best + 1) // 2), axis=axis)
        above = values > level
    return values


def grown(support: Support, distance: float) -> Support:
    """Return a support with every voxel whose centre is within a distance of it [Å]."""
    reach = np.ceil(distance * np.linalg.norm(np.linalg.inv(support.voxel), axis=0)).astype(int)
    index = np.indices(2 * reach + 1).reshape(3, -1).T - reach
    near = np.linalg.norm(index @ support.voxel, axis=1) <= distance
    ball = near.reshape(2 * reach + 1)
    inside = ndimage.binary_dilation(np.pad(support.inside, [(r, r) for r in reach]), ball)
    return Support(support.origin - reach @ support.voxel, support.voxel, inside)


def _directions(axes: tuple[str, ...]) -> FloatArray:
    """Return unit vectors, as rows, of names such as ("z", "-y", "x")."""
    names = [a.strip().lower().lstrip("+-") for a in axes]
    if sorted(names) != ["x", "y", "z"]:
        msg = f"the axes are {','.join(axes)}, expected x, y and z in some order, such as z,y,x"
        raise InputError(msg)
    signs = [-1.0 if a.strip().startswith("-") else 1.0 for a in axes]
    return np.array(signs)[:, None] * np.eye(3)[["xyz".index(n) for n in names]]
