"""The global heaps of an HDF5 file, checked before the library reads them.

Texts of variable length are kept in global heaps. The library walks from object to object by
the sizes it finds, and never comes back from one that leads to itself.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from prammol.core.errors import InputError

_COLLECTION = b"GCOL\x01\x00\x00\x00"  # signature, version, reserved
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, size
_START = 16  # derived: format, bytes before an object in a global heap of HDF5
_WORD = 1 << 64  # derived: format, 64 bits


def require_sound_heaps(path: Path) -> None:
    """Raise InputError if an object of a global heap has no length."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        at = held.find(_COLLECTION)
        while at >= 0:
            size = int.from_bytes(held[at + 8 : at + _START], "little")
            end = min(at + size, len(held))
            here = at + _START
            while here + _OBJECT.size <= end:
                index, _, _, length = _OBJECT.unpack_from(held, here)
                # as the library computes it, in 64 bits; object 0 is the free space
                step = length if index == 0 else (_OBJECT.size + -(-length // 8) * 8) % _WORD
                if step == 0:
                    msg = f"{path}: can't be read, it is damaged (a heap at byte {at})"
                    raise InputError(msg)
                here += step
            at = held.find(_COLLECTION, at + 1)


def require_held_texts(where: str, item: h5py.Dataset) -> None:
    """Raise InputError if texts of variable length claim more than the file holds.

    Parameters
    ----------
    where : str
        File and dataset, for the message.
    item : h5py.Dataset
        Texts of variable length.
    """
    if item.file.driver == "core":  # being written, in memory
        return
    path = Path(item.file.filename)
    held = path.stat().st_size
    width = 4 + item.file.id.get_create_plist().get_sizes()[0] + 4  # length, heap, object
    claimed = 0
    with path.open("rb") as file:
        for at, size in _pieces(where, item, width):
            file.seek(at)
            references = file.read(min(size, held))
            for begin in range(0, len(references), width):
                claimed += int.from_bytes(references[begin : begin + 4], "little")
    if claimed > held:
        msg = f"{where} claims texts of {claimed} bytes, the file has {held}"
        raise InputError(msg)


def _pieces(where: str, item: h5py.Dataset, width: int) -> Iterator[tuple[int, int]]:
    """Yield where in the file references are, and how many bytes of them."""
    plist, identifier = item.id.get_create_plist(), item.id
    if plist.get_layout() == h5py.h5d.CONTIGUOUS:
        if identifier.get_offset() is not None:  # else nothing was written
            yield identifier.get_offset(), item.size * width
    elif plist.get_layout() == h5py.h5d.CHUNKED and plist.get_nfilters() == 0:
        for number in range(identifier.get_num_chunks()):
            chunk = identifier.get_chunk_info(number)
            yield chunk.byte_offset, chunk.size
    else:
        msg = f"{where} has texts that are packed or in a header, expected them plain"
        raise InputError(msg)
