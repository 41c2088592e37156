"""Plain arrays in files: npy, and the background as users give it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction import background_arrays
from prammol.errors import InputError
from prammol.io_files import PathLike
from prammol.patches import BraggPatch


def read_npy(path: PathLike) -> NDArray[np.generic]:
    """Read a NumPy array.

    Raises
    ------
    InputError
        If the file is missing or damaged, or holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file, expected an array in NumPy's format (.npy)"
        raise InputError(msg)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        msg = f"{path}: can't be read as npy ({str(error).splitlines()[0]})"
        raise InputError(msg) from error


def read_background(
    given: Sequence[str], patches: Sequence[BraggPatch]
) -> list[NDArray[np.float64]]:
    """Return the expected background of each patch.

    Parameters
    ----------
    given : sequence of str
        Numbers of photons per point or names of ``.npy`` files with an array of the
        patch's shape: one for all patches, or one for each.
    patches : sequence of BraggPatch

    Returns
    -------
    list of ndarray
        Empty if nothing was given, or 0.

    Raises
    ------
    InputError
        If a text is neither, a file doesn't fit, or there are neither one nor as many as
        patches.
    """
    if len(given) not in (0, 1, len(patches)):
        msg = f"{len(given)} backgrounds for {len(patches)} patches, expected one or one for each"
        raise InputError(msg)
    texts = list(given) * (len(patches) if len(given) == 1 else 1)
    arrays = [_one(text, patch) for text, patch in zip(texts, patches, strict=False)]
    arrays = background_arrays(arrays, patches) if arrays else []
    return arrays if any(a.any() for a in arrays) else []


def _one(text: str, patch: BraggPatch) -> NDArray[np.float64]:
    try:
        return np.full(patch.shape, float(text))
    except ValueError:
        pass
    values = read_npy(text)
    if values.shape != patch.shape or values.dtype.kind not in "biuf":
        msg = (
            f"{text}: its background has shape {values.shape} and type {values.dtype}, "
            f"expected real numbers of shape {patch.shape}"
        )
        raise InputError(msg)
    return values.astype(float)
