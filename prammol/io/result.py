"""Reconstructions in HDF5: atoms, history, settings, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.matter import Matter
from prammol.io.atomic_write import PathLike, naming
from prammol.io.hdf5 import (
    create,
    find,
    fixed_text,
    group,
    load_array,
    load_json,
    load_number,
    load_text,
    load_texts,
    names_in,
    opened,
    parse_json,
    store,
    to_json,
)
from prammol.reconstruction.result import Cause, Reconstruction
from prammol.structure.atoms import COLUMN_UNITS, Atoms
from prammol.structure.crystal_fields import STRAIN, STRUCTURES

_UNITS = {
    "log_likelihood": "1",
    "scale": "sqrt(photons)",
    "energy": "eV",
    "energy_per_atom": "eV",
    "seconds": "s",
}
_COMPONENTS = {"strain": " ".join(STRAIN), "structure_type": " ".join(STRUCTURES)}
# What is kept of each cause of a misfit, in the order of its fields.
_WORDS = ("effect", "where")
_SHARES = ("explains", "gain")
# Groups beside the atoms, each with positions and columns.
_DENSITY, _VACANT = "mean_density", "vacant_sites"
# chosen: display
_HALF_SLICE = 1.5  # half the thickness of what viewers plot first [Å]


def write_reconstruction(
    path: PathLike,
    result: Reconstruction,
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write a reconstruction.

    Atoms are ``/entry_1/result_1/positions``; how it went, with the final
    ``llk_poisson``, is below ``/entry_1/process_1/results``, also reachable as
    ``/entry_1/image_1/process_1/results``, where PyNX puts it.

    Parameters
    ----------
    path : path
        HDF5 file to write.
    result : Reconstruction
        What to write.
    provenance : mapping, optional
        See :func:`prammol.io.provenance.provenance`; ``result.provenance`` if not given.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If it can't be written.
    """
    with create(path, force) as file:
        entry = group(file, "entry_1", "NXentry", default="data_1")
        entry["title"] = f"{len(result.atoms)} {result.atoms.element} atoms"
        _write_atoms(group(entry, "result_1", "NXcollection"), result)
        process = group(entry, "process_1", "NXprocess")
        process["program"] = "prammol"
        process["settings"] = to_json(dict(result.settings))
        process["provenance"] = to_json(
            dict(provenance if provenance is not None else result.provenance)
        )
        results = group(process, "results", "NXcollection")
        store(results, "scale", float(result.scale), "sqrt(photons)")
        store(results, "wall_s", float(result.wall_s), "s")
        store(results, "core_s", float(result.core_s), "s")
        for name in ("converged", "reason", "ranks", "seed", "preset"):
            results[name] = getattr(result, name)
        if result.calibration is not None:
            _write_calibration(results, result.calibration, result.scale)
        _write_diagnosis(group(results, "diagnosis", "NXcollection"), result)
        history = group(results, "history", "NXcollection")
        _write_history(history, result.history)
        if "log_likelihood" in history:
            store(results, "llk_poisson", float(history["log_likelihood"][-1]))
            _show_history(entry, history)
        _show_atoms(entry, result.atoms)
        # The path at which PyNX writes and its users look.
        group(entry, "image_1", "NXcollection")["process_1"] = h5py.SoftLink("/entry_1/process_1")


def read_reconstruction(path: PathLike) -> Reconstruction:
    """Read what :func:`write_reconstruction` wrote.

    Raises
    ------
    InputError
        If the file is missing, isn't HDF5, is truncated, or a dataset is missing or
        misshapen; the message names it.
    """
    with opened(path, "a reconstruction by prammol") as file:
        for name in ("entry_1/result_1", "entry_1/process_1/results"):
            if not isinstance(find(file, name), h5py.Group):
                msg = f"{Path(path)}: has no /{name}, expected a reconstruction by prammol"
                raise InputError(msg)
        process = find(file, "entry_1/process_1")
        results = find(process, "results")
        result = find(file, "entry_1/result_1")
        atoms = _read_atoms(Path(path), result)
        density, vacant = (
            _read_beside(Path(path), result, name, atoms.element) for name in (_DENSITY, _VACANT)
        )
        return Reconstruction(
            atoms=atoms,
            scale=load_number(results, "scale"),
            history=_read_history(find(results, "history")),
            converged=bool(load_number(results, "converged", 0)),
            reason=load_text(results, "reason"),
            wall_s=load_number(results, "wall_s", 0),
            core_s=load_number(results, "core_s", 0),
            ranks=_whole(results, "ranks", 1),
            seed=_whole(results, "seed", 0),
            preset=load_text(results, "preset"),
            settings=load_json(process, "settings"),
            provenance=load_json(process, "provenance"),
            density=density,
            vacant=vacant,
            calibration=_read_calibration(results),
            diagnosis=_read_diagnosis(results),
        )


