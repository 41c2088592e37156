"""Fewer points for coarse questions: every second along each axis of a patch.

The structure factor of a crystal that fills a part f of the period of a grid (2 pi over its
step) is known everywhere from points 1/f steps apart. Patches are sampled more finely, to phase
them and for the photons. As long as photons abound, the points between tell nothing new about
the shape; how exact the positions become is a matter of all photons.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch, shard
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction, Shard
from prammol.diffraction.response import Extent, holds_intensity
from prammol.phasing.hio_er import MeasuredPatch
from prammol.reconstruction.problem import Problem, responding

# chosen: 600 atoms at 1e18; same atoms from 0.4 to 1.6
_FILLED = 0.8  # part of the period of the coarser grid that the support may fill
# derived: sites are sought up to 1.75 either side, same atoms from 2 to 8 (600 atoms at 1e18)
_AROUND = 4.0  # that must stay empty besides, sites are sought there [neighbour distances]
# chosen: vacancy crystal, 1e18 to 1e20; same atoms from 500 to 2000 (600 atoms at 1e18)
_ABOUND = 1000.0  # photons for each atom in the points that are left
# By every third point a ball of 152 atoms came out with 12 and 20 wrong sites, by every second 9.
_MOST = 2  # chosen: one ball of 152 atoms; 12 and 20 wrong sites by 3, 9 by 2
Steps = tuple[int, int, int]
_MIDDLE: Steps = (0, 0, 0)


def coarser(problem: Problem, rng: np.random.Generator | None = None) -> Problem:
    """Return the problem on as few points as tell the whole shape.

    Itself if its patches have no points to spare, or few photons. Counts of the whole patches
    (`Problem.data`) stay as they are, unless a response of the detector needs more points: then
    it is taken out of them first.

    Parameters
    ----------
    problem : Problem
    rng : Generator, optional
        In the same state on all ranks, to draw which of the coarser grids; that with the point
        in the middle of each patch if not given.
    """
    steps = spare(problem)
    if problem.data.response is not None:
        without = spare(replace(problem, data=replace(problem.data, response=None)))
        if without != steps:
            problem, steps = problem.sharpened, without
    if steps is None:
        return problem
    offset = _MIDDLE if rng is None else _three(rng.integers(_MOST, size=3))
    part = _thinned_shard(problem, steps, offset)
    factor = problem.factor.on(part.patches, part.amplitude)
    return replace(problem, shard=part, factor=factor)


def places_in(whole: Shard, part: Shard) -> NDArray[np.intp]:
    """Return where in a rank's points those of a coarser grid are, (k,)."""
    return np.searchsorted(whole.global_index, part.global_index)


def thinned_grid(data: Diffraction, k: int, steps: list[Steps] | None) -> MeasuredPatch:
    """Return patch k (0 is the first) with no points to spare.

    On an affine grid, for phase retrieval, as
    :meth:`prammol.diffraction.dataset.Diffraction.gridded`; `steps` are those of :func:`spare`.
    """
    patch, signal, valid = data.gridded(k)
    left, part = thinned(patch, steps[k]) if steps else (None, ())
    peak = data.peaks()[k]
    if left is None:
        return MeasuredPatch(patch, peak, signal, valid)
    return MeasuredPatch(left, peak, signal[part], valid[part])


def spare(problem: Problem) -> list[Steps] | None:
    """Return of how many points along each axis of each patch one suffices.

    None if that is all of them, or if the points left would have fewer than a thousand photons
    for each atom the support has room for.
    """
    data, x = problem.declared, problem.support.centres()
    distance = problem.cluster.potential.neighbour_distance
    extent = None if data.response is None else problem.extent
    steps = [_steps(patch, x, distance, extent) for patch in data.patches]
    if all(step == (1, 1, 1) for step in steps):
        return None
    photons = sum(
        float(data.signal(k)[data.valid[k]].sum()) / np.prod(step) for k, step in enumerate(steps)
    )
    room = problem.support.volume / problem.cluster.potential.atomic_volume
    return steps if photons >= _ABOUND * room else None


def _steps(
    patch: BraggPatch, x: NDArray[np.float64], distance: float, extent: Extent | None
) -> Steps:
    """Return of how many points one suffices for an object that fills some positions [Å].

    Or for the intensity of one of an extent, which a response of the detector is computed from.
    """
    filled = _MOST * Extent(x).filled(patch)
    with_sites = _MOST * Extent(x, 0.5 * _AROUND * distance).filled(patch)
    enough = (filled <= _FILLED) & (with_sites <= 1.0)
    if extent is not None:
        enough &= holds_intensity(_MOST * extent.filled(patch))
    return _three(np.where(enough, _MOST, 1))


def _three(numbers: NDArray[np.int_]) -> Steps:
    one, two, three = map(int, numbers)
    return one, two, three


def thinned(
    patch: BraggPatch,
    steps: Steps,
    first_plane: int = 0,
    planes: int | None = None,
    offset: Steps = _MIDDLE,
) -> tuple[BraggPatch | None, tuple[slice, ...]]:
    """Return a patch of every so many-th point of some planes, and which of theirs these are.

    Parameters
    ----------
    patch : BraggPatch
    steps : (int, int, int)
        Distance of the points along each axis.
    first_plane, planes : int, optional
        A slab of the patch; the whole of it if not given.
    offset : (int, int, int)
        How far from the middle of the patch a point is kept; that in the middle if not given.

    Returns
    -------
    patch : BraggPatch or None
        None if no point is left.
    part : (3,) tuple of slice
        To be used on arrays of the slab.
    """
    slab = patch.planes(first_plane, first_plane + (planes or patch.shape[0]))
    kept = np.array(patch.shape) // 2 + offset - [first_plane, 0, 0]
    first = kept % steps
    part = tuple(slice(int(f), None, s) for f, s in zip(first, steps, strict=True))
    shape = [len(range(n)[p]) for n, p in zip(slab.shape, part, strict=True)]
    if min(shape) < 1:
        return None, part
    if steps == (1, 1, 1):
        return slab, part
    origin = slab.origin + first @ slab.step
    left = BraggPatch(origin, slab.step * np.array(steps)[:, None], shape)
    return slab.part(left, part) if isinstance(slab, CurvedPatch) else left, part


def _thinned_shard(problem: Problem, steps: list[Steps], offset: Steps) -> Shard:
    """Return a rank's points that are left; a point keeps its number."""
    data, whole, moved = problem.data, problem.shard, problem.calibration
    patches, points = [], [np.empty(0, dtype=int)]
    start = 0
    for slab in shard(data.patches, whole.comm):
        patch, planes = data.patches[slab.patch_index], slab.stop - slab.start
        left, part = thinned(patch, steps[slab.patch_index], slab.start, planes, offset)
        numbers = np.arange(planes * patch.size // patch.shape[0])
        if left is not None:
            patches.append(left if moved is None else moved.patch(left, slab.patch_index))
            points.append(start + numbers.reshape(planes, *patch.shape[1:])[part].ravel())
        start += len(numbers)
    kept = np.concatenate(points)
    fewer = replace(
        whole,
        patches=patches,
        patch_index=whole.patch_index[kept],
        global_index=whole.global_index[kept],
        counts=whole.counts[kept],
        valid=whole.valid[kept],
        background=None if whole.background is None else whole.background[kept],
        amplitude=None if whole.amplitude is None else whole.amplitude[kept],
        trust=None if whole.trust is None else whole.trust[kept],
        beside=None if whole.beside is None else whole.beside[kept],
    )
    return responding(fewer, problem.declared, problem.extent)
