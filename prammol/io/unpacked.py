"""Text files, packed or not, as streams of lines."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from prammol.core.errors import InputError

_PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open,
}  # fmt: skip
_KINDS = {
    b"\x89HDF": "HDF5", b"PK\x03\x04": "a zip or npz file", b"\x93NUM": "npy",
    b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip
_LARGEST = 1 << 30  # chosen: memory, ten million atoms; not varied [bytes]
_FIRST = 6  # derived: the longest of these beginnings


@contextmanager
def text_of(path: Path, expected: str) -> Iterator[IO[str]]:
    """Open a text file, unpacked if it is gzip, bzip2 or xz.

    Parameters
    ----------
    path : Path
    expected : str
        What messages say that the file should be.

    Yields
    ------
    text file

    Raises
    ------
    InputError
        If it is missing, can't be unpacked or decoded (inside of the block, too), unpacks to more
        than 1 GiB, or is of another kind.
    """
    try:
        with path.open("rb") as raw:
            data = _unpacked(path, raw)
            begin = data.read(_FIRST)
            data.seek(0)
            kind = next((kind for known, kind in _KINDS.items() if begin.startswith(known)), None)
            if kind is not None:
                msg = f"{path}: this is {kind}, expected {expected}"
                raise InputError(msg)
            with io.TextIOWrapper(data, encoding="utf-8-sig") as file:
                yield file
    except FileNotFoundError:
        msg = f"{path}: no such file, expected {expected}"
        raise InputError(msg) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error, UnicodeDecodeError) as error:
        msg = f"{path}: can't be read, expected {expected} ({str(error)[:200]})"
        raise InputError(msg) from error


def _unpacked(path: Path, raw: IO[bytes]) -> Any:
    """Return the bytes of an open file, unpacked if they are packed."""
    begin = raw.read(_FIRST)
    raw.seek(0)
    opener = next((o for known, o in _PACKED.items() if begin.startswith(known)), None)
    if opener is None:
        return raw
    with opener(raw, "rb") as packed:
        data = packed.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        msg = f"{path}: unpacks to more than {_LARGEST >> 20} MiB"
        raise InputError(msg)
    return io.BytesIO(data)
