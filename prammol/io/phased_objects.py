"""Objects in real space as programs of phase retrieval write them.

Read are CXI and HDF5 of PyNX, cdiutils and bcdi, npz of bcdi and cdiutils, npy and tif
of cohere, and a folder of cohere's results.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.io import _tiff
from prammol.io.arrays import PACKED, opened_npz, read_npy
from prammol.io.atomic_write import PathLike, first_line, replacing
from prammol.io.hdf5 import UNQUESTIONED, find, load_array, load_text, names_in, opened

# derived: units
_NM = 10.0  # Å
# derived: physics, a hundredth of what separates atoms
SMALLEST = 0.02  # Å, of the edges of a voxel
_PHOTOMETRIC = 262  # derived: format, tag of TIFF
# Complex numbers as programs without them write them.
_COMPLEX = (("real", "imag"), ("re", "im"), ("r", "i"))


@dataclass(frozen=True, eq=False)
class RealSpaceObject:
    """What a file says of an object in real space.

    Attributes
    ----------
    amplitude : (n1, n2, n3) ndarray
        Its modulus, in the file's order of axes; 0 where the file has NaN.
    inside : (n1, n2, n3) bool ndarray or None
        The program's own support.
    voxel_size : (3,) ndarray or None
        Edges of the voxels of an orthogonal grid [Å], along the axes of the array.
    phased_shape : (3,) tuple
        Shape of the Fourier transforms: that of the array, if it wasn't cut out of it.
    source : str
        Which layout it was.
    """

    amplitude: NDArray[np.float64]
    inside: NDArray[np.bool_] | None
    voxel_size: NDArray[np.float64] | None
    phased_shape: tuple[int, ...]
    source: str


def read_object(path: PathLike) -> RealSpaceObject:
    """Read an object in real space.

    Parameters
    ----------
    path : path
        ``.cxi``, ``.h5``, ``.hdf5``, ``.npz``, ``.npy``, ``.tif``, ``.tiff``, or a folder with
        ``image.npy`` and, perhaps, ``support.npy``.

    Raises
    ------
    InputError
        If the file is missing, of another kind, damaged, or its object isn't a 3-D array of
        finite numbers.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "image.npy"
    if not path.is_file():
        msg = f"{path}: no such file, expected an object in real space"
        raise InputError(msg)
    readers: dict[str, Callable[[Path], RealSpaceObject]] = {
        ".cxi": _read_hdf5,
        ".h5": _read_hdf5,
        ".hdf5": _read_hdf5,
        ".npz": _read_npz,
        ".npy": _read_npy,
        ".tif": _read_tif,
        ".tiff": _read_tif,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        msg = f"{path}: its name ends in none of {', '.join(readers)}, expected an object"
        raise InputError(msg)
    return reader(path)


def _read_hdf5(path: Path) -> RealSpaceObject:
    with opened(path, "an object in real space") as file:
        if find(file, "output/amp") is not None:
            return _described(path, _Arrays(find(file, "output"), path), "bcdi")
        entry = find(file, "entry_last") or find(file, "entry_1")
        if not isinstance(entry, h5py.Group) or not isinstance(find(entry, "image_1"), h5py.Group):
            msg = f"{path}: has neither /entry_1/image_1 nor /output/amp, expected an object"
            raise InputError(msg)
        if find(entry, "amplitude/data") is not None:
            return _from_cdiutils(path, entry)
        image = _Arrays(find(entry, "image_1"), path)
        if "real" not in load_text(entry, "image_1/data_space", "real"):
            msg = f"{path}: /entry_1/image_1/data_space isn't real, expected an object, not counts"
            raise InputError(msg)
        name = "image_1/process_1/configuration/iobs_shape"
        shape = None
        if find(entry, name) is not None:
            phased = load_array(entry, name, (3,))
            if phased.dtype.kind not in "iu" or (phased < 1).any():
                msg = f"{path}: {entry.name}/{name} is {phased}, expected the shape of an array"
                raise InputError(msg)
            shape = tuple(int(n) for n in phased)
        inside = image.get("support", "mask")
        return _made(path, image.need("data"), inside, None, shape, "PyNX")


def _from_cdiutils(path: Path, entry: h5py.Group) -> RealSpaceObject:
    """Read a ``postprocessed_data.cxi``: one image for each quantity, the voxel in nm."""
    arrays = _Arrays(entry, path)
    names = [f"{n}/voxel_size" for n in sorted(names_in(entry)) if n.startswith("result_")]
    sizes = arrays.get(*names)
    inside = arrays.get("support/data")
    return _made(path, arrays.need("amplitude/data"), inside, sizes, None, "cdiutils")


def _read_npz(path: Path) -> RealSpaceObject:
    with opened_npz(path, "an object") as file:
        return _described(path, _Arrays(file, path), "bcdi")


def _described(path: Path, arrays: _Arrays, source: str) -> RealSpaceObject:
    """Read named arrays: amp, bulk, voxel_sizes (bcdi), amplitude, support (cdiutils)."""
    found = arrays.get("amp", "amplitude", "obj", "data", "arr_0")
    if found is None:
        msg = f"{path}: has no array amp, amplitude, obj or data, expected an object"
        raise InputError(msg)
    sizes = arrays.get("voxel_sizes", "voxel_size")
    return _made(path, found, arrays.get("bulk", "support"), sizes, None, source)


def _read_npy(path: Path) -> RealSpaceObject:
    beside = path.with_name("support.npy")
    inside = read_npy(beside) if path.name == "image.npy" and beside.is_file() else None
    return _made(path, _joined(read_npy(path)), inside, None, None, "cohere")


def _read_tif(path: Path) -> RealSpaceObject:
    """Read the pages of a TIFF; cohere writes the transposed array."""
    try:
        try:
            found = list(_tiff.pages(path.read_bytes()))
        except _tiff.NotPlainError:
            found = list(_pillow_pages(path))
        values = np.stack(found).transpose()
    except Exception as error:  # Pillow doesn't say which errors damaged files raise
        msg = f"{path}: can't be read as a TIFF ({first_line(error)})"
        raise InputError(msg) from error
    return _made(path, values, None, None, None, "cohere")


def _pillow_pages(path: Path) -> Iterator[NDArray[np.generic]]:
    """Yield the pages of a TIFF as long as a file of its size can hold them."""
    from PIL import Image, ImageSequence

    held = path.stat().st_size
    total = 0
    # Odd tags don't matter, and what does is checked here.
    with warnings.catch_warnings(action="ignore"), Image.open(path) as file:
        for number, page in enumerate(ImageSequence.Iterator(file)):
            # Pages are counted too: the chain of a damaged file may be a circle.
            total += page.width * page.height * 8
            if total > max(UNQUESTIONED, PACKED * held) or number > held:
                msg = f"its pages claim more than {total} bytes, the file has {held}"
                raise ValueError(msg)
            values = np.array(page)
            # Where zero is white, Pillow has inverted.
            tags: Any = page
            white = tags.tag_v2.get(_PHOTOMETRIC) == 0 and page.mode in ("1", "L")
            yield ~values if white else values


def _split(kind: np.dtype[Any]) -> bool:
    """Tell whether numbers are complex ones in two parts."""
    return kind.names in _COMPLEX and all(kind[k].kind in "iuf" for k in range(2))


def _joined(values: NDArray[Any]) -> NDArray[np.generic]:
    """Return complex numbers for those in two parts; others as they are."""
    if not _split(values.dtype):
        return values
    real, imaginary = (values[name].astype(float) for name in values.dtype.names or ())
    return np.asarray(real + 1j * imaginary)


class _Arrays:
    """Arrays by name, in an HDF5 group or an npz file."""

    def __init__(self, parent: h5py.Group | np.lib.npyio.NpzFile, path: Path) -> None:
        self._parent, self._path = parent, path

    def get(self, *names: str) -> NDArray[np.generic] | None:
        """Return the first that exists."""
        for name in names:
            if isinstance(self._parent, h5py.Group):
                item = find(self._parent, name)
            else:
                item = self._parent[name] if name in self._parent else None
            if item is None:
                continue
            if isinstance(item, h5py.Group):
                msg = f"{self._path}: {name} is a group, expected an array of numbers"
                raise InputError(msg)
            if item.shape is None or (item.dtype.kind not in "biufc" and not _split(item.dtype)):
                msg = f"{self._path}: {name} isn't an array of numbers"
                raise InputError(msg)
            return _joined(np.asarray(item[...]))
        return None

    def need(self, name: str) -> NDArray[np.generic]:
        """Return one that has to be there."""
        found = self.get(name)
        if found is None:
            msg = f"{self._path}: has no {name}, expected an object in real space"
            raise InputError(msg)
        return found


def _made(
    path: Path,
    values: NDArray[np.generic],
    inside: NDArray[np.generic] | None,
    voxel_nm: NDArray[np.generic] | None,
    phased_shape: tuple[int, ...] | None,
    source: str,
) -> RealSpaceObject:
    """Check what was read."""
    if values.ndim == 4 and len(values):  # PyNX's modes, the first one holds nearly everything
        values = values[0]
    if values.ndim != 3 or values.dtype.kind not in "biufc":
        msg = f"{path}: its object has shape {values.shape} and type {values.dtype}, expected 3-D"
        raise InputError(msg)
    with np.errstate(all="ignore"):
        amplitude = np.nan_to_num(np.abs(values.astype(complex)), nan=0.0, posinf=np.inf)
    if not np.isfinite(amplitude).all() or not amplitude.any():
        msg = f"{path}: its object is 0 everywhere or infinite, expected an amplitude"
        raise InputError(msg)
    if inside is not None and inside.shape != amplitude.shape:
        inside = None
    voxel_size: NDArray[np.float64] | None = None
    if voxel_nm is not None:
        if voxel_nm.size not in (1, 3) or voxel_nm.dtype.kind not in "biuf":
            msg = f"{path}: its voxel size has shape {voxel_nm.shape}, expected 1 or 3 real numbers"
            raise InputError(msg)
        voxel_size = _NM * np.broadcast_to(voxel_nm.ravel(), (3,)).astype(float)
        if not (np.isfinite(voxel_size).all() and (voxel_size > 0).all()):
            msg = f"{path}: its voxel size is {voxel_size}, expected three positive numbers"
            raise InputError(msg)
        if voxel_size.max() < SMALLEST:
            msg = f"{path}: its voxel size is {voxel_nm.ravel()} nm; is it in metres?"
            raise InputError(msg)
    return RealSpaceObject(
        amplitude=amplitude,
        inside=None if inside is None else np.nan_to_num(inside.real.astype(float)) > 0.5,
        voxel_size=voxel_size,
        phased_shape=phased_shape or amplitude.shape,
        source=source,
    )


def write_object(path: PathLike, wave: NDArray[np.complex128], force: bool = False) -> None:
    """Write an object on the detector's grid in the layout of PyNX.

    Parameters
    ----------
    path : path
    wave : (n1, n2, n3) ndarray
        See :func:`prammol.simulation.phased_object.phased_object`.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the file exists or can't be written.
    """
    with replacing(path, force) as place, h5py.File(place, "w") as file:
        image = file.create_group("entry_1/image_1")
        image["data"] = wave[None].astype(np.complex64)
        image["data_space"] = "real"
        image["process_1/configuration/iobs_shape"] = wave.shape
        file["entry_last"] = h5py.SoftLink("/entry_1")
