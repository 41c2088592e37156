"""What all our HDF5 files share: CXI/NeXus skeleton, checked reading, JSON values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.core.version import __version__
from prammol.io._hardening import require_held_texts, require_sound_heaps
from prammol.io.atomic_write import PathLike, first_line, replacing

CXI_VERSION = 150  # derived: format, CXI 1.50
_OF_HDF5 = re.compile(r"[Uu]nable to|[Cc]an't|NumPy equivalent|string encoding")
# chosen: memory, 16 GB of doubles; not varied
LARGEST = 2_000_000_000  # values in one dataset; a damaged header may claim anything
# A dataset may be larger than what the file holds of it, since gzip packs up to 1032 to 1 and
# what was never written is a fill value; beyond this many bytes no more than that.
UNQUESTIONED = 1 << 26  # chosen: memory, 64 MiB; not varied
_PACKED = 1100  # derived: format, deflate's 1032 with a margin
# derived: format, registered by The HDF Group
_FILTERS = {
    32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2",
}  # fmt: skip
_MOST_LINKS = 16  # derived: format, HDF5's own limit for soft links


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
    # In memory first: when a disk is full while HDF5 closes a file, the library can neither
    # close it nor forget it, and brings the process down at its end.
    with (
        replacing(path, force) as temporary,
        h5py.File(temporary, "w", driver="core", backing_store=False) as file,
    ):
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry_1"
        file.attrs["creator"] = "prammol"
        file["creator"] = "prammol"
        file["version"] = __version__
        file["cxi_version"] = CXI_VERSION
        file["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        yield file
        file.flush()
        temporary.write_bytes(file.id.get_file_image())


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
        require_sound_heaps(path)
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        # h5py gives what the library says of a damaged file any of these types.
        if isinstance(error, LookupError | ValueError | TypeError) and not _OF_HDF5.search(
            str(error)
        ):
            raise
        reason = first_line(error)
        if "already open" in reason:
            msg = f"{path}: can't be read, another program has it open for writing"
            raise InputError(msg) from error
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


def names_in(parent: h5py.Group) -> list[str]:
    """Return the names in a group; h5py gives those that aren't UTF-8 as bytes, left out here."""
    return [name for name in parent if isinstance(name, str)]


def find(parent: h5py.Group, name: str, links: int = _MOST_LINKS) -> Any:
    """Return what a path leads to inside the file, None if there is nothing.

    Parameters
    ----------
    parent : h5py.Group
        Where the path begins.
    name : str
        Path, its parts separated by ``/``; soft links are followed.
    links : int
        Most soft links in a row.

    Raises
    ------
    InputError
        If a link leads to another file, or in a circle, or a dataset's values are in another
        file or of a type that NumPy doesn't know.
    """
    where = f"{Path(parent.file.filename)}: {parent.name.rstrip('/')}/{name}"
    here: Any = parent.file["/"] if name.startswith("/") else parent
    for part in filter(None, name.split("/")):
        if not isinstance(here, h5py.Group):
            return None
        try:
            link = here.get(part, getlink=True)
        except (KeyError, ValueError, RuntimeError):  # no such name, or an unreadable one
            return None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            msg = f"{where} is in another file ({link.filename}), expected it in this one"
            raise InputError(msg)
        if isinstance(link, h5py.SoftLink):
            if links == 0:
                msg = f"{where} is a link in a circle"
                raise InputError(msg)
            here = find(here, link.path, links - 1)
        else:
            found = here[part]
            here = found if isinstance(found, h5py.Group | h5py.Dataset) else None
    if isinstance(here, h5py.Dataset):
        _check_dataset(where, here)
    return here


def _check_dataset(where: str, item: h5py.Dataset) -> None:
    """Check, before anything is read, what reading it would take."""
    try:
        each = item.dtype.itemsize
    except (TypeError, ValueError) as error:
        msg = f"{where} has a type that can't be read ({error})"
        raise InputError(msg) from error
    if item.external or item.is_virtual:
        msg = f"{where} has its values in another file, expected them in this one"
        raise InputError(msg)
    _require_filters(where, item)
    size = item.size or 0
    if size > LARGEST:
        msg = f"{where} claims {size} values, expected at most {LARGEST}"
        raise InputError(msg)
    chunk = int(np.prod(item.chunks, dtype=object)) if item.chunks else 0
    most = max(size, chunk) * each
    held = item.id.get_storage_size()
    if most > max(UNQUESTIONED, _PACKED * held):
        msg = f"{where} claims {most} bytes in arrays or chunks, but the file holds {held} of it"
        raise InputError(msg)


