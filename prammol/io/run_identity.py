"""What the result of a reconstruction depends on, as digests: is a checkpoint of this run?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from prammol.core.errors import InputError
from prammol.core.version import __version__
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support
from prammol.io.atomic_write import PathLike
from prammol.io.hdf5 import to_json
from prammol.potentials.potential import Potential
from prammol.reconstruction.earlier_state import EarlierState
from prammol.reconstruction.preset import Preset

# Identity of a run -> how a message names it.
_NAMES = {
    "version": "version of prammol",
    "counts": "diffraction",
    "support": "support",
    "potential": "potential",
    "preset": "preset",
    "settings": "settings",
    "seed": "seed",
    "initial": "initial state",
}


def identity(
    data: Diffraction,
    support: Support | None,
    potential: Potential,
    preset: Preset,
    seed: int,
    initial: EarlierState | None = None,
) -> dict[str, str]:
    """Return what the result of a reconstruction depends on, as short texts.

    The number of ranks and threads isn't part of it: it changes last bits only.

    Parameters
    ----------
    data : Diffraction
        Grids, valid points and their counts.
    support : Support or None
    potential : Potential
        Its commands and the content of its file, not the place of the file.
    preset : Preset
        With its settings as they will be used.
    seed : int
    initial : EarlierState, optional
        Another state that it starts from.
    """
    room = () if support is None else (support.origin, support.voxel, support.inside)
    before: tuple[Any, ...] = () if initial is None else (initial.positions, initial.confidence)
    if initial is not None and initial.vacant is not None:
        columns = initial.vacant.columns.values()
        before += (initial.vacant.positions, *map(np.asarray, columns))
    points: list[Any] = []
    for patch, counts, valid in zip(data.patches, data.counts, data.valid, strict=True):
        seen = np.asarray(valid, dtype=bool)
        points += [patch.q()] if isinstance(patch, CurvedPatch) else [patch.origin, patch.step]
        points += [np.where(seen, counts, 0.0), seen]
    points += [np.where(v, b, 0.0) for b, v in zip(data.background, data.valid, strict=False)]
    points += [np.where(v, g, 0.0) for g, v in zip(data.gain, data.valid, strict=False)]
    points.append(np.array([data.geometry.offset, data.geometry.rotation]))
    points.append(data.unmeasured)
    if data.response is not None:
        points += [data.response.box, data.response.blur, np.array(data.response.uncertainty)]
    commands = (
        f"{potential.element} {potential.pair_style} {potential.pair_coeff} {potential.mass!r} "
        f"{potential.structure} {potential.lattice_constant!r} {potential.checksum}"
        f"{'' if potential.crystal is None else f' {potential.crystal!r}'}"
        f"{f' {potential.others!r}' if potential.others else ''}"
    )
    return {
        "version": __version__,
        "counts": digest(*points),
        "support": digest(*room),
        "potential": digest(commands),
        "preset": preset.name,
        "settings": digest(to_json(dict(sorted(preset.settings().items())))),
        "seed": str(seed),
        "initial": digest(*before),
    }


def require_same(path: PathLike, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Check that a checkpoint is of this run.

    Raises
    ------
    InputError
        If it was made with something else; says with what.
    """
    other = [name for key, name in _NAMES.items() if found.get(key) != expected.get(key)]
    if other:
        listed = " and ".join(filter(None, [", ".join(other[:-1]), other[-1]]))
        msg = f"{path}: is the checkpoint of a run with another {listed}, it can't be continued"
        if found.get("version") != expected.get("version"):
            msg += f" (it is of prammol {found.get('version')}, this is {expected.get('version')})"
        raise InputError(msg)


def digest(*parts: Any) -> str:
    """SHA-256 of texts and arrays; shapes and types count."""
    out = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            out.update(f"text {len(part)};".encode() + part.encode())
        else:
            array = np.ascontiguousarray(part)
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            out.update(f"{array.dtype.kind}{array.dtype.itemsize} {array.shape};".encode())
            out.update(array.tobytes())
    return out.hexdigest()
