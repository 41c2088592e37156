"""Checkpoints: what a reconstruction needs to go on after it was killed.

A checkpoint is one HDF5 file, written whole or not at all. It holds the state and
history after an iteration, and the identity of the run: digests of everything its
result depends on, so that it is never continued with something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from prammol.core.errors import InputError
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.diffuse_scattering import NO_DIFFUSE, DiffuseScattering
from prammol.diffraction.matter import Matter
from prammol.io.atomic_write import PathLike
from prammol.io.hdf5 import (
    create,
    find,
    group,
    load_array,
    load_number,
    load_text,
    opened,
    parse_json,
    store,
    to_json,
)
from prammol.io.run_identity import digest
from prammol.reconstruction.model import Model
from prammol.reconstruction.state import LoopStatus, State
from prammol.reconstruction.verdict import Verdict
from prammol.structure.labels import Labels

FORMAT = 14  # derived: format, counted up with each change
_GROUP = "entry_1/checkpoint"
# derived: shapes
_ARRAYS: dict[str, tuple[int | None, ...]] = {
    "positions": (None, 3),
    "displacements": (None,),
    "occupancies": (None,),
    "patch_amplitude": (None,),
    "patch_offset": (None, 3),
    "patch_rotation": (None, 3),
    "patch_shape": (None, 3),
    "background": (None,),
    "blur": (2, 3),
    "diffuse_photons": (None,),
    "diffuse_trust": (None,),
    "diffuse_temperatures": (None,),
    "diffuse_columns": (2, None),
    "diffuse_positions": (None, 3),
    "matter_positions": (None, 3),
    "matter_weights": (None,),
    "label_positions": (None, 3),
    "label_members": (None,),
    "label_kinds": (None,),
    "label_cell": (None, 3),
    "label_motif": (None, 3),
    "label_odd": (None, 3),
    "label_odd_kinds": (None,),
}
_OWN = ("scale", "stiffness", "bond_energy")
_NUMBERS = (*_OWN, "matter_freedom", "diffuse_displacement", "diffuse_error", "diffuse_expansion")
# Field of the diffuse scattering -> its unit.
_DIFFUSE = {
    "photons": "photons",
    "trust": "",
    "displacement": "angstrom^2",
    "temperatures": "K",
    "error": "",
    "columns": "1/eV",
    "positions": "angstrom",
    "expansion": "",
}
_LABELS = ("positions", "members", "kinds", "cell", "motif", "odd", "odd_kinds")
# What stages hand to each other is of use within an iteration only.
_TEXTS = ("background_terms", "verdict", "status", "history", "identity", "run", "notes")


@dataclass(frozen=True)
class Checkpoint:
    """A reconstruction after one of its iterations.

    Attributes
    ----------
    state : State
        The object.
    history : list of dict
        One record per iteration.
    identity : mapping of str to str
        See :func:`prammol.io.run_identity.identity`.
    run : str
        Who wrote it: a text of its own for every process (or MPI job).
    replace : bool
        Whether the run may replace outputs: because its user said so, or because it
        has begun to write them itself.
    resumed : list of int
        Iterations after which the run was continued by a new process.
    ranks : int
        MPI ranks that wrote it.
    wall_s, core_s : float
        Wall time, and processor time of all ranks, so far [s].
    """

    state: State
    history: list[dict[str, Any]]
    identity: Mapping[str, str]
    run: str = ""
    replace: bool = False
    resumed: list[int] = field(default_factory=list)
    ranks: int = 1
    wall_s: float = 0.0
    core_s: float = 0.0


def checkpoint_path(output: PathLike) -> Path:
    """Return where the checkpoint of an output is: ``r.h5`` has ``r.checkpoint.h5``."""
    path = Path(output)
    stem = path.stem if path.suffix in (".h5", ".hdf5", ".cxi") else path.name
    return path.with_name(stem + ".checkpoint.h5")


def write_checkpoint(path: PathLike, saved: Checkpoint, force: bool = False) -> None:
    """Write a checkpoint: whole, or not at all.

    Parameters
    ----------
    path : path
        See :func:`checkpoint_path`.
    saved : Checkpoint
    force : bool
        Whether an older one may be replaced.

    Raises
    ------
    OutputExistsError
        If there is one and ``force`` is False.
    InputError
        If it can't be written.
    """
    model = saved.state.model
    with create(path, force) as file:
        made = group(group(file, "entry_1", "NXentry"), "checkpoint", "NXcollection")
        made["format"] = FORMAT
        store(made, "positions", model.positions, "angstrom")
        store(made, "displacements", model.displacements, "angstrom^2")
        store(made, "occupancies", model.occupancies)
        calibration = model.calibration or Calibration.nominal(0)
        store(made, "patch_amplitude", calibration.amplitude)
        store(made, "patch_offset", calibration.offset, "1/angstrom")
        store(made, "patch_rotation", calibration.rotation, "radian")
        background = calibration.background
        store(made, "patch_shape", np.array([b.shape for b in background]).reshape(-1, 3))
        flat = np.concatenate([np.empty(0), *(b.ravel() for b in background)])
        store(made, "background", flat, "photons")
        store(made, "blur", np.array([calibration.blur, calibration.blur_error]))
        matter = calibration.matter or Matter(np.empty((0, 3)), np.empty(0))
        store(made, "matter_freedom", matter.freedom)
        store(made, "matter_positions", matter.positions, "angstrom")
        store(made, "matter_weights", matter.weights)
        made["background_terms"] = to_json({k: list(v) for k, v in calibration.terms.items()})
        diffuse = model.diffuse or NO_DIFFUSE
        for name, unit in _DIFFUSE.items():
            store(made, f"diffuse_{name}", getattr(diffuse, name), unit)
        labels = model.labels or Labels.of_atoms(np.empty((0, 3)), np.empty(0, dtype=int))
        for name in _LABELS:
            length = "" if name in ("members", "kinds", "odd_kinds") else "angstrom"
            store(made, f"label_{name}", getattr(labels, name), length)
        store(made, "scale", float(model.scale), "sqrt(photons)")
        store(made, "stiffness", float(model.stiffness), "1/eV")
        store(made, "bond_energy", float(model.bond_energy))
        made["verdict"] = to_json(asdict(saved.state.verdict))
        made["status"] = to_json(asdict(saved.state.status))
        made["history"] = to_json(saved.history)
        made["identity"] = to_json(dict(saved.identity))
        made["run"] = saved.run
        made["notes"] = to_json(
            {
                "replace": saved.replace,
                "resumed": saved.resumed,
                "ranks": saved.ranks,
                "wall_s": saved.wall_s,
                "core_s": saved.core_s,
            }
        )
        made["checksum"] = _checksum(made)


def read_checkpoint(path: PathLike) -> Checkpoint:
    """Read what :func:`write_checkpoint` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another version of the format.
    """
    with opened(path, "a checkpoint by prammol") as file:
        made = _group_of(path, file)
        try:
            found = load_number(made, "format")
            if found != FORMAT:
                msg = f"{path}: is a checkpoint of format {found:g}, expected {FORMAT}"
                raise InputError(msg)
            if load_text(made, "checksum") != _checksum(made):
                raise _damaged(path, "its checksum is wrong")
            state = _read_state(made)
            history = parse_json(load_text(made, "history"))
            if history[-1]["iteration"] != state.status.iteration:
                raise _damaged(path, "its history doesn't end at its state")
            return Checkpoint(
                state=state,
                history=history,
                identity=dict(parse_json(load_text(made, "identity"))),
                run=load_text(made, "run"),
                **parse_json(load_text(made, "notes")),
            )
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error


def writer_of(path: PathLike) -> str:
    """Return which run wrote the checkpoint.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    with opened(path, "a checkpoint by prammol") as file:
        return load_text(_group_of(path, file), "run")


