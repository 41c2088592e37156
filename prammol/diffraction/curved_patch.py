"""Patches whose points lie on no affine grid: a rocking scan over a wide range.

The points of a rocking scan lie on planes that turn about the origin of reciprocal space,
each of them bent like the Ewald sphere. Near the Bragg peak that is an affine grid; far
from it the points can be off by more than a step. They are then kept one by one. The
structure factor is computed at the points themselves; nothing that is fitted is interpolated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import BraggPatch

FloatArray = NDArray[np.float64]
# chosen: not varied
AFFINE = 0.05  # of a step: below it a patch counts as affine
_NEWTON = 6  # derived: Newton's error squares with each step, 0.5 of a step is 1e-19 after six
# chosen: not varied
_LARGEST_BEND = 0.5  # of a step: neighbouring steps of a scan differ by much less


_PLACES = 5  # chosen: along each axis, the corners among them; steps change slowly


class CurvedPatch(BraggPatch):
    """Points of a bent grid.

    Parameters
    ----------
    points : (n1, n2, n3, 3) ndarray
        Scattering vectors [1/Å, with 2 pi].
    name : str
        For messages.

    Attributes
    ----------
    origin, step, shape
        The affine grid that fits the middle third along each axis best (least squares):
        what phase retrieval uses, and what gives the voxel.
    points : (n1, n2, n3, 3) ndarray

    Raises
    ------
    InputError
        If the shape is wrong, a number isn't finite, there are fewer than 2 points along
        an axis, or the points lie in a plane.
    """

    points: FloatArray

    def __init__(self, points: FloatArray, name: str = "the grid") -> None:
        q = np.array(points, dtype=float)
        if q.ndim != 4 or q.shape[3] != 3 or min(q.shape[:3]) < 2 or not np.isfinite(q).all():
            msg = f"{name} has shape {q.shape}, expected (n1, n2, n3, 3), n > 1, finite numbers"
            raise InputError(msg)
        middle = tuple(slice(n // 3, max(n - n // 3, n // 3 + 2)) for n in q.shape[:3])
        origin, step = _fit(q[middle])
        try:
            super().__init__(origin - [s.start for s in middle] @ step, step, q.shape[:3])
        except InputError as error:
            msg = f"{name}: {error}"
            raise InputError(msg) from None
        q.flags.writeable = False
        object.__setattr__(self, "points", q)

    @property
    def affine(self) -> BraggPatch:
        """The affine grid alone."""
        return BraggPatch(self.origin, self.step, self.shape)

    @property
    def bend(self) -> float:
        """Largest distance of a point from the affine grid, in units of its shortest step."""
        off = self.points.reshape(-1, 3) - self.affine.q()
        return float(np.sqrt((off**2).sum(axis=1).max()) / np.linalg.norm(self.step, axis=1).min())

    def local_steps(self) -> FloatArray:
        """Return steps of the grid at places all over it, (k, 3, 3) [1/Å]."""
        places = [np.unique(np.linspace(0, n - 2, _PLACES).astype(int)) for n in self.shape]
        here = np.array(np.meshgrid(*places, indexing="ij")).reshape(3, -1).T
        next_ones = [self.at(here + unit) for unit in np.eye(3, dtype=int)]
        return np.stack(next_ones, axis=1) - self.at(here)[:, None]

    def at(self, index: NDArray[np.int_]) -> FloatArray:
        """Return the scattering vectors of points, (m, 3) [1/Å], by their indices, (m, 3)."""
        return self.points[tuple(index.T)]

    def q(self) -> FloatArray:
        """Return the scattering vectors of all points, (size, 3) [1/Å], C order."""
        return self.points.reshape(-1, 3)

    def q_of(self, first: int, stop: int) -> FloatArray:
        """Return the scattering vectors of neighbouring points, (stop - first, 3) [1/Å]."""
        return self.q()[first:stop]

    def component(self, axis: int) -> FloatArray:
        """Return one component of the scattering vectors of all points, (size,) [1/Å]."""
        return self.q()[:, axis]

    def planes(self, start: int, stop: int) -> BraggPatch:
        """Return the slab ``start <= i < stop`` along the first axis."""
        return _Slab(super().planes(start, stop), self.points[start:stop])

    def part(self, affine: BraggPatch, kept: tuple[slice, ...]) -> BraggPatch:
        """Return some of the points, by slices along the axes; the affine grid has them, too."""
        return _Slab(affine, self.points[kept])

    def moved(self, rotation: FloatArray, offset: FloatArray) -> BraggPatch:
        """Return the patch with every point q at rotation q + offset, (3, 3) and (3,) [1/Å]."""
        return _Slab(super().moved(rotation, offset), self.points @ rotation.T + offset)

    def regridded(
        self, values: FloatArray, valid: NDArray[np.bool_]
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Interpolate values at the points to the affine grid: good for a start, not for a fit.

        Parameters
        ----------
        values : (n1, n2, n3) ndarray
            Values, at least 0, such as counts.
        valid : (n1, n2, n3) bool ndarray
            Which of them are known.

        Returns
        -------
        values : (n1, n2, n3) ndarray
            By cubic splines through the roots of the values.
        valid : (n1, n2, n3) bool ndarray
            False outside of the points and beside one that isn't known.
        """
        target = self.affine.q()
        index = np.indices(self.shape, dtype=float).reshape(3, -1)
        parts = [np.ascontiguousarray(self.points[..., a]) for a in range(3)]
        # Newton's method with the steps in the middle: the points are nearly a grid.
        inverse = np.linalg.inv(self.step)
        top = np.array(self.shape)[:, None] - 1.0
        for _ in range(_NEWTON):
            inside = np.clip(index, 0, top)
            here = np.stack([map_coordinates(p, inside, order=1) for p in parts], axis=1)
            index = inside + ((target - here) @ inverse).T
        known = ((index > -0.01) & (index < top + 0.01)).all(axis=0)
        roots = np.sqrt(np.where(valid, np.maximum(values, 0.0), 0.0))
        out = map_coordinates(roots, index, order=3, mode="nearest")
        known &= map_coordinates(valid.astype(float), index, order=1, mode="nearest") > 0.999
        out = np.where(known, np.maximum(out, 0.0) ** 2, 0.0)
        return out.reshape(self.shape), known.reshape(self.shape)


