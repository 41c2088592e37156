"""The waves of single atoms, as products along the axes of the patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.curved_patch import CurvedPatch


class PlaneWaves:
    """exp(-i q.x) of one atom on some points: three tables of one dimension, multiplied.

    Parameters
    ----------
    patches : sequence of BraggPatch
        The grids (in an MPI run: this rank's slabs).
    where : (m,) int ndarray, optional
        Which of their points, in ascending order; all if not given.
    """

    def __init__(
        self, patches: Sequence[BraggPatch], where: NDArray[np.intp] | None = None
    ) -> None:
        self._patches = list(patches)
        self._where: list[NDArray[np.intp]] | None = None
        if where is not None:
            ends = np.cumsum([0, *(p.size for p in self._patches)])
            cuts = np.searchsorted(where, ends)
            self._where = [
                where[a:b] - end for a, b, end in zip(cuts[:-1], cuts[1:], ends, strict=False)
            ]
            self._axes = [
                np.unravel_index(w, p.shape)
                for w, p in zip(self._where, self._patches, strict=True)
            ]

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Return the wave of an atom at x, (3,) [Å], as (m,)."""
        parts = [np.empty(0, dtype=np.complex64)]
        for number, patch in enumerate(self._patches):
            if isinstance(patch, CurvedPatch):
                q = patch.q() if self._where is None else patch.q()[self._where[number]]
                parts.append(np.exp(-1j * (q @ x)).astype(np.complex64))
                continue
            a, b, c = (
                np.exp(-1j * (step @ x) * np.arange(count)).astype(np.complex64)
                for step, count in zip(patch.step, patch.shape, strict=True)
            )
            a = a * np.complex64(np.exp(-1j * (patch.origin @ x)))
            if self._where is None:
                parts.append(((a[:, None] * b)[:, :, None] * c).ravel())
            else:
                i, j, k = self._axes[number]
                parts.append(a[i] * b[j] * c[k])
        return np.concatenate(parts)
