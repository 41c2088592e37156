"""What the detector makes of the intensity: the response, a linear operator on the points.

A pixel and a rocking step integrate over a box, a point-spread function and partial coherence
blur; along the axes of a patch's grid, in units of its steps,

    I_seen(n) = integral k(n - t) I(t) dt,    K(u) = sinc(b u) exp(-2 pi^2 s^2 u^2)

with the transfer function K of a box of width b and a Gaussian of standard deviation s. The
intensity of an object of size D is a sum of waves of at most abs(u) <= U = D / period cycles per
point, so that where U < 1/2 the points themselves determine the integral: each row of a matrix,
one for each axis, is fitted by least squares to reproduce K on abs(u) <= U from all points of a
line. At an edge of the patch the row uses points of one side only; no halo is needed. Planes whose
row misses more than their photons would notice aren't used.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.response_rows import fitted_rows, transfer

Floats = NDArray[np.float64]

_WIDEST = 20.0  # derived: steps; a crystal has less than two speckles in so many
# derived: beyond 0.5 the grid doesn't hold the intensity, close to it only far from the edges
_FULLEST = 0.46  # of the period, that the object may fill
# derived: 1e10 and 1e6 photons
_LEAST_ERROR, _MOST_ERROR = 1e-5, 1e-3
_UNNOTICED = 1e-3  # derived: of the variance of a point's photons, far below the misfit's noise
_SAMPLE = 256  # derived: points of the object whose mean is good to two digits
_OTHERS = ((1, 2), (0, 2), (0, 1))  # derived: axes of a plane


@dataclass(frozen=True, eq=False)
class Response:
    """Widths of the response along the axes of each patch, in steps of its grid.

    Attributes
    ----------
    box : (patches, 3) ndarray
        Width of the box that pixel and rocking step integrate over; 0 where it is a point.
    blur : (patches, 3) ndarray
        Standard deviation of the Gaussian of point-spread function and partial coherence.
    uncertainty : float
        How much wider the Gaussians may be along each axis, in all patches alike: standard
        deviation of the half-normal prior of what adds in quadrature; 0 where they are known.

    Raises
    ------
    InputError
        If a width isn't a number from 0 to 20, or the shapes don't fit.
    """

    box: Floats
    blur: Floats
    uncertainty: float = 0.0

    def __post_init__(self) -> None:
        if self.box.shape != self.blur.shape or self.box.shape[1:] != (3,):
            msg = (
                f"the response has boxes of shape {self.box.shape} and blurs of shape "
                f"{self.blur.shape}, expected (patches, 3)"
            )
            raise InputError(msg)
        ranges = {"box": self.box, "blur": self.blur, "uncertainty": np.array(self.uncertainty)}
        for name, values in ranges.items():
            wrong = ~((values >= 0) & (values <= _WIDEST))
            if wrong.any():
                msg = (
                    f"the {name} of the response is {values[wrong][0]:g}, expected 0 to "
                    f"{_WIDEST:g} steps of the grid"
                )
                raise InputError(msg)

    @classmethod
    def of(
        cls, patches: int, box: ArrayLike = 0.0, blur: ArrayLike = 0.0, uncertainty: float = 0.0
    ) -> Response | None:
        """Return that of widths for all patches and axes, each axis, or all; None for none."""
        wide, blurred = (
            np.array(np.broadcast_to(np.asarray(w, dtype=float), (patches, 3))) for w in (box, blur)
        )
        known = not (uncertainty or wide.any() or blurred.any())
        return None if known else cls(wide, blurred, uncertainty)

    def blurred(self, more: Floats) -> Response:
        """Return that with Gaussians that are wider by some widths in quadrature, (3,)."""
        return replace(self, blur=np.minimum(np.hypot(self.blur, more), _WIDEST))

    def widths(self) -> dict[str, list[list[float]]]:
        """Return both as :meth:`of` takes them, in lists."""
        return {"box": self.box.tolist(), "blur": self.blur.tolist()}


@dataclass(frozen=True, eq=False)
class Extent:
    """Where the atoms are.

    Attributes
    ----------
    points : (n, 3) ndarray
        Points that fill the object [Å].
    margin : float
        How far outside of them atoms may be [Å].
    """

    points: Floats
    margin: float = 0.0

    def filled(self, patch: BraggPatch) -> Floats:
        """Return which part of the period of a patch's grid is filled along each axis, (3,).

        Of a bent grid where its steps are longest.
        """
        turns = patch.local_steps() / (2 * np.pi)
        beside = 2.0 * self.margin * np.linalg.norm(turns, axis=2)
        return np.asarray(
            (np.ptp(self.points @ turns.transpose(0, 2, 1), axis=1) + beside).max(axis=0)
        )


@dataclass(frozen=True)
class _Piece:
    """Planes `start` to `stop` of a patch, where its points are on this rank, and its matrices."""

    patch: int
    start: int
    stop: int
    shape: tuple[int, int, int]
    part: slice
    matrices: tuple[Floats | None, ...]


class Convolution:
    """The response on this rank's points; all ranks call it together.

    Parameters
    ----------
    response : Response
        Widths in steps of the nominal grids.
    nominal : sequence of BraggPatch
        Whole patches.
    patches : sequence of BraggPatch
        This rank's slabs of them, or of every so many-th of their points.
    index : sequence of int
        Patch each slab belongs to.
    extent : Extent
    counts : (m,) ndarray
        Photons on this rank's points, 0 where not valid: how accurate the response has to be.
    valid : (m,) bool ndarray
    comm : Communicator

    Attributes
    ----------
    reached : (m,) bool ndarray
        Points where the response is accurate.
    visibility : (patches,) ndarray
        Mean square of K over all pairs of points of the object: how much of the interference of
        one atom with the others is left, on the average over the atoms.

    Raises
    ------
    InputError
        If the points are too far apart to hold the intensity of the object.
    """

    def __init__(
        self,
        response: Response,
        nominal: Sequence[BraggPatch],
        patches: Sequence[BraggPatch],
        index: Sequence[int],
        extent: Extent,
        counts: Floats,
        valid: NDArray[np.bool_],
        comm: Communicator,
    ) -> None:
        self._comm = comm
        photons = max(comm.sum(float(counts.sum())), 1.0)
        error = float(np.clip(1.0 / np.sqrt(photons), _LEAST_ERROR, _MOST_ERROR))
        everywhere = comm.gather([(k, p.shape[0]) for k, p in zip(index, patches, strict=True)])
        planes: dict[int, list[int]] = {}
        for rank, own in enumerate(everywhere):
            for k, n in own:
                if rank == comm.rank:
                    planes.setdefault(-1 - k, []).append(sum(planes.get(k, [])))
                planes.setdefault(k, []).append(n)
        self._pieces = []
        misses, first = [], 0
        for k, patch in zip(index, patches, strict=True):
            start = planes[-1 - k][0]
            shape = (sum(planes[k]), *patch.shape[1:])
            steps = [np.linalg.norm(p.affine.step, axis=1) for p in (nominal[k], patch)]
            ratio = steps[0] / steps[1]
            filled = extent.filled(nominal[k]) / ratio  # not of the slab: alike on all ranks
            filled = np.ceil(100.0 * filled) / 100.0  # few values, for the cache
            require_sampled(filled, k)
            made = [
                fitted_rows(n, float(b), float(s), float(f), error)
                for n, b, s, f in zip(
                    shape, response.box[k] * ratio, response.blur[k] * ratio, filled, strict=True
                )
            ]
            part = slice(first, first + patch.size)
            first += patch.size
            stop = start + patch.shape[0]
            blurs = (response.box[k] > 0) | (response.blur[k] > 0)
            rows = tuple(m if b else None for (m, _), b in zip(made, blurs, strict=True))
            self._pieces.append(_Piece(k, start, stop, shape, part, rows))
            misses.append((made[0][1][start:stop], made[1][1], made[2][1]))
        self.reached = self._unnoticed(misses, len(nominal), counts, valid)
        self._widths = list(zip(nominal, response.box, response.blur, strict=True))
        self._efficiency: Floats | float = 1.0
        some = np.random.default_rng(0).integers(0, len(extent.points), _SAMPLE)
        self._object = extent.points[some]

    def followed_by(self, efficiency: Floats) -> Convolution:
        """Return the response where a factor acts after it, (m,), that is in the values before it.

        Such as the part of the gain that isn't smooth
        (:func:`prammol.diffraction.efficiency.smooth_part`).
        """
        out = copy(self)
        out._efficiency = efficiency
        return out

    @cached_property
    def visibility(self) -> Floats:
        """See above, (patches,)."""
        return np.asarray(self._visible(self._object).mean(axis=1))

    def visibility_at(self, x: Floats) -> Floats:
        """Return the visibility of atoms at x, (n, 3) [Å], over its mean, (n,)."""
        return np.asarray((self._visible(x) / self.visibility[:, None]).mean(axis=0))

    def _visible(self, x: Floats) -> Floats:
        """Return the mean square of K between positions and the object, (patches, n)."""
        out = np.empty((len(self._widths), len(x)))
        for k, (patch, box, blur) in enumerate(self._widths):
            turns = patch.affine.step.T / (2 * np.pi)
            apart = (x @ turns)[:, None] - self._object @ turns
            out[k] = np.mean(np.prod(transfer(apart, box, blur), axis=2) ** 2, axis=1)
        return out

    def _unnoticed(
        self,
        misses: Sequence[tuple[Floats, Floats, Floats]],
        patches: int,
        counts: Floats,
        valid: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Return the points, (m,), of planes that miss less than their photons would notice."""
        longest = int(self._comm.max(float(max((max(p.shape) for p in self._pieces), default=0))))
        sums = np.zeros((2, patches, 3, longest))
        places: list[list[tuple[int, int, slice]]] = []
        for piece in self._pieces:
            planes = (slice(piece.start, piece.stop), *(slice(0, n) for n in piece.shape[1:]))
            places.append([(piece.patch, axis, part) for axis, part in enumerate(planes)])
            for values, total in zip((counts, valid), sums, strict=True):
                grid = values[piece.part].reshape(-1, *piece.shape[1:])
                for axis, place in enumerate(places[-1]):
                    total[place] += grid.sum(axis=_OTHERS[axis])
        photons, points = self._comm.allreduce(sums)
        mean = np.maximum(photons / np.maximum(points, 1.0), 1.0)
        out = np.ones(len(counts), dtype=bool)
        for piece, missed, own in zip(self._pieces, misses, places, strict=True):
            grid = out[piece.part].reshape(-1, *piece.shape[1:])
            for axis, others in enumerate(_OTHERS):
                good = missed[axis] ** 2 * mean[own[axis]] <= _UNNOTICED
                grid[...] = grid & np.expand_dims(good, others)
        return out

    def apply(self, values: Floats) -> Floats:
        """Return the response to values on this rank's points, (..., m)."""
        return self._applied(values, transposed=False)

    def adjoint(self, values: Floats) -> Floats:
        """Return the transposed operator's, (..., m)."""
        return self._applied(values, transposed=True)

    def _applied(self, values: Floats, transposed: bool) -> Floats:
        factor = self._efficiency
        rows = (values * factor if transposed else values / factor).reshape(-1, values.shape[-1])
        planes = []
        for piece in self._pieces:
            _, b, c = (m.T if transposed and m is not None else m for m in piece.matrices)
            grid = rows[:, piece.part].reshape(len(rows), -1, *piece.shape[1:])
            grid = grid if c is None else grid @ c.T
            planes.append(grid if b is None else b @ grid)
        # Planes of a patch that other ranks own.
        if self._comm.size > 1:
            sent = [(p.patch, g) for p, g in zip(self._pieces, planes, strict=True)]
            everywhere = [item for own in self._comm.gather(sent) for item in own]
            planes = [
                np.concatenate([g for k, g in everywhere if k == p.patch], axis=1)
                for p in self._pieces
            ]
        out = np.empty_like(rows)
        for piece, grid in zip(self._pieces, planes, strict=True):
            a, own = piece.matrices[0], slice(piece.start, piece.stop)
            flat = grid.reshape(*grid.shape[:2], -1)
            if a is None:
                out[:, piece.part] = flat[:, own].reshape(len(rows), -1)
            else:
                turned = a.T if transposed else a
                out[:, piece.part] = (turned[own] @ flat).reshape(len(rows), -1)
        out = out / factor if transposed else out * factor
        return out.reshape(values.shape)


