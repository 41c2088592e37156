"""Plain arrays in files: npy, npz, and the background as users give it."""

from __future__ import annotations

import lzma
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.background import background_arrays
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.io.atomic_write import PathLike, first_line
from prammol.io.hdf5 import UNQUESTIONED

# derived: format, deflate's 1032 with a margin
PACKED = 1100  # deflate packs at most 1032 to 1
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    struct.error,
)


def read_npy(path: PathLike) -> NDArray[np.generic]:
    """Read a NumPy array.

    Raises
    ------
    InputError
        If the file is missing or damaged, claims more than it holds, or holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file, expected an array in NumPy's format (.npy)"
        raise InputError(msg)
    try:
        with path.open("rb") as file:
            require_npy(file, path.stat().st_size)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        msg = f"{path}: can't be read as npy ({first_line(error)})"
        raise InputError(msg) from error


@contextmanager
def opened_npz(path: PathLike, expected: str) -> Iterator[Mapping[str, NDArray[np.generic]]]:
    """Open NumPy's packed arrays; what goes wrong while they are read is bad input, too.

    Parameters
    ----------
    path : path
    expected : str
        What the file should hold, for the message.

    Yields
    ------
    mapping of str to ndarray

    Raises
    ------
    InputError
        If the file is missing or damaged, claims more than it holds, holds Python objects, or
        lacks an array that is asked for.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file, expected {expected}"
        raise InputError(msg)
    try:
        with zipfile.ZipFile(path) as packed:
            for member in packed.infolist():
                if member.file_size > max(UNQUESTIONED, PACKED * path.stat().st_size):
                    msg = f"{member.filename} claims {member.file_size} bytes"
                    raise ValueError(msg)
                if member.filename.endswith(".npy"):
                    with packed.open(member) as array:
                        require_npy(array, member.file_size)
        with np.load(path, allow_pickle=False) as file:
            yield file
    except InputError:
        raise
    except (*_ZIP_ERRORS, ValueError, OSError, EOFError) as error:
        msg = f"{path}: can't be read as npz ({first_line(error)}), expected {expected}"
        raise InputError(msg) from error


def require_npy(file: IO[bytes], size: int) -> None:
    """Check that an array in NumPy's format isn't larger than its file, before it is read.

    Parameters
    ----------
    file : binary file
        At its beginning.
    size : int
        Its length [bytes].

    Raises
    ------
    ValueError
        If it isn't such an array, or its header claims more than the file holds.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _header_2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header of Python 2 is read, too
            shape, _, kind = read(file)
    except (
        SyntaxError,
        TokenError,
        RecursionError,
        MemoryError,
        TypeError,
        OverflowError,
    ) as error:
        msg = f"its header isn't one: {type(error).__name__}"
        raise ValueError(msg) from error
    if kind.hasobject:  # pickled, never read
        return
    claimed = math.prod(shape) * kind.itemsize
    if min(shape, default=1) < 0 or not 0 <= claimed <= size:
        msg = f"its header claims {claimed} bytes of {kind}, the file has {size}"
        raise ValueError(msg)


def _header_2(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    # NumPy writes 1.0 unless the header is long or has names outside of Latin-1: structures,
    # which no array here is.
    return np.lib.format.read_array_header_2_0(file)


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