class _Slab(CurvedPatch):
    """Some points of a curved patch, with the affine grid of the whole."""

    def __init__(self, affine: BraggPatch, points: FloatArray) -> None:
        BraggPatch.__init__(self, affine.origin, affine.step, affine.shape)
        object.__setattr__(self, "points", points)


def patch_of_points(
    points: FloatArray, name: str = "the grid", affine: float = AFFINE, curved: bool = True
) -> BraggPatch:
    """Return an affine patch if given points are one, else a curved patch.

    Parameters
    ----------
    points : (n1, n2, n3, 3) ndarray
        Scattering vectors [1/Å, with 2 pi].
    name : str
        For messages.
    affine : float
        A patch is affine if no point is farther from its affine grid than this [steps].
    curved : bool
        Whether a curved patch may be returned.

    Raises
    ------
    InputError
        See :class:`CurvedPatch`.
    DataError
        If the points aren't in the order of a grid, or the patch would be curved and that
        wasn't allowed; the message has the distance.
    """
    patch = CurvedPatch(points, name)
    whole = BraggPatch(*_fit(patch.points), patch.shape)
    unit = np.linalg.norm(whole.step, axis=1).min()
    off = np.linalg.norm(whole.q() - patch.q(), axis=1).max() / unit
    if off <= affine:
        return whole
    rough = max(float(np.abs(np.diff(patch.points, n=2, axis=a)).max(initial=0)) for a in range(3))
    if rough > _LARGEST_BEND * unit:
        msg = f"{name} isn't a grid: next to each other, steps differ by {rough / unit:.3g} of one"
        raise DataError(msg)
    if not curved:
        msg = f"{name} is off an affine grid by {off:.3g} steps, expected at most {affine:g}"
        raise DataError(msg)
    return patch


def _fit(q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return origin and step of the affine grid nearest to points, by least squares."""
    step = np.empty((3, 3))
    for axis, n in enumerate(q.shape[:3]):
        # Centred indices of a whole box are orthogonal: each axis by itself.
        index = np.arange(n) - (n - 1) / 2
        step[axis] = index @ q.mean(axis=tuple(a for a in range(3) if a != axis))
        step[axis] /= index @ index
    return q.mean(axis=(0, 1, 2)) - (np.array(q.shape[:3]) - 1) / 2 @ step, step