def detected(
    response: Response, patches: Sequence[BraggPatch], power: Floats, margin: int, extent: Extent
) -> Floats:
    """Return the response to intensities that are known beyond the edges of the patches.

    Parameters
    ----------
    response : Response
    patches : sequence of BraggPatch
    power : (m,) ndarray
        Intensity on the patches with so many more points at either end of each axis.
    margin : int
        As in :func:`widened`.
    extent : Extent

    Returns
    -------
    (size,) ndarray
        On the patches alone.

    Raises
    ------
    InputError
        If the points are too far apart to hold the intensity of the object.
    """
    out, first = [], 0
    for k, patch in enumerate(patches):
        filled = np.ceil(100.0 * extent.filled(patch)) / 100.0
        require_sampled(filled, k)
        wide = widened(patch, margin)
        grid = power[first : first + wide.size].reshape(wide.shape)
        first += wide.size
        for axis, n in enumerate(wide.shape):
            rows, _ = fitted_rows(
                n, response.box[k, axis], response.blur[k, axis], filled[axis], _LEAST_ERROR
            )
            own = rows[margin : n - margin]
            grid = np.moveaxis(np.tensordot(own, grid, (1, axis)), 0, axis)
        out.append(np.maximum(grid, 0.0).ravel())
    return np.concatenate(out)


def widened(patch: BraggPatch, margin: int) -> BraggPatch:
    """Return a patch with more points at either end of each axis.

    Raises
    ------
    InputError
        If the patch is curved.
    """
    if patch.affine is not patch:
        msg = "the response of a detector is simulated on affine grids only, this one is curved"
        raise InputError(msg)
    origin = patch.origin - margin * patch.step.sum(axis=0)
    return BraggPatch(origin, patch.step, [n + 2 * margin for n in patch.shape])


def holds_intensity(filled: Floats) -> NDArray[np.bool_]:
    """Tell along which axes a grid holds the intensity of an object that spans so much of it."""
    return filled <= _FULLEST


def require_sampled(filled: Floats, k: int) -> None:
    """Raise InputError if patch k (0 is the first) doesn't hold the intensity of an object."""
    if holds_intensity(filled).all():
        return
    axis = int(np.argmax(filled))
    msg = (
        f"patch {k + 1}: the object fills {filled[axis]:.2f} of the period of the grid along axis "
        f"{axis + 1}, expected at most {_FULLEST:g}: the points are too far apart to compute what "
        "pixel and blur make of the intensity; measure with finer steps, or leave the response out"
    )
    raise InputError(msg)
