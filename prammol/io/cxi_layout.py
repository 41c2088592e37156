"""What diffraction and raw scans have in common in CXI files: entries, masks, geometry."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.io.atomic_write import naming
from prammol.io.hdf5 import find, group, load_array, load_number, names_in, store

_ENTRY = re.compile(r"entry_[0-9]{1,9}")
INVALID = 0x1
# Bits of a CXI mask that mean the pixel's value can't be used: invalid,
# saturated, hot, dead, shadowed, to be ignored, bad, out of resolution, missing,
# noisy. The others (peak mask, corrected, has signal) say nothing against it.
UNUSABLE = 0x7DF  # derived: format, CXI


def make_entry(file: h5py.File, number: int, title: str) -> h5py.Group:
    """Make the entry of a Bragg patch."""
    entry = group(file, f"entry_{number}", "NXentry", default="data_1")
    entry["title"] = title
    entry["definition"] = "CXI"
    return entry


def entries_with(file: h5py.File, name: str) -> list[h5py.Group]:
    """Return the entries in which there is a group of this name, by number."""
    names = [n for n in names_in(file) if _ENTRY.fullmatch(n)]
    names.sort(key=lambda n: int(n[6:]))
    found = [find(file, n) for n in names]
    groups = [e for e in found if isinstance(e, h5py.Group)]
    return [e for e in groups if isinstance(find(e, name), h5py.Group)]


def usable(parent: h5py.Group, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where the mask of a group says nothing against a value; of an array that has one."""
    if find(parent, "mask") is None:
        return np.ones(shape, dtype=bool)
    flat = len(getattr(find(parent, "mask"), "shape", None) or ()) == len(shape) - 1
    mask = load_array(parent, "mask", shape[1:] if flat else shape)  # flat: the same in each frame
    if mask.dtype.kind == "f":
        msg = f"{parent.file.filename}: {parent.name}/mask has type {mask.dtype}, expected integers"
        raise InputError(msg)
    return np.array(np.broadcast_to((mask.astype(np.int64) & UNUSABLE) == 0, shape))


def store_geometry(process: h5py.Group, geometry: GeometryUncertainty) -> None:
    """Write how well the scattering vectors are known."""
    made = group(process, "geometry", "NXcollection")
    store(made, "offset_uncertainty", geometry.offset, "1/angstrom")
    store(made, "rotation_uncertainty", geometry.rotation, "radian")


def store_unmeasured(process: h5py.Group, peaks: NDArray[np.float64]) -> None:
    """Write the Bragg vectors of reflections that are known but weren't measured, if any."""
    if len(peaks):
        store(process, "known_peaks", peaks, "1/angstrom")


def load_unmeasured(process: h5py.Group) -> NDArray[np.float64]:
    """Return the Bragg vectors of reflections that are known but weren't measured, (k, 3) [1/Å]."""
    if find(process, "known_peaks") is None:
        return np.empty((0, 3))
    return load_array(process, "known_peaks", (None, 3)).astype(float)


def load_geometry(process: h5py.Group) -> GeometryUncertainty:
    """Return how well the scattering vectors are known, the default if the file doesn't say."""
    if not isinstance(find(process, "geometry"), h5py.Group):
        return GeometryUncertainty()
    offset, rotation = (
        load_number(process, f"geometry/{name}_uncertainty") for name in ("offset", "rotation")
    )
    with naming(Path(process.file.filename)):
        return GeometryUncertainty(offset, rotation)
