"""Diffraction and supports in HDF5, laid out as CXI/NeXus.

Every Bragg patch is an entry: ``/entry_k/image_1/data`` holds the counts,
``mask`` the CXI mask, ``reciprocal_grid`` where the points are. ``/entry_k/data_1``
links to the counts, so silx, PyMca and h5web show them when the file is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.curved_patch import CurvedPatch, patch_of_points
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.response import Response
from prammol.diffraction.support import Support
from prammol.io.atomic_write import PathLike, naming
from prammol.io.cxi_layout import (
    INVALID,
    entries_with,
    load_geometry,
    load_unmeasured,
    make_entry,
    store_geometry,
    store_unmeasured,
    usable,
)
from prammol.io.hdf5 import (
    LARGEST,
    create,
    find,
    group,
    load_array,
    load_json,
    load_values,
    opened,
    store,
    store_values,
    to_json,
)
from prammol.io.scans import DETECTOR, diffraction_of_scans

_GRID = "q = origin + i step[0] + j step[1] + k step[2], q includes 2 pi"


def write_diffraction(
    path: PathLike,
    data: Diffraction,
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write counts, masks, background and grids of all patches.

    Parameters
    ----------
    path : path
        HDF5 file to write.
    data : Diffraction
        What to write; ``meta`` goes to ``/entry_1/process_1/parameters``.
    provenance : mapping, optional
        See :func:`prammol.io.provenance.provenance`; ``data.meta["provenance"]`` if not
        given.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If it can't be written.
    """
    meta = dict(data.meta)
    kept = meta.pop("provenance", {})
    with create(path, force) as file:
        for k, (patch, counts, valid) in enumerate(
            zip(data.patches, data.counts, data.valid, strict=True), start=1
        ):
            entry = make_entry(file, k, f"Bragg patch {k} of {len(data.patches)}")
            image = group(entry, "image_1", "NXdata", signal="data", interpretation="image")
            store(
                image,
                "data",
                _narrow(counts),
                "counts",
                long_name="photons",
                interpretation="image",
            )
            store(image, "mask", np.where(valid, 0, INVALID).astype(np.uint32))
            if data.background:
                store(image, "background", _constant(data.background[k - 1]), "counts")
            if data.gain:
                store(image, "gain", _constant(data.gain[k - 1]))
            if data.response is not None:
                made = group(image, "response", "NXcollection", unit="steps of the grid")
                store(made, "box", data.response.box[k - 1])
                store(made, "blur", data.response.blur[k - 1])
                store(made, "uncertainty", np.full(3, data.response.uncertainty))
            store(image, "image_size", patch.shape, "pixel")
            if isinstance(patch, CurvedPatch):
                store(image, "reciprocal_coordinates", patch.points, "1/angstrom")
            else:
                grid = group(image, "reciprocal_grid", "NXcollection", convention=_GRID)
                store(grid, "origin", patch.origin, "1/angstrom")
                store(grid, "step", patch.step, "1/angstrom")
            shown = _show(entry, "image_1/data", "photons")
            if not isinstance(patch, CurvedPatch):
                _add_axes(shown, patch.origin, patch.step, q=True)
        process = _process(file["entry_1"], meta, provenance if provenance is not None else kept)
        store_geometry(process, data.geometry)
        store_unmeasured(process, data.unmeasured)


