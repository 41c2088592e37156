"""Fields of all ranks' points on every rank: where there are more places than points to share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.structure_factor import StructureFactor

# derived: rounding of an origin
_SAME = 1e-6  # of a step


def on_every_rank(
    factor: StructureFactor, values: NDArray[np.floating], comm: Communicator
) -> tuple[StructureFactor, NDArray[np.complexfloating]]:
    """Return transform and values, (m,), of the points of all ranks, one after the other.

    In single precision if the transform is. Called together by all ranks.
    """
    kind = np.complex64 if factor.single else np.complex128
    found = comm.gather((factor.patches, values.astype(kind), factor.amplitude))
    patches = joined([patch for part in found for patch in part[0]])
    field = np.concatenate([part[1] for part in found])
    amplitude = None
    if factor.amplitude is not None:
        amplitude = np.concatenate([part[2] for part in found])
    return factor.on(patches, amplitude), field


def joined(patches: Sequence[BraggPatch]) -> list[BraggPatch]:
    """Return patches of which slabs that follow one another are one again."""
    out: list[BraggPatch] = []
    for patch in patches:
        if out and _follows(out[-1], patch):
            last = out.pop()
            shape = (last.shape[0] + patch.shape[0], *last.shape[1:])
            out.append(BraggPatch(last.origin, last.step, shape))
        else:
            out.append(patch)
    return out


def _follows(last: BraggPatch, patch: BraggPatch) -> bool:
    """Tell whether a patch begins where another one ends."""
    if isinstance(last, CurvedPatch) or isinstance(patch, CurvedPatch):
        return False
    if last.shape[1:] != patch.shape[1:] or not np.allclose(last.step, patch.step, rtol=_SAME):
        return False
    gap = patch.origin - last.origin - last.shape[0] * last.step[0]
    return bool(np.linalg.norm(gap) < _SAME * np.linalg.norm(last.step, axis=1).min())