def _write_atoms(parent: h5py.Group, result: Reconstruction) -> None:
    atoms = result.atoms
    store(parent, "positions", atoms.positions, "angstrom")
    parent["element"] = atoms.element
    parent["info"] = to_json(dict(atoms.info))
    _write_columns(parent, atoms)
    for name, beside in ((_DENSITY, result.density), (_VACANT, result.vacant)):
        if beside is not None:
            made = group(parent, name, "NXcollection")
            store(made, "positions", beside.positions, "angstrom")
            _write_columns(made, beside)


def _write_calibration(results: h5py.Group, calibration: Calibration, scale: float) -> None:
    made = group(results, "calibration", "NXcollection")
    store(made, "scale", scale * calibration.amplitude, "sqrt(photons)")
    store(made, "amplitude", calibration.amplitude)
    store(made, "offset", calibration.offset, "1/angstrom")
    store(made, "rotation", calibration.rotation, "radian")
    store(made, "blur", calibration.blur)
    store(made, "blur_error", calibration.blur_error)
    for k, values in enumerate(calibration.background, start=1):
        store(made, f"background_{k}", values, "photons")
    terms = group(made, "background_terms", "NXcollection")
    for name, photons in calibration.terms.items():
        store(terms, name, photons, "photons")
    if calibration.matter is not None:
        store(made, "matter_positions", calibration.matter.positions, "angstrom")
        store(made, "matter_weights", calibration.matter.weights)
        store(made, "matter_freedom", calibration.matter.freedom)


def _read_calibration(results: h5py.Group) -> Calibration | None:
    held = find(results, "calibration")
    if not isinstance(held, h5py.Group):
        return None
    amplitude = load_array(held, "amplitude", (None,)).astype(float)
    offset, rotation = (
        load_array(held, name, (len(amplitude), 3)).astype(float) for name in ("offset", "rotation")
    )
    background: tuple[NDArray[np.float64], ...] = ()
    if find(held, "background_1") is not None:
        background = tuple(
            load_array(held, f"background_{k}", (None,) * 3).astype(float)
            for k in range(1, len(amplitude) + 1)
        )
    made = find(held, "background_terms")
    names = names_in(made) if isinstance(made, h5py.Group) else []
    terms = {name: load_array(made, name, (len(amplitude),)).astype(float) for name in names}
    blur = [np.zeros(3), np.full(3, np.nan)]
    if find(held, "blur") is not None:
        blur = [load_array(held, name, (3,)).astype(float) for name in ("blur", "blur_error")]
    matter = None
    if find(held, "matter_positions") is not None:
        places = load_array(held, "matter_positions", (None, 3)).astype(float)
        weights = load_array(held, "matter_weights", (len(places),)).astype(float)
        matter = Matter(places, weights, load_number(held, "matter_freedom"))
    return Calibration(amplitude, offset, rotation, background, terms, blur[0], blur[1], matter)


def _write_diagnosis(made: h5py.Group, result: Reconstruction) -> None:
    causes = result.diagnosis
    made["summary"] = result.misfit_text()
    for name in _WORDS:
        made[name] = np.array([getattr(c, name) for c in causes], dtype=h5py.string_dtype())
    for name in _SHARES:
        store(made, name, np.array([getattr(c, name) for c in causes], dtype=float))


def _read_diagnosis(results: h5py.Group) -> tuple[Cause, ...]:
    held = find(results, "diagnosis")
    if not isinstance(held, h5py.Group):
        return ()
    columns: list[list[Any]] = []
    for name in _WORDS:
        item = find(held, name)
        if not isinstance(item, h5py.Dataset):
            msg = f"{held.file.filename}: {held.name}/{name} is missing, expected texts"
            raise InputError(msg)
        columns.append(load_texts(item).ravel().tolist())
    columns += [load_array(held, name, (None,)).tolist() for name in _SHARES]
    if len({len(c) for c in columns}) > 1:
        msg = f"{held.file.filename}: datasets of {held.name} differ in length"
        raise InputError(msg)
    return tuple(Cause(*row) for row in zip(*columns, strict=True))


def _write_columns(parent: h5py.Group, atoms: Atoms) -> None:
    columns = group(parent, "columns", "NXcollection")
    for name, values in atoms.columns.items():
        text = np.asarray(values).dtype.kind == "U"
        array = np.asarray(values, dtype=h5py.string_dtype()) if text else values
        made = store(columns, name, array, COLUMN_UNITS.get(name))
        if name in _COMPONENTS:
            made.attrs["components" if name == "strain" else "values"] = _COMPONENTS[name]