def read_diffraction(path: PathLike) -> Diffraction:
    """Read what :func:`write_diffraction` wrote, or a CXI file of the same layout.

    Rocking scans are read, too: :func:`prammol.io.scans.diffraction_of_scans`. Else a
    patch needs ``/entry_k/image_1/data`` and either ``reciprocal_grid/origin`` and ``step`` or
    ``reciprocal_coordinates`` of shape (n1, n2, n3, 3) [1/Å, with 2 pi]: an affine grid to 5 % of
    a step, or a bent one, :class:`prammol.diffraction.curved_patch.CurvedPatch`. ``mask``,
    ``background`` and ``gain`` are optional: a mask of all points or of the detector, (n2, n3);
    one number or an array as the counts. So is ``response``, the widths of
    :class:`prammol.diffraction.response.Response`, a number or three.
    ``/entry_1/process_1/geometry`` says how well the scattering vectors are known,
    :class:`prammol.diffraction.calibration.GeometryUncertainty`; its defaults if it isn't there;
    ``known_peaks`` beside it, (k, 3) [1/Å], where reflections are that weren't measured.

    Returns
    -------
    Diffraction
        ``meta`` has the parameters, and ``provenance`` if the file tells.

    Raises
    ------
    InputError
        If the file is missing, isn't HDF5, is truncated, or a dataset is missing,
        misshapen, negative or NaN; the message names it.
    DataError
        If no photon was counted.
    """
    with opened(path, "diffraction in CXI layout") as file:
        entries = entries_with(file, "image_1")
        if not entries and entries_with(file, DETECTOR):
            return diffraction_of_scans(file)
        if not entries:
            msg = f"{Path(path)}: has no /entry_1/image_1, expected one entry per Bragg patch"
            raise InputError(msg)
        patches, counts, valid, background, gain = [], [], [], [], []
        geometry, unmeasured = GeometryUncertainty(), np.empty((0, 3))
        widths: dict[str, list[NDArray[np.float64]]] = {
            name: [] for name in ("box", "blur", "uncertainty")
        }
        total = 0
        for entry in entries:
            image = find(entry, "image_1")
            size = getattr(find(image, "data"), "size", 0)
            total += size or 0
            if total > LARGEST:
                msg = f"{Path(path)}: more than {LARGEST} points, expected a few million"
                raise InputError(msg)
            values = load_array(image, "data", (None, None, None)).astype(float)
            counts.append(values)
            valid.append(usable(image, values.shape))
            background.append(_one_or_all(image, "background", values.shape, 0.0))
            gain.append(_one_or_all(image, "gain", values.shape, 1.0))
            patches.append(_patch(image, values.shape))
            for name, found in widths.items():
                found.append(_one_or_all(image, f"response/{name}", (3,), 0.0))
        with naming(Path(path)):
            uncertainty = float(np.max(widths["uncertainty"]))
            response = Response.of(
                len(patches), np.array(widths["box"]), np.array(widths["blur"]), uncertainty
            )
        meta: dict[str, Any] = {}
        process = find(entries[0], "process_1")
        if isinstance(process, h5py.Group):
            parameters = find(process, "parameters")
            if isinstance(parameters, h5py.Group):
                meta |= load_values(parameters)
            if not isinstance(meta.get("element", ""), str):
                msg = (
                    f"{Path(path)}: {process.name}/parameters/element is {meta['element']!r:.40}, "
                    f"expected a chemical symbol"
                )
                raise InputError(msg)
            if "element" in meta:
                meta["element"] = meta["element"].capitalize()
            geometry, unmeasured = load_geometry(process), load_unmeasured(process)
            origin = load_json(process, "provenance")
            meta |= {"provenance": origin} if origin else {}
    if not any(b.any() for b in background):
        background = []
    if all((g == 1).all() for g in gain):
        gain = []
    return Diffraction(
        patches, counts, valid, meta, str(path), background, gain, geometry, response, unmeasured
    )


