"""Pages of TIFF files of one plain sample per pixel, as they were stored.

Pillow doesn't know numbers of 64 bits and complex ones, and inverts pictures whose zero is white.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from prammol.io.arrays import PACKED
from prammol.io.hdf5 import UNQUESTIONED

# derived: format, numbers of tags
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _FILL_ORDER = 256, 257, 258, 259, 266
# derived: format
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PREDICTOR, _FORMAT = 273, 277, 278, 279, 317, 339
# derived: format
_DEFAULTS = {_BITS: 1, _COMPRESSION: 1, _FILL_ORDER: 1, _SAMPLES: 1, _PREDICTOR: 1, _FORMAT: 1}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # derived: format, types of the values of a tag
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u", 6: "c"}  # derived: format, of samples
_NONE, _DEFLATE = 1, (8, 32946)  # derived: format, ways to pack


class NotPlainError(Exception):
    """A TIFF of another kind: packed otherwise, of several samples, in tiles."""


def pages(data: bytes) -> Iterator[NDArray[np.generic]]:
    """Yield the pages of a TIFF or BigTIFF.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    NotPlainError
        If Pillow may know it better.
    ValueError
        If it is damaged or claims more than it holds.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise NotPlainError
    try:
        (version,) = struct.unpack_from(order + "H", data, 2)
        if version not in (42, 43):
            raise NotPlainError
        big = version == 43
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        seen: set[int] = set()
        total = 0
        while at and at not in seen:
            seen.add(at)
            tags, at = _tags(data, order, big, at)
            total += int(np.prod([tags[name][0] for name in (_WIDTH, _HEIGHT)], dtype=object)) * 16
            if total > max(UNQUESTIONED, PACKED * len(data)):
                msg = f"its pages claim up to {total} bytes, the file has {len(data)}"
                raise ValueError(msg)
            yield _page(data, order, tags)
    except (struct.error, KeyError, IndexError, TypeError, zlib.error) as error:
        msg = f"it is damaged: {type(error).__name__} {error}"
        raise ValueError(msg) from error


_Tags = dict[int, tuple[int, ...]]


def _tags(data: bytes, order: str, big: bool, at: int) -> tuple[_Tags, int]:
    """Return the whole numbers of a directory, and where the next one is."""
    head, entry, word = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (number,) = struct.unpack_from(order + head, data, at)
    at += struct.calcsize(order + head)
    width = struct.calcsize(order + entry) + struct.calcsize(word)
    if number * width > len(data):
        msg = f"a directory claims {number} entries"
        raise ValueError(msg)
    tags: _Tags = {name: (value,) for name, value in _DEFAULTS.items()}
    for k in range(number):
        begin = at + k * width
        name, kind, count = struct.unpack_from(order + entry, data, begin)
        letter = _INTEGERS.get(kind)
        if letter is None or count == 0:
            continue
        place = begin + struct.calcsize(order + entry)
        size = count * struct.calcsize(letter)
        if size > struct.calcsize(word):
            (place,) = struct.unpack_from(order + word, data, place)
        if size > len(data):
            msg = f"tag {name} claims {size} bytes"
            raise ValueError(msg)
        tags[name] = struct.unpack_from(f"{order}{count}{letter}", data, place)
    (following,) = struct.unpack_from(order + word, data, at + number * width)
    return tags, following


def _page(data: bytes, order: str, tags: _Tags) -> NDArray[np.generic]:
    bits, kind = tags[_BITS][0], _KINDS.get(tags[_FORMAT][0])
    packing = tags[_COMPRESSION][0]
    plain = tags[_SAMPLES] == tags[_PREDICTOR] == tags[_FILL_ORDER] == (1,)
    if not plain or kind is None or packing not in (_NONE, *_DEFLATE) or _OFFSETS not in tags:
        raise NotPlainError
    (width,), (height,) = tags[_WIDTH], tags[_HEIGHT]
    if bits != 1 and (bits % 8 or f"{kind}{bits // 8}" not in _NUMBERS):
        raise NotPlainError
    row = -(-width * bits // 8)
    each = min(tags.get(_ROWS, (height,))[0], height)
    parts, left = [], height
    for begin, held in zip(tags[_OFFSETS], tags[_COUNTS], strict=False):
        wanted = min(each, left) * row
        left -= min(each, left)
        part = data[begin : begin + held]
        if packing != _NONE:
            part = zlib.decompressobj().decompress(part, max(wanted, 1))
        parts.append(part[:wanted])
    whole = b"".join(parts)
    if len(whole) != row * height or not whole:
        msg = f"a page of {height} x {width} points has {len(whole)} of {row * height} bytes"
        raise ValueError(msg)
    if bits == 1:
        rows = np.frombuffer(whole, np.uint8).reshape(height, row)
        return np.unpackbits(rows, axis=1)[:, :width]
    return np.frombuffer(whole, f"{order}{kind}{bits // 8}").reshape(height, width)


_NUMBERS = {
    "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16",
}  # fmt: skip