def _read_atoms(path: Path, parent: h5py.Group) -> Atoms:
    positions = load_array(parent, "positions", (None, 3))
    element = load_text(parent, "element")
    if not element:
        msg = f"{path}: {parent.name}/element is missing, expected a chemical symbol"
        raise InputError(msg)
    columns = _read_columns(path, parent)
    with naming(path):
        return Atoms(positions, element, columns, load_json(parent, "info"))


def _read_columns(path: Path, parent: h5py.Group) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    held = find(parent, "columns")
    if isinstance(held, h5py.Group):
        for name in names_in(held):
            item = find(held, name)
            if not isinstance(item, h5py.Dataset) or not item.shape:
                msg = f"{path}: {held.name}/{name} isn't an array, expected a value of each atom"
                raise InputError(msg)
            text = h5py.check_string_dtype(item.dtype) is not None
            shape = (None,) * len(item.shape)
            columns[name] = load_texts(item) if text else load_array(held, name, shape)
    return columns


def _read_beside(path: Path, parent: h5py.Group, name: str, element: str) -> Atoms | None:
    held = find(parent, name)
    if not isinstance(held, h5py.Group):
        return None
    positions = load_array(held, "positions", (None, 3))
    with naming(path):
        sites = Atoms(positions, element, _read_columns(path, held))
    column = "occupancy" if name == _DENSITY else "occupancy_confidence"
    if column not in sites.columns:
        msg = f"{path}: {held.name}/columns/{column} is missing, expected one of each site"
        raise InputError(msg)
    return sites


def _write_history(parent: h5py.Group, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one dataset per key; values that aren't numbers become JSON."""
    names = list(dict.fromkeys(name for record in history for name in record))
    parent.attrs["columns"] = np.bytes_(json.dumps(names))
    for name in names:
        values = [record.get(name) for record in history]
        if all(isinstance(v, int | float | np.integer | np.floating | np.bool_) for v in values):
            store(parent, name, np.array(values), _UNITS.get(name))
        else:
            parent[name] = [to_json(v) for v in values]
            parent[name].attrs["encoding"] = "json"


def _read_history(parent: h5py.Group | None) -> list[dict[str, Any]]:
    if not isinstance(parent, h5py.Group):
        return []
    where = f"{Path(parent.file.filename)}: {parent.name}"
    columns: dict[str, list[Any]] = {}
    try:
        names = parse_json(fixed_text(parent, "columns") or "[]") or names_in(parent)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(n, str) and n in parent for n in names):
        msg = f"{where} has columns that it doesn't hold, expected the names of its datasets"
        raise InputError(msg)
    for name in names:
        item = find(parent, name)
        if isinstance(item, h5py.Dataset) and "encoding" in item.attrs:
            try:
                columns[name] = [parse_json(text) for text in load_texts(item).ravel().tolist()]
            except ValueError as error:
                msg = f"{where}/{name} isn't JSON ({error})"
                raise InputError(msg) from error
        else:
            columns[name] = load_array(parent, name, (None,)).tolist()
    if len({len(c) for c in columns.values()}) > 1:
        msg = f"{parent.file.filename}: datasets of {parent.name} differ in length"
        raise InputError(msg)
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _whole(parent: h5py.Group, name: str, default: int) -> int:
    """Return a whole number."""
    value = load_array(parent, name, ()).item() if find(parent, name) is not None else default
    if not abs(value) <= 2**63 or value != int(value):
        msg = f"{Path(parent.file.filename)}: {parent.name}/{name} is {value}, expected an integer"
        raise InputError(msg)
    return int(value)


def _show_atoms(entry: h5py.Group, atoms: Atoms) -> None:
    """Make a slice through the atoms what viewers plot when they open the file."""
    energy = "energy" if "energy" in atoms.columns else "z"
    data = group(entry, "data_1", "NXdata", signal=energy, axes=["x", "y"])
    height = atoms.positions[:, 2]
    middle = np.median(height) if len(atoms) else 0.0
    shown = np.abs(height - middle) <= _HALF_SLICE
    for axis, values in zip("xyz", atoms.positions[shown].T, strict=True):
        store(data, axis, values, "angstrom")
    if energy != "z":
        store(data, energy, np.asarray(atoms.columns[energy])[shown], COLUMN_UNITS[energy])
    data["title"] = f"atoms within {_HALF_SLICE} angstrom of z = {middle:.2f} angstrom"


def _show_history(entry: h5py.Group, history: h5py.Group) -> None:
    """Let viewers plot the log-likelihood."""
    data = group(entry, "data_2", "NXdata", signal="log_likelihood")
    data["log_likelihood"] = h5py.SoftLink(f"{history.name}/log_likelihood")
    data["title"] = "log-likelihood"
    if "iteration" in history:
        data["iteration"] = h5py.SoftLink(f"{history.name}/iteration")
        data.attrs["axes"] = "iteration"