def write_support(
    path: PathLike,
    support: Support,
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write a support as ``/entry_1/image_1/support`` with its grid.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If it can't be written.
    """
    with create(path, force) as file:
        entry = make_entry(file, 1, "support")
        image = group(entry, "image_1", "NXdata", signal="support", interpretation="image")
        store(image, "support", support.inside.astype(np.uint8), interpretation="image")
        grid = group(
            image,
            "real_grid",
            "NXcollection",
            convention="centre of voxel = origin + i voxel[0] + j voxel[1] + k voxel[2]",
        )
        store(grid, "origin", support.origin, "angstrom")
        store(grid, "voxel", support.voxel, "angstrom")
        shown = _show(entry, "image_1/support", "support")
        _add_axes(shown, support.origin, support.voxel, q=False)
        _process(entry, {}, provenance or {})


def read_support(path: PathLike) -> Support:
    """Read what :func:`write_support` wrote.

    Raises
    ------
    InputError
        If the file is missing, isn't HDF5, is truncated, a dataset is missing or
        misshapen, or no voxel is inside.
    """
    with opened(path, "a support in CXI layout") as file:
        image = find(file, "entry_1/image_1")
        if not isinstance(image, h5py.Group):
            msg = f"{Path(path)}: has no /entry_1/image_1, expected a support"
            raise InputError(msg)
        inside = load_array(image, "support", (None, None, None))
        origin = load_array(image, "real_grid/origin", (3,))
        voxel = load_array(image, "real_grid/voxel", (3, 3))
    longest = float(np.abs(voxel).max())
    if not (np.isfinite(origin).all() and 1e-6 < longest < 1e6 and np.linalg.det(voxel)):
        msg = f"{Path(path)}: real_grid isn't three finite, independent edges of a voxel"
        raise InputError(msg)
    with naming(Path(path)):
        return Support(origin, voxel, inside != 0)


def _show(entry: h5py.Group, target: str, title: str) -> h5py.Group:
    """Make a dataset what viewers plot when they open the file."""
    data = group(entry, "data_1", "NXdata", signal="data", interpretation="image")
    data["data"] = h5py.SoftLink(f"{entry.name}/{target}")
    data["title"] = title
    return data


def _add_axes(
    data: h5py.Group, origin: NDArray[np.float64], step: NDArray[np.float64], q: bool
) -> None:
    """Let viewers label the axes of an orthogonal grid by the component of q or x along each."""
    product = step @ step.T
    if not np.allclose(product, np.diag(np.diag(product)), atol=1e-6 * product.max()):
        return  # on a skew grid it isn't the same for all points of a plane
    letter, unit = ("q", "1/angstrom") if q else ("x", "angstrom")
    names = []
    for k, (own, points) in enumerate(zip(step, data["data"].shape, strict=True), start=1):
        length = float(np.linalg.norm(own))
        values = origin @ own / length + length * np.arange(points)
        along = " ".join(f"{c:.3g}" for c in own / length)
        names.append(f"{letter}_{k}")
        store(data, names[-1], values, unit, long_name=f"{letter} along ({along}) ({unit})")
    data.attrs["axes"] = names


def _process(
    entry: h5py.Group, meta: Mapping[str, Any], provenance: Mapping[str, Any]
) -> h5py.Group:
    process = group(entry, "process_1", "NXprocess")
    process["program"] = "prammol"
    process["provenance"] = to_json(provenance)
    process["command"] = str(provenance.get("command", ""))
    store_values(group(process, "parameters", "NXcollection"), meta)
    return process


def _narrow(counts: NDArray[np.float64]) -> NDArray[Any]:
    """Return whole numbers as integers: they compress ten times better."""
    whole = np.isfinite(counts).all() and np.abs(counts).max() < 2**53
    if whole and (counts == np.rint(counts)).all():
        return counts.astype(np.int64)
    return counts


def _constant(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a single number for an array that is the same everywhere."""
    first = values.flat[0]
    return np.asarray(first) if (values == first).all() else values


def _one_or_all(
    image: h5py.Group, name: str, shape: tuple[int, ...], default: float
) -> NDArray[np.float64]:
    """Return an array of one number for each point, or of one for all; the default if none."""
    item = find(image, name)
    if item is None:
        return np.full(shape, default)
    alone = isinstance(item, h5py.Dataset) and item.shape == ()
    values = load_array(image, name, () if alone else shape).astype(float)
    return np.array(np.broadcast_to(values, shape))


def _patch(image: h5py.Group, shape: tuple[int, ...]) -> BraggPatch:
    where = f"{image.file.filename}: {image.name}"
    if find(image, "reciprocal_grid") is not None:
        origin = load_array(image, "reciprocal_grid/origin", (3,))
        step = load_array(image, "reciprocal_grid/step", (3, 3))
    elif find(image, "reciprocal_coordinates") is not None:
        q = load_array(image, "reciprocal_coordinates", (*shape, 3)).astype(float)
        return patch_of_points(q, f"{where}/reciprocal_coordinates")
    else:
        msg = f"{where} has neither reciprocal_grid nor reciprocal_coordinates, expected one"
        raise InputError(msg)
    with naming(where):
        return BraggPatch(origin, step, shape)