def _read_state(made: h5py.Group) -> State:
    arrays = {name: load_array(made, name, shape) for name, shape in _ARRAYS.items()}
    if not np.isfinite(arrays["positions"]).all():
        msg = "positions aren't finite"
        raise ValueError(msg)
    terms = parse_json(load_text(made, "background_terms"))
    places, weights = arrays["matter_positions"], arrays["matter_weights"]
    matter = Matter(places, weights, load_number(made, "matter_freedom"))
    return State(
        Model(
            positions=arrays["positions"],
            scale=load_number(made, "scale"),
            displacements=arrays["displacements"],
            occupancies=arrays["occupancies"],
            stiffness=load_number(made, "stiffness"),
            bond_energy=load_number(made, "bond_energy"),
            calibration=_calibration_of(arrays, terms, matter),
            diffuse=_diffuse_of(made, arrays),
            labels=_labels_of(arrays),
        ),
        Verdict(**_fields_of(made, "verdict", Verdict)),
        LoopStatus(**_fields_of(made, "status", LoopStatus)),
    )


def _calibration_of(
    arrays: Mapping[str, Any], terms: Mapping[str, list[float]], matter: Matter
) -> Calibration | None:
    parts = [arrays[f"patch_{name}"] for name in ("amplitude", "offset", "rotation")]
    if len({len(part) for part in parts}) > 1 or len(matter.positions) != len(matter.weights):
        msg = "its patches, or the places of matter, are of several numbers"
        raise ValueError(msg)
    if not len(parts[0]):
        return None
    shapes = arrays["patch_shape"].astype(int)
    ends = np.cumsum(np.prod(shapes, axis=1))
    if len(shapes) not in (0, len(parts[0])) or sum(ends[-1:]) != len(arrays["background"]):
        msg = "its background doesn't fit its patches"
        raise ValueError(msg)
    split = np.split(arrays["background"], ends[:-1]) if len(shapes) else []
    background = tuple(b.reshape(shape) for b, shape in zip(split, shapes, strict=True))
    photons = {name: np.array(values, dtype=float) for name, values in terms.items()}
    own = (background, photons, *arrays["blur"], matter if len(matter.weights) else None)
    return Calibration(parts[0], parts[1], parts[2], *own)