def _require_filters(where: str, item: h5py.Dataset) -> None:
    """Raise InputError if values are packed in a way that this HDF5 library can't undo."""
    packing = item.id.get_create_plist()
    for k in range(packing.get_nfilters()):
        code, _, _, name = packing.get_filter(k)
        if h5py.h5z.filter_avail(code):
            continue
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401  (makes its filters known to the library)
        if not h5py.h5z.filter_avail(code):
            called = _FILTERS.get(code) or name.decode("ascii", "replace").partition(";")[0]
            msg = (
                f"{where} is packed by filter {code} ({called[:40]!r}), which this HDF5 library "
                "doesn't have; pip install hdf5plugin"
            )
            raise InputError(msg)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If it isn't JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        msg = "JSON nested too deeply"
        raise ValueError(msg) from None


def load_values(parent: h5py.Group) -> dict[str, Any]:
    """Return what :func:`store_values` wrote; what it can't have written is left out."""
    out: dict[str, Any] = {}
    for name in names_in(parent):
        item = find(parent, name)
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            continue
        if item.shape == () and h5py.check_string_dtype(item.dtype) is not None:
            text = load_text(parent, name)
            try:
                out[name] = parse_json(text) if "encoding" in item.attrs else text
            except ValueError:
                continue
        elif item.dtype.kind in "biuf" and item.dtype.shape == ():
            value = item[...]
            out[name] = value.item() if value.shape == () else value
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
        value = parse_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def load_text(parent: h5py.Group, name: str, default: str = "") -> str:
    """Return a text dataset, or the default if there is none."""
    item = find(parent, name)
    if not isinstance(item, h5py.Dataset) or item.shape != ():
        return default
    kind = h5py.check_string_dtype(item.dtype)
    if kind is None:
        return default
    if kind.length is None:
        require_held_texts(f"{Path(parent.file.filename)}: {item.name}", item)
    try:
        return str(item.asstr()[()])
    except UnicodeDecodeError as error:
        msg = f"{Path(parent.file.filename)}: {item.name} isn't text ({error.reason})"
        raise InputError(msg) from error


def fixed_text(parent: h5py.Group, name: str) -> str:
    """Return an attribute that is a text of fixed length, an empty one if it isn't.

    One of variable length, of older files, isn't read: nothing tells beforehand whether the
    library would take gigabytes for it.
    """
    if name not in parent.attrs:
        return ""
    kind = parent.attrs.get_id(name).get_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str():
        return ""
    value = parent.attrs[name]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def load_texts(item: h5py.Dataset) -> NDArray[np.str_]:
    """Return an array of texts.

    Raises
    ------
    InputError
        If it isn't one.
    """
    where = f"{Path(item.file.filename)}: {item.name}"
    kind = h5py.check_string_dtype(item.dtype)
    if not item.shape or kind is None:
        msg = f"{where} has type {item.dtype} and shape {item.shape}, expected texts"
        raise InputError(msg)
    if kind.length is None:
        require_held_texts(where, item)
    try:
        return np.array(item.asstr()[...].tolist(), dtype=str).reshape(item.shape)
    except UnicodeDecodeError as error:
        msg = f"{where} isn't text ({error.reason})"
        raise InputError(msg) from error


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
        If it is missing, isn't numbers, has another shape, is absurdly large or in another file.
    """
    where = f"{Path(parent.file.filename)}: {parent.name.rstrip('/')}/{name}"
    item = find(parent, name)
    wanted = "(" + ", ".join("n" if n is None else str(n) for n in shape) + ")"
    if not isinstance(item, h5py.Dataset):
        msg = f"{where} is missing, expected an array of shape {wanted}"
        raise InputError(msg)
    if item.shape is None or item.dtype.kind not in "biuf" or item.dtype.shape:
        msg = f"{where} has type {item.dtype}, expected real numbers"
        raise InputError(msg)
    fits = len(item.shape) == len(shape) and all(
        n in (None, m) for n, m in zip(shape, item.shape, strict=True)
    )
    if not fits:
        msg = f"{where} has shape {item.shape}, expected {wanted}"
        raise InputError(msg)
    return np.asarray(item[...])


def load_number(parent: h5py.Group, name: str, default: float | None = None) -> float:
    """Return a number; without a default it must be there.

    Raises
    ------
    InputError
        If it is missing or isn't a number.
    """
    if default is not None and find(parent, name) is None:
        return default
    return float(load_array(parent, name, ()))
