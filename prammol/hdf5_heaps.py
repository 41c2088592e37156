"""The global heaps of an HDF5 file, checked before the library reads them.

Texts of variable length are kept in global heaps. The library walks from object to object by
the sizes it finds, and never comes back from one that leads to itself.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from prammol.errors import InputError

_COLLECTION = b"GCOL\x01\x00\x00\x00"  # signature, version, reserved
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, size
_START = 16
_WORD = 1 << 64


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