def _diffuse_of(made: h5py.Group, arrays: Mapping[str, Any]) -> DiffuseScattering | None:
    values = {n: arrays[f"diffuse_{n}"] for n in _DIFFUSE if f"diffuse_{n}" in arrays}
    values |= {n: load_number(made, f"diffuse_{n}") for n in _DIFFUSE if n not in values}
    if not len(values["photons"]) == len(values["trust"]) == values["columns"].shape[1]:
        msg = "its diffuse scattering has not as many weights as photons"
        raise ValueError(msg)
    return DiffuseScattering(**values) if len(values["positions"]) else None


def _labels_of(arrays: Mapping[str, Any]) -> Labels | None:
    labels = Labels(*(arrays[f"label_{name}"] for name in _LABELS))
    members, kinds = labels.members, labels.kinds
    whole = members.dtype.kind == kinds.dtype.kind == "i"
    whole &= len(labels.odd) == len(labels.odd_kinds)
    if len(members) != len(labels.positions) or not whole or len(labels.cell) not in (0, 3):
        msg = "its elements don't fit their sites"
        raise ValueError(msg)
    if not len(members):
        return None
    if not 0 <= members.min() <= members.max() < len(kinds):
        msg = "its sites have elements that it doesn't count"
        raise ValueError(msg)
    return labels


def _fields_of(made: h5py.Group, name: str, kind: type[Any]) -> dict[str, Any]:
    """Return the fields of a dataclass that were stored as JSON."""
    found, expected = parse_json(load_text(made, name)), [f.name for f in fields(kind)]
    if set(found) != set(expected):
        msg = f"its {name} has {', '.join(found)}, expected {', '.join(expected)}"
        raise ValueError(msg)
    return dict(found)


def _group_of(path: PathLike, file: h5py.File) -> h5py.Group:
    found = find(file, _GROUP)
    if not isinstance(found, h5py.Group):
        msg = f"{path}: has no /{_GROUP}, expected a checkpoint by prammol"
        raise InputError(msg)
    return found


def _checksum(made: h5py.Group) -> str:
    """Digest of everything in a checkpoint but the digest itself."""
    return digest(
        *(load_array(made, name, shape) for name, shape in _ARRAYS.items()),
        *(np.array(load_number(made, name)) for name in _NUMBERS),
        *(load_text(made, name) for name in _TEXTS),
    )


def _damaged(path: PathLike, why: str) -> InputError:
    return InputError(f"{path}: can't be read, the checkpoint is damaged ({why})")
