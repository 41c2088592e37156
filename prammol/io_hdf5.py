"""What all our HDF5 files share: CXI/NeXus skeleton, checked reading, JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prammol import __version__
from prammol.errors import InputError
from prammol.io_files import PathLike, replacing

CXI_VERSION = 150
LARGEST = 2_000_000_000  # values in one dataset; a damaged header may claim anything


@contextmanager
def create(path: PathLike, force: bool = False) -> Iterator[h5py.File]:
    """Write an HDF5 file atomically; yields it with the root of a CXI file.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If it can't be written.
    """
    # Nobody else knows the temporary file, so the locks that some shared file
    # systems lack aren't needed.
    with (
        replacing(path, force) as temporary,
        h5py.File(temporary, "w", locking=False) as file,
    ):
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry_1"
        file.attrs["creator"] = "prammol"
        file["creator"] = "prammol"
        file["version"] = __version__
        file["cxi_version"] = CXI_VERSION
        file["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        yield file


@contextmanager
def opened(path: PathLike, what: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; what goes wrong becomes one sentence.

    Parameters
    ----------
    path : path
        The file.
    what : str
        What it should hold, for the message.

    Raises
    ------
    InputError
        If the file is missing, isn't HDF5, is truncated or damaged.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file, expected {what}"
        raise InputError(msg)
    if not h5py.is_hdf5(path):
        msg = f"{path}: not an HDF5 file, expected {what}"
        raise InputError(msg)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        msg = f"{path}: can't be read, it is truncated or damaged ({reason})"
        raise InputError(msg) from error


def group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    """Make a group with its NeXus class and attributes."""
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    for key, value in attributes.items():
        made.attrs[key] = value
    return made


def store(
    parent: h5py.Group, name: str, values: Any, units: str | None = None, **attributes: Any
) -> h5py.Dataset:
    """Write an array or number, large ones compressed, with its units."""
    array = np.asarray(values)
    packed = array.size > 1024
    options = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if packed else {}
    made = parent.create_dataset(name, data=array, **options)
    if units is not None:
        made.attrs["units"] = units
    for key, value in attributes.items():
        made.attrs[key] = value
    return made


def store_values(parent: h5py.Group, values: Mapping[str, Any]) -> None:
    """Write values of any plain kind: numbers and text as such, the rest as JSON."""
    for key, value in values.items():
        name = str(key).replace("/", "_")
        array = np.asarray(value) if isinstance(value, list | tuple | np.ndarray) else None
        if isinstance(value, str | bool | int | float | np.generic):
            parent[name] = value
        elif array is not None and array.dtype.kind in "biuf":
            store(parent, name, array)
        else:
            parent[name] = to_json(value)
            parent[name].attrs["encoding"] = "json"


def load_values(parent: h5py.Group) -> dict[str, Any]:
    """Return what :func:`store_values` wrote."""
    out = {}
    for name, item in parent.items():
        if not isinstance(item, h5py.Dataset):
            continue
        if item.shape == ():
            value = item.asstr()[()] if item.dtype.kind == "O" else item[()].item()
            out[name] = json.loads(value) if item.attrs.get("encoding") == "json" else value
        elif item.size <= LARGEST:
            out[name] = item[...]
    return out


def to_json(value: Any) -> str:
    """Return JSON text; NumPy values become plain ones and anything else text."""

    def plain(item: Any) -> Any:
        if isinstance(item, np.ndarray | np.generic):
            return item.tolist()
        return dict(item) if isinstance(item, Mapping) else str(item)

    return json.dumps(value, default=plain)


def load_json(parent: h5py.Group, name: str) -> dict[str, Any]:
    """Return a JSON object, an empty one if it isn't there or isn't JSON."""
    text = load_text(parent, name, "{}")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def load_text(parent: h5py.Group, name: str, default: str = "") -> str:
    """Return a text dataset, or the default if there is none."""
    item = parent.get(name)
    if not isinstance(item, h5py.Dataset) or item.shape != () or item.dtype.kind not in "OS":
        return default
    return str(item.asstr()[()])


def load_array(parent: h5py.Group, name: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return a numeric dataset after checking it.

    Parameters
    ----------
    parent : h5py.Group
        Where it is.
    name : str
        Its name.
    shape : tuple
        What is expected; None stands for any length.

    Raises
    ------
    InputError
        If it is missing, isn't numbers, has another shape or is absurdly large.
    """
    where = f"{Path(parent.file.filename)}: {parent.name.rstrip('/')}/{name}"
    item = parent.get(name)
    wanted = "(" + ", ".join("n" if n is None else str(n) for n in shape) + ")"
    if not isinstance(item, h5py.Dataset):
        msg = f"{where} is missing, expected an array of shape {wanted}"
        raise InputError(msg)
    if item.shape is None or item.dtype.kind not in "biuf":
        msg = f"{where} has type {item.dtype}, expected real numbers"
        raise InputError(msg)
    fits = len(item.shape) == len(shape) and all(
        n in (None, m) for n, m in zip(shape, item.shape, strict=True)
    )
    if not fits:
        msg = f"{where} has shape {item.shape}, expected {wanted}"
        raise InputError(msg)
    if item.size > LARGEST:
        msg = f"{where} claims {item.size} values, expected at most {LARGEST}"
        raise InputError(msg)
    return np.asarray(item[...])


def load_number(parent: h5py.Group, name: str, default: float | None = None) -> float:
    """Return a number; without a default it must be there.

    Raises
    ------
    InputError
        If it is missing or isn't a number.
    """
    if name not in parent and default is not None:
        return default
    return float(load_array(parent, name, ()))
